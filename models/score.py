"""What a network reaches on a split."""

from dataclasses import asdict, dataclass
from math import sqrt
from typing import Any

PERCENT = {"accuracy", "mIoU", "F1"}  # metrics that are shares
ERRORS = 4.0  # standard errors of a difference, from which on chance does not explain it


@dataclass(frozen=True)
class Score:
    """Mean loss (nats, of classification) and the metric of the task over ``n`` samples.

    ``accuracy``: the share of right answers, where the task is classification. ``metric``: elsewhere, by its name.

    >>> Score.of("mIoU", 0.5, loss=0.25, n=100)
    Score(loss=0.25, accuracy=None, n=100, metric={'mIoU': 0.5})
    >>> print(Score.of("accuracy", 0.875, loss=0.25, n=100))
    87.50%
    """

    loss: float
    accuracy: float | None = None
    n: int = 0
    metric: dict[str, float] | None = None

    def __post_init__(self) -> None:
        if self.n < 1 or (self.accuracy is None and not self.metric):
            raise ValueError(f"n={self.n}, accuracy={self.accuracy}, metric={self.metric}; pass one figure")

    def __str__(self) -> str:
        return f"{self.value:.2%}" if self.is_share else f"{self.value:.4g} {self.name}"

    @property
    def is_share(self) -> bool:
        """Whether the metric is a share, shown in percent."""
        return self.name in PERCENT

    def surely_above(self, other: "Score") -> bool:
        """Whether its accuracy is higher than another by more than ``ERRORS`` standard errors, of pooled shares.

        >>> Score(0.3, 0.92, 48).surely_above(Score(1.2, 0.575, 160))
        True
        """
        if self.accuracy is None or other.accuracy is None:
            return False
        pooled = (self.accuracy * self.n + other.accuracy * other.n) / (self.n + other.n)
        error = sqrt(max(0.0, pooled * (1 - pooled)) * (1 / self.n + 1 / other.n))
        return self.accuracy - other.accuracy > ERRORS * error

    def measured(self, measure: str) -> float:
        """The loss, where the measure is ``loss``; else the metric."""
        return self.loss if measure == "loss" else self.value

    def to_dict(self) -> dict[str, Any]:
        """Loss, metric and n as plain values."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    @classmethod
    def of(cls, name: str, value: float, *, loss: float, n: int) -> "Score":
        """The score by a metric of this name."""
        return cls(loss, value, n) if name == "accuracy" else cls(loss, None, n, {name: value})

    @property
    def name(self) -> str:
        """The name of the metric."""
        return next(iter(self.metric)) if self.metric else "accuracy"

    @property
    def value(self) -> float:
        """The metric's value; NaN where it is not known."""
        values = self.metric.values() if self.metric else (self.accuracy,)
        return next((value for value in values if value is not None), float("nan"))
