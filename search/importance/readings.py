"""What weights read, caught where torch runs the operation: in functional calls as well as in modules."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from ...models.tracing.groups import Member
from ...models.tracing.op_call import aten

MOVED = {aten.t, aten.transpose, aten.permute, aten.view, aten._unsafe_view, aten.expand, aten.detach, aten.alias}
PRODUCTS = {aten.mm, aten.addmm, aten.bmm, aten.baddbmm}


class Readings(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch leaves it untyped
    """Hands ``saw`` the name of a weight and what it reads, each time that a batch of ``images`` gets there.

    What it reads comes as (images, channels, places...); a matrix product's rows are taken for places.
    """

    def __init__(self, weights: Mapping[str, Tensor], images: int, saw: Callable[[str, Tensor], None]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.images, self.saw = images, saw
        self.named = {id(weight): name for name, weight in weights.items()}
        self.held: list[Tensor] = []  # moved weights, so that their ids stay their own

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        operation = func.overloadpacket
        if operation is aten.convolution and id(args[1]) in self.named:
            self.saw(self.named[id(args[1])], args[0])
        elif operation in PRODUCTS:
            *_, a, b = args
            if id(b) in self.named:
                self.saw(self.named[id(b)], self._by_image(a))
            elif id(a) in self.named:
                self.saw(self.named[id(a)], self._by_image(b.mT))
        elif operation in MOVED and id(args[0]) in self.named:  # a linear layer's weight comes transposed
            self.named[id(output)] = self.named[id(args[0])]
            self.held.append(output)
        return output

    def _by_image(self, rows: Tensor) -> Tensor:
        """Shape: (..., K) → (images, K, rows of an image), or (rows, K, 1) where images don't divide the rows"""
        rows = rows.flatten(0, -2)
        images = self.images if len(rows) % self.images == 0 else len(rows)
        return rows.reshape(images, -1, rows.shape[1]).mT


def channel_maps(x: Tensor, member: Member, width: int, size: int) -> Tensor:
    """The maps of a group's channels, out of what a weight reads whose dimension has ``size`` places.

    A channel has several maps where it fills several places: in a grouped convolution, or twice in a
    concatenation. Where places have no extent, as behind a flatten, a channel's places are its map.

    Shape: x (B, channels, places...) → (B, width, M, H, W)
    """
    order = np.lexsort((member.places, member.channels))
    places = torch.from_numpy(member.places[order]).to(x.device)
    space = x.shape[2:]
    parts = x.reshape(len(x), -1, size, *space).index_select(2, places)  # (B, parts of a grouped convolution, n, ...)
    maps = parts.reshape(len(x), parts.shape[1], width, -1, *space).movedim(2, 1).flatten(2, 3)  # (B, width, M, ...)
    if space.numel() == 1:
        maps = maps.flatten(2)[:, :, None]
    return _as_matrices(maps)


def _as_matrices(maps: Tensor) -> Tensor:
    """One row becomes a square where its length is one; planes of a volume become maps. Shape: (B, width, M, H, W)"""
    if maps.ndim > 4:
        return maps.flatten(2, -3)
    length = maps.shape[3]
    side = math.isqrt(length)
    return maps.reshape(*maps.shape[:3], *((side, side) if side**2 == length else (1, length)))
