"""Prove on the user's own network that its groups can be narrowed, and freeze those that can't.

The trace assumes that forward computes its sizes (``x.chunk(2)``) and does not have them written down
(``x.split(64)``): nobody can see the difference in one run. So random subnetworks are built and run: one that
does not run, or whose outputs are not those of the dense network without the removed channels, is taken
apart until the guilty groups are found.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from ..structure import Net, Structure
from ..subnetwork import Subnetwork
from ..tracing.eager import uncompiled
from ..tracing.meta import MetaShapes, empty_meta_like
from ..tracing.modules import tensors_in
from ..tracing.state import untouched
from ..tracing.trace import ERRORS
from .copies import copied
from .slim import slim
from .values import Values, written_down

Kept: TypeAlias = Sequence[tuple[int, ...]]  # of each group
Attempt: TypeAlias = Callable[[Subnetwork], str | None]  # why a subnetwork fails, if it does


def verified(net: Net, seed: int = 0) -> Net:
    """The same structure with the groups frozen that fail, each with its reason.

    Shapes are tried without storage first, then values on random images. Raises SecateurError where copies of the
    network don't answer as it does.
    """
    net = net.freezing(_guilty(net, _shapes(net), _random(net, seed)))
    if any(example.is_meta for example in net.examples):
        return replace(net, uncompared=True)
    values = Values(net)
    values.require_faithful()
    net = net.freezing(_guilty(net, values.attempt, _random(net, seed)))
    for part in range(max(map(len, _uneven_cuts(net)), default=0)):
        net = net.freezing(_of_whole_cuts(net, _guilty(net, Values(net).attempt, _one_less(net, part))))
    return net if values.runs else replace(net, uncompared=True)


def _random(net: Structure, seed: int) -> Kept:
    """Some channels of each group, and some not."""
    rng = np.random.default_rng(seed)
    widths = [int(rng.integers(1, group.width)) if group.width > 1 else 1 for group in net.groups]
    return [tuple(np.sort(rng.permutation(g.width)[:w]).tolist()) for g, w in zip(net.groups, widths, strict=True)]


def _one_less(net: Structure, part: int) -> Kept:
    """All channels but one of this part of every uneven cut.

    Where forward computes the sizes of the parts from their sum, they can't be right for each part in turn.
    """
    narrowed = {groups[part] for groups in _uneven_cuts(net) if part < len(groups)}
    return [every[1:] if g in narrowed and len(every) > 1 else every for g, every in enumerate(net.dense.kept)]


def _of_whole_cuts(net: Structure, blame: Mapping[str, str]) -> dict[str, str]:
    """The reasons by group, also for the other parts of a cut of which one part fails."""
    more = dict(blame)
    for groups in _uneven_cuts(net):
        names = [net.groups[group].name for group in groups]
        reasons = [blame[name] for name in names if name in blame]
        more |= dict.fromkeys([name for name in names if name not in more], reasons[0]) if reasons else {}
    return more


def _uneven_cuts(net: Structure) -> list[list[int]]:
    """The groups that lie in the parts of cuts into parts of several sizes, by the sizes in attributes."""
    uneven = [parts for parts in net.trace.cuts if len({*map(len, parts)}) > 1]
    groups = (dict.fromkeys(net.grouping.group_of[np.concatenate(parts)].tolist()) for parts in uneven)
    return [[group for group in each if group >= 0] for each in groups]


def _guilty(net: Structure, attempt: Attempt, kept: Kept) -> dict[str, str]:
    """Groups that can't be narrowed to these channels, one after the other beside those that can, and why."""
    good: set[int] = set()
    blame: dict[str, str] = {}

    def search(suspects: Sequence[int]) -> None:
        narrow = good.union(suspects)
        dense = net.dense.kept
        reason = attempt(Subnetwork(tuple(kept[g] if g in narrow else dense[g] for g in range(len(kept)))))
        if reason is None:
            good.update(suspects)
        elif len(suspects) == 1:
            blame[net.groups[suspects[0]].name] = reason
        else:
            half = len(suspects) // 2
            search(suspects[:half])
            search(suspects[half:])

    search(range(len(kept)))
    return blame


def _shapes(net: Structure) -> Attempt:
    """Finds out why a slimmed network does not run, or makes outputs of another shape."""
    light = replace(net, model=_without_storage(net.model))
    examples = [example.to("meta") for example in net.examples]
    try:
        with untouched(light.model):
            before = _shapes_of(net, light.model, examples)
    except ERRORS:
        return lambda subnetwork: None  # a forward that looks at values is left to the values

    def attempt(subnetwork: Subnetwork) -> str | None:
        try:
            after = _shapes_of(net, slim(light, subnetwork), examples)
        except ERRORS as error:
            return written_down(error)
        return None if before == after else f"changes the shape of the output from {before} to {after}"

    return attempt


def _without_storage(model: nn.Module) -> nn.Module:
    """A copy on the meta device, in evaluation mode; tensors that modules share stay shared."""
    memo: dict[int, Tensor] = {}
    for tensor in (*model.parameters(), *model.buffers()):
        light = empty_meta_like(tensor)
        memo[id(tensor)] = nn.Parameter(light, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else light
    return copied(model, memo).eval()


def _shapes_of(net: Structure, model: nn.Module, examples: Sequence[Tensor]) -> list[tuple[int, ...]]:
    with untouched(net.model), uncompiled(), torch.no_grad(), MetaShapes():  # type: ignore[no-untyped-call]
        return [tuple(output.shape) for output in tensors_in(net.run(model, examples))]
