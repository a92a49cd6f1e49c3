"""The outputs that a slimmed network must have: those of the dense one with the removed channels unread."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from ..structure import Structure
from ..subnetwork import Subnetwork
from ..tracing.atoms import BoolArray, IntArray
from ..tracing.modules import tensors_in
from ..tracing.op_call import aten
from ..tracing.rules import AVERAGES
from .slim import kept_places, masked


def reference(net: Structure, subnetwork: Subnetwork, *images: Tensor) -> list[Tensor]:
    """The outputs that the slimmed network must have: those of the dense one with removed channels unread.

    Where a layer norm, a group norm or an average reduces over channels, its statistics are of those kept.
    """
    model = masked(net, subnetwork)
    tensors, places = dict(model.named_parameters()), kept_places(net, subnetwork)
    kept = {id(tensors[name]): dims[0] for name, dims in places.items() if name in tensors and 0 in dims}
    removed = _removed(net, places)
    averages = {
        k: [(dim, torch.from_numpy(np.flatnonzero(~removed[along]))) for dim, along in statistics]
        for k, statistics in net.trace.statistics.items()
    }
    statistics = _KeptStatistics({each: torch.from_numpy(stays) for each, stays in kept.items()}, averages)
    with torch.no_grad(), statistics:
        return tensors_in(net.run(model, images))


def _removed(net: Structure, places: Mapping[str, Mapping[int, IntArray]]) -> BoolArray:
    """The atoms that go, given the places that stay. Shape: → (atoms,)"""
    removed = np.zeros(net.trace.count, np.bool_)
    for tensor, dims in places.items():
        for dim, stays in dims.items():
            along = net.trace.tensors[tensor][dim]
            removed[along] = True
            removed[along[stays]] = False
    return removed


class _KeptStatistics(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch leaves it untyped
    """Takes statistics over the channels that stay.

    Layer and group norms run on those that their weight keeps (``kept``, by its id) and leave zeros elsewhere;
    the k-th average that forward takes is over ``averages[k]``: pairs of a dimension and the places that stay.
    """

    def __init__(self, kept: Mapping[int, Tensor], averages: Mapping[int, Sequence[tuple[int, Tensor]]]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.kept, self.averages = kept, averages
        self._taken = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket
        if name is aten.native_layer_norm and id(args[2]) in self.kept:
            return self._layer(func, *args)
        if name is aten.native_group_norm and id(args[1]) in self.kept:
            return self._group(func, *args)
        if name in AVERAGES:
            for dim, at in self.averages.get(self._taken, ()):
                args = (args[0].index_select(dim, at.to(args[0].device)), *args[1:])
            self._taken += 1
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
