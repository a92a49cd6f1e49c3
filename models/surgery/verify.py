"""Prove on the user's own network that its groups can be narrowed, and freeze those that can't.

The trace assumes that forward computes its sizes (``x.chunk(2)``) and does not have them written down
(``x.split(64)``): nobody can see the difference in one run. So random subnetworks are built and run: one that
does not run, or whose outputs are not those of the dense network without the removed channels, is taken
apart until the guilty groups are found.
"""

from collections.abc import Callable, Sequence
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

Attempt: TypeAlias = Callable[[Subnetwork], str | None]  # why a subnetwork fails, if it does


def verified(net: Net, seed: int = 0) -> Net:
    """The same structure with the groups frozen that fail, each with its reason.

    Shapes are tried without storage first, then values on random images. Raises SecateurError where copies of the
    network don't answer as it does.
    """
    net = net.freezing(_guilty(net, _shapes(net), np.random.default_rng(seed)))
    if any(example.is_meta for example in net.examples):
        return net
    values = Values(net)
    values.require_faithful()
    return net.freezing(_guilty(net, values.attempt, np.random.default_rng(seed)))


def _guilty(net: Structure, attempt: Attempt, rng: np.random.Generator) -> dict[str, str]:
    """Groups that can't be narrowed, one after the other beside those that can, and why."""
    widths = [int(rng.integers(1, group.width)) if group.width > 1 else 1 for group in net.groups]
    kept = [tuple(np.sort(rng.permutation(g.width)[:w]).tolist()) for g, w in zip(net.groups, widths, strict=True)]
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
