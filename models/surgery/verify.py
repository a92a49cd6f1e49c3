"""Prove on the user's own network that its groups can be narrowed, and freeze those that can't.

The trace assumes that forward computes its sizes (``x.chunk(2)``) and does not have them written down
(``x.split(64)``): nobody can see the difference in one run. So random subnetworks are built and run: one that
does not run, or whose outputs are not those of the dense network without the removed channels, is taken
apart until the guilty groups are found.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from ..structure import Net, Structure
from ..subnetwork import Subnetwork
from ..tracing.meta import MetaShapes, empty_meta_like
from ..tracing.modules import evaluating, tensors_in
from ..tracing.trace import ERRORS, first_line
from .reference import reference
from .slim import slim

Attempt: TypeAlias = Callable[[Subnetwork], str | None]  # why a subnetwork fails, if it does

TOLERANCE = 1e-3  # of the largest output; float32 sums in another order


def verified(net: Net, seed: int = 0) -> Net:
    """The same structure with the groups frozen that fail, each with its reason.

    Shapes are tried without storage first, then values on random images.
    """
    without_storage = any(example.is_meta for example in net.examples)
    for attempts in (_shapes,) if without_storage else (_shapes, _values):
        blame = _guilty(net, attempts(net), np.random.default_rng(seed))
        if blame:
            net = net.freezing(blame)
    return net


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
        before = _shapes_of(light.model, examples)
    except ERRORS:
        return lambda subnetwork: None  # a forward that looks at values is left to the values

    def attempt(subnetwork: Subnetwork) -> str | None:
        try:
            after = _shapes_of(slim(light, subnetwork), examples)
        except ERRORS as error:
            return _written_down(error)
        return None if before == after else f"changes the shape of the output from {before} to {after}"

    return attempt


def _written_down(error: Exception) -> str:
    return f"has a width written down in forward ({first_line(error)[:100]})"


def _without_storage(model: nn.Module) -> nn.Module:
    """A copy on the meta device, in evaluation mode; tensors that modules share stay shared."""
    memo: dict[int, Any] = {}
    for tensor in (*model.parameters(), *model.buffers()):
        light = empty_meta_like(tensor)
        memo[id(tensor)] = nn.Parameter(light, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else light
    return copy.deepcopy(model, memo).eval()


def _shapes_of(model: nn.Module, examples: Sequence[Tensor]) -> list[tuple[int, ...]]:
    with torch.no_grad(), MetaShapes():  # type: ignore[no-untyped-call]
        return [tuple(output.shape) for output in tensors_in(model(*examples))]


def _values(net: Structure) -> Attempt:
    """Finds out why a slimmed network's outputs are not the reference's."""
    generator = torch.Generator("cpu").manual_seed(0)
    shapes = [(2, *example.shape[1:]) for example in net.examples]
    drawn = [torch.randn(shape, generator=generator, device="cpu") for shape in shapes]
    images = [each.to(example) for each, example in zip(drawn, net.examples, strict=True)]

    def attempt(subnetwork: Subnetwork) -> str | None:
        model = slim(net, subnetwork).eval()
        try:
            with torch.no_grad(), evaluating(net.model):
                pairs = list(zip(tensors_in(model(*images)), reference(net, subnetwork, *images), strict=True))
        except ERRORS as error:
            return _written_down(error)
        for one, other in pairs:  # outputs that are not finite prove nothing
            if other.isfinite().all() and not float((one - other).abs().max()) <= TOLERANCE * float(other.abs().max()):
                return "gives other outputs when it is narrowed than without the removed channels"
        return None

    return attempt
