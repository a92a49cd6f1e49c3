"""What ``secateur evaluate`` measured, kept in evaluation.json."""

from ..models.score import Score
from .outcomes import Costs, LatencyRow, Record, Seconds

EVALUATION = "evaluation.json"


class NetworkScore(Costs, frozen=True, kw_only=True):
    """What a network costs for one image, and its score on the test images."""

    test: Score


class DivisorTimes(Record, frozen=True, kw_only=True):
    """What uniform widths take by their divisor, and the divisor to use."""

    seconds: dict[str, Seconds]
    suggested: int

    @property
    def advice(self) -> str:
        """Whether multiples of widths pay, in words."""
        return f"--divisor {self.suggested} pays" if self.suggested > 1 else "no --divisor pays"


class Measured(Record, frozen=True, kw_only=True):
    """Test scores, costs and times of a dense network, and of the slim one of a run beside it."""

    networks: dict[str, NetworkScore]
    device: str
    threads: int
    torch: str
    macs_saved: float | None = None
    latency: tuple[LatencyRow, ...]
    divisors: dict[str, DivisorTimes] | None = None
