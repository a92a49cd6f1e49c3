"""Times of networks, by a clock that the networks move."""

import torch
from torch import Tensor

from secateur.models.timing.clock import LEAST_ROUNDS, PATIENCE, ROUNDS, WARM_UP, Timing, time_interleaved

IMAGES = torch.zeros(1)


class Clock:
    def __init__(self) -> None:
        self.now, self.log = 0.0, list[str]()

    def __call__(self) -> float:
        return self.now

    def network(self, name: str, *passes: float) -> "object":
        """Takes so long, pass after pass, the last for ever."""
        left = list(passes)

        def run(_: Tensor) -> None:
            self.log.append(name)
            self.now += left.pop(0) if len(left) > 1 else left[0]

        return run


def test_networks_run_in_turn_and_the_warm_up_does_not_count() -> None:
    clock = Clock()
    slow, quick = clock.network("slow", *[9.0] * WARM_UP, 0.02), clock.network("quick", *[9.0] * WARM_UP, 0.01)
    times = time_interleaved({"slow": slow, "quick": quick}, IMAGES, clock)  # type: ignore[dict-item]
    assert clock.log == ["slow", "quick"] * (len(clock.log) // 2)
    assert [round(times[name].median, 9) for name in ("slow", "quick")] == [0.02, 0.01]


def test_the_spread_is_that_of_the_middle_half() -> None:
    seconds = Timing.of([1.0, 2.0, 3.0, 4.0, 100.0])
    assert (seconds.low, seconds.median, seconds.high, seconds.n) == (2.0, 3.0, 4.0, 5)


def test_slow_networks_are_timed_less_often_but_often_enough() -> None:
    for each, rounds in ((PATIENCE / 1000, ROUNDS), (PATIENCE, LEAST_ROUNDS)):
        clock = Clock()
        assert time_interleaved({"one": clock.network("one", each)}, IMAGES, clock)["one"].n == rounds  # type: ignore[dict-item]
