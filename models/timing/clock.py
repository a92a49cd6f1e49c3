"""Seconds of networks that are timed in turn, so that a change in the machine's speed affects all of them."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

WARM_UP, ROUNDS, LEAST_ROUNDS = 5, 50, 10  # passes of each: untimed, at most, at least
PATIENCE = 15.0  # seconds of timing, after which the least number of rounds is enough
Network: TypeAlias = Callable[[Tensor], object]  # images → anything


@dataclass(frozen=True)
class Timing:
    """The median and the quartiles of the seconds of ``n`` passes."""

    median: float
    low: float
    high: float
    n: int

    @classmethod
    def of(cls, passes: list[float]) -> "Timing":
        """The summary of these passes."""
        low, median, high = (float(each) for each in np.quantile(passes, (0.25, 0.5, 0.75)))
        return cls(median, low, high, len(passes))


@torch.no_grad()
def time_interleaved(
    networks: Mapping[str, Network],
    images: Tensor,
    clock: Callable[[], float] = time.perf_counter,
    rounds: int | None = None,
    *,
    patience: float = PATIENCE,
) -> dict[str, Timing]:
    """The seconds of each network for ``images``, by name: one pass of each in turn, over and over, after a warm-up.

    Networks and images are on one device; on a GPU a pass ends when the device is idle again. After ``patience``
    seconds the least number of rounds is enough.
    """
    taken: dict[str, list[float]] = {name: [] for name in networks}
    began, now = clock(), synchronised(clock, images.device)
    for number in range(WARM_UP + (rounds or ROUNDS)):
        if number >= WARM_UP + LEAST_ROUNDS and clock() - began > patience:
            break
        for name, network in networks.items():
            start = now()
            network(images)
            taken[name] += [now() - start] if number >= WARM_UP else []
    return {name: Timing.of(passes) for name, passes in taken.items()}


def synchronised(clock: Callable[[], float], device: torch.device) -> Callable[[], float]:
    """The clock, read once the device has finished its work."""

    def now() -> float:
        torch.cuda.synchronize(device)
        return clock()

    return now if device.type == "cuda" else clock
