"""Widths that the user's own modules hold in attributes: ``self.channels``, ``self.shape``."""

from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

from torch import nn

from ..structure import Structure
from ..subnetwork import Subnetwork
from ..tracing.atoms import IntArray

Narrowed: TypeAlias = dict[int, set[int]]  # dense width → what becomes of the dimensions and groups of this width

# Words in the names of numbers that are no widths, though they may equal one.
OTHERS = (
    "kernel", "stride", "pad", "dilat", "head", "depth", "layer", "block", "stage", "level", "ratio", "reduc", "expan",
    "scale", "factor", "rate", "class", "window", "patch", "image", "img", "pool", "grid", "radix", "cardinal", "step",
    "index", "indices", "idx", "node", "save", "order",
)  # fmt: skip
WHOLE_NAMES = {"i", "f", "n"}  # the same, of names as short as that: YOLO's places in the list of layers
PLACEHOLDERS = {-1, 0, 1}  # in lists of widths, as shapes have them


def rewrite_widths(
    net: Structure, subnetwork: Subnetwork, kept: Mapping[str, Mapping[int, IntArray]], model: nn.Module
) -> None:
    """Write the narrowed widths into the attributes of ``model``, a narrowed copy of the network, that hold dense ones.

    An attribute is taken for a width where its number is that of a dimension or group of tensors of its module, which
    the module does not only read, and all dimensions and groups of this number are narrowed alike; others are left.
    Of a list, every number must be one of a dimension or group, or a placeholder: [16, 32, 16], not places [1, 2, 16].
    ``kept``: see ``kept_places``.
    """
    for path, module in net.model.named_modules():
        if not type(module).__module__.startswith("torch."):
            held = dict(_held(module))
            narrowed = _narrowed(net, subnetwork, kept, f"{path}." if path else "") if held else {}
            for name, value in held.items():
                if (new := _replaced(value, narrowed)) != value:
                    setattr(model.get_submodule(path), name, new)


def _held(module: nn.Module) -> Iterator[tuple[str, Any]]:
    """The attributes that may hold widths: whole numbers, and lists or tuples of some."""
    of_torch = {name for base in type(module).__mro__ if base.__module__.startswith("torch.") for name in _named(base)}
    for name, value in vars(module).items():
        numbers = value if type(value) in (list, tuple) else [value]
        other = name.startswith("_") or name in of_torch | WHOLE_NAMES or any(word in name for word in OTHERS)
        if not other and numbers and all(type(number) is int for number in numbers):
            yield name, value


def _named(base: type) -> tuple[str, ...]:
    """The attributes that torch itself gives a layer."""
    return tuple(getattr(base, "__constants__", ()))


def _narrowed(
    net: Structure, subnetwork: Subnetwork, kept: Mapping[str, Mapping[int, IntArray]], prefix: str
) -> Narrowed:
    """The widths of the dimensions and groups of the tensors under a module, of those that it does not only read."""
    found: Narrowed = {}
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
    return {width: new if width in made else {width} for width, new in found.items()}


def _replaced(value: Any, narrowed: Narrowed) -> Any:
    """The same number, list or tuple with what its widths become."""
    if type(value) is int:
        (new, *more) = narrowed.get(value, {value})
        return value if more else new
    whole = all(each in narrowed or each in PLACEHOLDERS for each in value)
    return type(value)(_replaced(each, narrowed) for each in value) if whole else value
