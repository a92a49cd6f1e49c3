"""Widths that the user's own modules hold in attributes: ``self.channels``, ``self.shape``."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias, TypeVar

import numpy as np
from torch import nn

from ..structure import Structure
from ..subnetwork import Subnetwork
from ..tracing.atoms import IntArray
from ..tracing.held_numbers import held_numbers
from .places import removed_atoms

Parts: TypeAlias = tuple[int, ...]  # the sizes of the parts that channels are cut into
Number = TypeVar("Number", int, Parts)
PLACEHOLDERS = {-1, 0, 1}  # in lists of widths, as shapes have them


class Narrowed(NamedTuple):
    """Dense width → what becomes of the dimensions and groups of this width; the same of the parts of a cut."""

    widths: dict[int, set[int]]
    parts: dict[Parts, set[Parts]]


def rewrite_widths(
    net: Structure, subnetwork: Subnetwork, kept: Mapping[str, Mapping[int, IntArray]], model: nn.Module
) -> None:
    """Write the narrowed widths into the attributes of ``model``, a narrowed copy of the network, that hold dense ones.

    An attribute is taken for a width where its number is that of a dimension or group of tensors of its module, which
    the module does not only read, and all dimensions and groups of this number are narrowed alike; others are left.
    Of a list, every number must be one of a dimension or group, or a placeholder: [16, 32, 16], not places [1, 2, 16];
    or the list must be that by which forward cuts channels that the module makes or reads.
    ``kept``: see ``kept_places``.
    """
    cuts = list(_cuts(net, kept))
    for path, module in net.model.named_modules():
        if held := dict(held_numbers(module)):
            prefix = f"{path}." if path else ""
            narrowed = _narrowed(net, subnetwork, kept, prefix, _cuts_within(net, cuts, prefix))
            for name, value in held.items():
                if (new := _replaced(value, narrowed)) != value:
                    setattr(model.get_submodule(path), name, new)


class _Cut(NamedTuple):
    """The groups that a cut goes through, and the sizes of its parts, dense and narrowed."""

    groups: set[int]
    dense: Parts
    narrowed: Parts


def _cuts(net: Structure, kept: Mapping[str, Mapping[int, IntArray]]) -> Iterator[_Cut]:
    """What becomes of the parts that forward cuts channels into by sizes in attributes."""
    if net.trace.cuts:
        removed = removed_atoms(net, kept)
        for parts in net.trace.cuts:
            groups = {*net.grouping.group_of[np.concatenate(parts)].tolist()} - {-1}
            narrowed = (len(part) - np.count_nonzero(removed[part]) for part in parts)
            yield _Cut(groups, tuple(map(len, parts)), tuple(map(int, narrowed)))


def _cuts_within(net: Structure, cuts: Iterable[_Cut], prefix: str) -> list[_Cut]:
    """The cuts through groups that have a tensor under a module."""
    inside = {g for g, group in enumerate(net.groups) if any(m.tensor.startswith(prefix) for m in group.members)}
    return [cut for cut in cuts if cut.groups & inside]


def _narrowed(
    net: Structure,
    subnetwork: Subnetwork,
    kept: Mapping[str, Mapping[int, IntArray]],
    prefix: str,
    cuts: Sequence[_Cut],
) -> Narrowed:
    """The widths of the dimensions and groups of the tensors under a module, of those that it does not only read.

    A number by which forward cuts channels is a part of them and nothing else.
    """
    found: dict[int, set[int]] = {}
    made = set[int]()
    for tensor, shape in net.shapes.items():
        if tensor.startswith(prefix):
            stays = kept.get(tensor, {})
            for dim, size in enumerate(shape):
                found.setdefault(size, set()).add(len(stays[dim]) if dim in stays else size)
    for group, channels in zip(net.groups, subnetwork.kept, strict=True):
        inside = [member for member in group.members if member.tensor.startswith(prefix)]
        if inside:
            found.setdefault(group.width, set()).add(len(channels))
            for m in group.members:  # elsewhere the same channels may fill more places
                found.setdefault(net.shapes[m.tensor][m.dim], set()).add(len(kept[m.tensor][m.dim]))
        made |= {n for m in inside if not m.reads for n in (group.width, net.shapes[m.tensor][m.dim])}
    for group in net.frozen:
        if any(m.tensor.startswith(prefix) for m in group.members):
            for size in {group.width, *(net.shapes[m.tensor][m.dim] for m in group.members)}:
                found.setdefault(size, set()).add(size)
    widths = {width: new if width in made else {width} for width, new in found.items()}
    each = [pair for cut in cuts for pair in zip(cut.dense, cut.narrowed, strict=True)]
    return Narrowed(widths | _grouped(each), _grouped([(cut.dense, cut.narrowed) for cut in cuts]))


def _grouped(pairs: Iterable[tuple[Number, Number]]) -> dict[Number, set[Number]]:
    """All second ones of each first one."""
    found: dict[Number, set[Number]] = {}
    for first, second in pairs:
        found.setdefault(first, set()).add(second)
    return found


def _replaced(value: Any, narrowed: Narrowed) -> Any:
    """The same number, list or tuple with what its widths become."""
    if type(value) is int:
        (new, *more) = narrowed.widths.get(value, {value})
        return value if more else new
    (parts, *others) = narrowed.parts.get(tuple(value), {()})
    if parts and not others:
        return type(value)(parts)
    whole = all(each in narrowed.widths or each in PLACEHOLDERS for each in value)
    return type(value)(_replaced(each, narrowed) for each in value) if whole else value
