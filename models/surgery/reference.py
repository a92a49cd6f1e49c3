"""The outputs that a slimmed network must have: those of the dense one with the removed channels unread."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode

from ..structure import Structure
from ..subnetwork import Subnetwork
from ..tracing.atoms import NOTHING, BoolArray, Reduction
from ..tracing.modules import tensors_in
from ..tracing.op_call import FACTORED, IN_PLACE, REDUCING, aten, counted_as
from .places import kept_places, removed_atoms
from .slim import masked, slim


def reference(net: Structure, subnetwork: Subnetwork, *images: Tensor) -> list[Tensor]:
    """The outputs that the slimmed network must have: those of the dense one with removed channels unread.

    Where forward reduces over channels without a weight, as norms and averages do, the result is of those kept; a
    number that it computes from a width, such as the scale of attention, is that of the kept width.
    """
    model, numbers = masked(net, subnetwork, spared=net.trace.factors), _Numbers()
    if net.trace.reductions:
        narrowed = slim(net, subnetwork)
        with torch.no_grad(), _attention_in_steps(), numbers:
            net.run(narrowed, images)
    tensors, places = dict(model.named_parameters()), kept_places(net, subnetwork)
    kept = {id(tensors[name]): dims[0] for name, dims in places.items() if name in tensors and 0 in dims}
    removed = removed_atoms(net, places)
    norms = {each: torch.from_numpy(stays) for each, stays in kept.items()}
    kept_channels = _KeptChannels(norms, net.trace.reductions, removed, numbers.found)
    with torch.no_grad(), _attention_in_steps(), kept_channels:
        return tensors_in(net.run(model, images))


@contextmanager
def _attention_in_steps() -> Iterator[None]:
    """Attention as the operations that the trace saw, not as one kernel."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


class _Numbers(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch leaves it untyped
    """Collects the plain numbers among the arguments of pointwise operations: operation and how many ran → by place."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found: dict[tuple[str, int], dict[int, float]] = {}
        self._ran = Counter[str]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if torch.Tag.pointwise in func.tags:
            name = str(func)
            self.found[name, self._ran[name]] = {i: x for i, x in enumerate(args) if type(x) in (int, float)}
            self._ran[name] += 1
        return func(*args, **(kwargs or {}))


class _KeptChannels(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch leaves it untyped
    """Reduces over the channels that stay.

    Layer and group norms run on those that their weight keeps (``kept``, by its id) and leave zeros elsewhere;
    ``reductions`` are a trace's, ``removed`` the atoms that go, ``numbers`` those of the narrowed network's forward.
    """

    def __init__(
        self,
        kept: Mapping[int, Tensor],
        reductions: Mapping[tuple[str, int], Sequence[Reduction]],
        removed: BoolArray,
        numbers: Mapping[tuple[str, int], Mapping[int, float]],
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.kept, self.reductions, self.removed, self.numbers = kept, reductions, removed, numbers
        self._ran = Counter[str]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket
        if name is aten.native_layer_norm and id(args[2]) in self.kept:
            return self._layer(func, *args)
        if name is aten.native_group_norm and id(args[1]) in self.kept:
            return self._group(func, *args)
        if name in REDUCING:
            each = counted_as(name)
            reductions = self.reductions.get((each, self._ran[each]), ())
            self._ran[each] += 1
            for reduction in reductions:
                args = self._unread(name in FACTORED, reduction, list(args))
            if reductions and name in IN_PLACE:
                return self._put_back(func(*args), reductions)
        elif torch.Tag.pointwise in func.tags:
            each = str(func)
            numbers = self.numbers.get((each, self._ran[each]), {})
            args = [numbers.get(i, x) for i, x in enumerate(args)]
            self._ran[each] += 1
        return func(*args, **(kwargs or {}))

    def _unread(self, sums: bool, reduction: Reduction, args: list[Any]) -> list[Any]:
        """The arguments without the removed channels; with zeros for them where they are factors of a sum."""
        x, removed = args[reduction.argument], self.removed[reduction.atoms]
        at = torch.from_numpy(np.flatnonzero(removed if sums else ~removed)).to(x.device)
        args[reduction.argument] = x.index_fill(reduction.dim, at, 0) if sums else x.index_select(reduction.dim, at)
        return args

    def _put_back(self, output: Any, reductions: Sequence[Reduction]) -> Any:
        """One result a kept channel, with zeros in the places of those removed."""
        y, *rest = output if isinstance(output, tuple) else (output,)
        for each in reductions:
            removed = self.removed[each.atoms[each.atoms != NOTHING]]
            shape = [len(removed) if dim == each.dim else n for dim, n in enumerate(y.shape)]
            at = torch.from_numpy(np.flatnonzero(~removed)).to(y.device)
            y = y.new_zeros(shape).index_copy(each.dim, at, y)
        return (y, *rest) if isinstance(output, tuple) else y

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
