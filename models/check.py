"""Prove on the user's own network that its groups can be narrowed, and freeze those that can't.

The trace assumes that forward computes its sizes (``x.chunk(2)``) and does not have them written down
(``x.split(64)``): nobody can see the difference in one run. So random subnetworks are built and run: one that
does not run, or whose outputs are not those of the dense network without the removed channels, is taken
apart until the guilty groups are found.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from .call import aten
from .slim import kept_places, masked, slim
from .subnetwork import Subnetwork
from .supernet import Supernet
from .trace import ERRORS, evaluating, first_line, tensors_in

Attempt: TypeAlias = Callable[[Subnetwork], str | None]  # why a subnetwork fails, if it does

TOLERANCE = 1e-3  # of the largest output; float32 sums in another order


def checked(net: Supernet, seed: int = 0) -> Supernet:
    """The same supernet with the groups frozen that fail, each with its reason.

    Shapes are tried without storage first, then values on random images. Raises SecateurError where nothing
    is left to prune.
    """
    without_storage = any(example.is_meta for example in net.examples)
    for attempts in (_shapes,) if without_storage else (_shapes, _values):
        blame = _guilty(net, attempts(net), np.random.default_rng(seed))
        if blame:
            net = net.freezing(blame)
    return net


def reference(net: Supernet, subnetwork: Subnetwork, *images: Tensor) -> list[Tensor]:
    """The outputs that the slimmed network must have: those of the dense one with removed channels unread.

    Where a layer norm or a group norm reduces over the group's channels, its statistics are of those kept.
    """
    model = masked(net, subnetwork)
    tensors = dict(model.named_parameters())
    kept = {id(tensors[n]): d[0] for n, d in kept_places(net, subnetwork).items() if n in tensors and 0 in d}
    with torch.no_grad(), _KeptNorms({each: torch.from_numpy(places) for each, places in kept.items()}):
        return tensors_in(model(*images))


def _guilty(net: Supernet, attempt: Attempt, rng: np.random.Generator) -> dict[str, str]:
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


def _shapes(net: Supernet) -> Attempt:
    """Finds out why a slimmed network does not run, or makes outputs of another shape."""
    bare = replace(net, model=_without_storage(net.model))
    examples = [example.to("meta") for example in net.examples]
    try:
        before = _shapes_of(bare.model, examples)
    except ERRORS:
        return lambda subnetwork: None  # a forward that looks at values is left to the values

    def attempt(subnetwork: Subnetwork) -> str | None:
        try:
            after = _shapes_of(slim(bare, subnetwork), examples)
        except ERRORS as error:
            return _written_down(error)
        return None if before == after else f"changes the shape of the output from {before} to {after}"

    return attempt


def _written_down(error: Exception) -> str:
    return f"has a width written down in forward ({first_line(error)[:100]})"


def _without_storage(model: nn.Module) -> nn.Module:
    """A copy on the meta device, in evaluation mode; what modules share stays shared."""
    memo: dict[int, Any] = {}
    for tensor in (*model.parameters(), *model.buffers()):
        bare = torch.empty_like(tensor, device="meta")
        memo[id(tensor)] = nn.Parameter(bare, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else bare
    return copy.deepcopy(model, memo).eval()


def _shapes_of(model: nn.Module, examples: Sequence[Tensor]) -> list[tuple[int, ...]]:
    with torch.no_grad():
        return [tuple(output.shape) for output in tensors_in(model(*examples))]


def _values(net: Supernet) -> Attempt:
    """Finds out why a slimmed network's outputs are not the reference's."""
    generator = torch.Generator().manual_seed(0)
    images = [torch.randn(2, *example.shape[1:], generator=generator).to(example) for example in net.examples]

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


class _KeptNorms(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch leaves it untyped
    """Runs layer and group norms on the channels that their weight keeps, and leaves zeros elsewhere."""

    def __init__(self, kept: Mapping[int, Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.kept = kept

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket
        if name is aten.native_layer_norm and id(args[2]) in self.kept:
            return self._layer(func, *args)
        if name is aten.native_group_norm and id(args[1]) in self.kept:
            return self._group(func, *args)
        return func(*args, **(kwargs or {}))

    def _layer(self, func: Any, x: Tensor, shape: Any, weight: Tensor, bias: Tensor | None, eps: float) -> Any:
        at = self.kept[id(weight)].to(x.device)
        part = None if bias is None else bias[at]
        y, *rest = func(x[..., at], [len(at)], weight[at], part, eps)
        return (torch.zeros_like(x).index_copy(-1, at, y), *rest)

    def _group(self, func: Any, x: Tensor, weight: Tensor, bias: Tensor | None, *sizes: Any) -> Any:
        at, (images, channels, pixels, groups, eps) = self.kept[id(weight)].to(x.device), sizes
        part, fewer = None if bias is None else bias[at], len(at) if groups == channels else groups
        y, *rest = func(x[:, at].contiguous(), weight[at], part, images, len(at), pixels, fewer, eps)
        return (torch.zeros_like(x).index_copy(1, at, y), *rest)
