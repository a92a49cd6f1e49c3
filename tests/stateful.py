"""Layers whose forward writes to something that the network holds, each in its own way."""

from __future__ import annotations

import functools
import random
import types
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDTH = 6


class Kept(nn.Module):
    """A convolution and something that is written at every call."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(WIDTH, WIDTH, 3, padding=1)
        self.build()

    def build(self) -> None:
        pass

    def write(self, x: Tensor) -> Tensor:
        return x

    def forward(self, x: Tensor) -> Tensor:
        return self.write(F.relu(self.conv(x)))


class Grid(Kept):
    """A grid that is made anew for each size of the image."""

    def build(self) -> None:
        self.size: Any = None
        self.grid = torch.empty(0)

    def write(self, x: Tensor) -> Tensor:
        if self.size != x.shape[2:]:
            self.size = x.shape[2:]
            self.grid = torch.linspace(0, 1, x.shape[3], device=x.device, dtype=x.dtype).view(1, 1, 1, -1)
        return x + self.grid


class Appends(Kept):
    """A list of means, an ordered past, a set of sizes."""

    def build(self) -> None:
        self.means: list[Tensor] = []
        self.past: deque[int] = deque(maxlen=3)
        self.sizes = set[int]()

    def write(self, x: Tensor) -> Tensor:
        self.means.append(x.mean())
        self.past.append(len(self.past))
        self.sizes.add(x.shape[-1])
        return x


class Named(Kept):
    """Features by name, in a dictionary within a dictionary."""

    def build(self) -> None:
        self.features: dict[str, dict[str, Tensor]] = {"last": {}}

    def write(self, x: Tensor) -> Tensor:
        self.features["last"]["x"] = x
        return self.features["last"]["x"] * 2


class Helped(Kept):
    """A plain object, and one with slots, that count."""

    class Slotted:
        __slots__ = ("calls",)

        def __init__(self) -> None:
            self.calls = 0

    def build(self) -> None:
        self.helper, self.slotted = types.SimpleNamespace(calls=0, last=None), self.Slotted()

    def write(self, x: Tensor) -> Tensor:
        self.helper.calls += 1
        self.helper.last = x
        self.slotted.calls += 1
        return x


class InPlace(Kept):
    """A plain tensor and an array that are written in place."""

    def build(self) -> None:
        self.total, self.array = torch.zeros(1), np.zeros(2)

    def write(self, x: Tensor) -> Tensor:
        self.total += x.shape[-1]
        self.array += 1
        return x


class Buffered(Kept):
    """A buffer that counts, and one that is registered at the first call."""

    calls: Tensor

    def build(self) -> None:
        self.register_buffer("calls", torch.zeros(()))

    def write(self, x: Tensor) -> Tensor:
        self.calls += 1
        if "late" not in self._buffers:
            self.register_buffer("late", torch.ones((), device=x.device))
        return x


class Hooked(Kept):
    """A hook that stores what forward reads."""

    def build(self) -> None:
        self.stored: dict[str, Tensor] = {}
        self.conv.register_forward_hook(lambda module, inputs, output: self.stored.update(out=output))

    def write(self, x: Tensor) -> Tensor:
        return x + self.stored["out"]


class Cached(Kept):
    """A function's cache, and an attribute of the class."""

    calls = 0

    def write(self, x: Tensor) -> Tensor:
        type(self).calls += 1
        return x * ramp(x.shape[-1], x.device)


class Drawn(Kept):
    """All three random streams."""

    def write(self, x: Tensor) -> Tensor:
        return x * (1 + 0 * (random.random() + np.random.rand())) + 0 * torch.rand(())  # noqa: NPY002


class Stamped(Kept):
    """A variable of a closure."""

    def build(self) -> None:
        self.stamp = counter()

    def write(self, x: Tensor) -> Tensor:
        self.stamp()
        return x


KINDS: list[type[Kept]] = [
    Kept, Grid, Appends, Named, Helped, InPlace, Buffered, Hooked, Cached, Drawn, Stamped,
]  # fmt: skip


@functools.lru_cache
def ramp(width: int, device: torch.device) -> Tensor:
    return torch.linspace(1, 2, width, device=device)


def counter() -> Callable[[], int]:
    count = 0

    def step() -> int:
        nonlocal count
        count += 1
        return count

    return step


def network(kinds: list[type[Kept]]) -> nn.Sequential:
    """A stem, these layers and a head."""
    return nn.Sequential(nn.Conv2d(3, WIDTH, 3, padding=1), *(kind() for kind in kinds), nn.Conv2d(WIDTH, 4, 1))
