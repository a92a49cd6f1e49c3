"""How long networks take, timed in turn: a machine that changes its speed changes it for all of them."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

WARM_UP, ROUNDS, LEAST_ROUNDS = 5, 50, 10  # passes of each: untimed, at most, at least
PATIENCE = 15.0  # seconds of timing, after which the least number of rounds is enough
Answer: TypeAlias = Callable[[Tensor], object]  # images → whatever


@dataclass(frozen=True)
class Timing:
    """The median of ``n`` passes, and the quartiles."""

    median: float
    low: float
    high: float
    n: int

    @classmethod
    def of(cls, passes: list[float]) -> "Timing":
        """What so many passes come to."""
        low, median, high = (float(each) for each in np.quantile(passes, (0.25, 0.5, 0.75)))
        return cls(median, low, high, len(passes))


@torch.no_grad()
def time_interleaved(
    networks: Mapping[str, Answer],
    images: Tensor,
    clock: Callable[[], float] = time.perf_counter,
    rounds: int | None = None,
) -> dict[str, Timing]:
    """The seconds that each network takes for ``images``, a pass of each after the other, after a warm-up.

    Networks and images are on one device; on a GPU a pass ends when it has done its work.
    """
    taken: dict[str, list[float]] = {name: [] for name in networks}
    began, now = clock(), synchronised(clock, images.device)
    for number in range(WARM_UP + (rounds or ROUNDS)):
        if number >= WARM_UP + LEAST_ROUNDS and clock() - began > PATIENCE:
            break
        for name, network in networks.items():
            start = now()
            network(images)
            taken[name] += [now() - start] if number >= WARM_UP else []
    return {name: Timing.of(passes) for name, passes in taken.items()}


def synchronised(clock: Callable[[], float], device: torch.device) -> Callable[[], float]:
    """The clock, once the device has done what it was given."""

    def now() -> float:
        torch.cuda.synchronize(device)
        return clock()

    return now if device.type == "cuda" else clock
