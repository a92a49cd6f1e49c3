"""What a network reaches on a split."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Score:
    """Mean cross-entropy (nats) and accuracy (share) over ``n`` images."""

    loss: float
    accuracy: float
    n: int
