"""Which interim subnetworks become the teachers of a bank."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from ...models.subnetwork import Subnetwork
from ...models.tracing.atoms import FloatArray
from .bank import TEACHERS
from .manifest import Teacher


def teachers_by_loss(losses: FloatArray, dense: float, winner: float, count: int = TEACHERS) -> list[int]:
    """Positions of the interim subnetworks that lie nearest to even steps of loss between dense and winner.

    Targets are dense + (K−k)/K·(winner − dense) for k = K..1, the dense network itself first and the winner left
    out (EKG's poster, eqs. 10-11, read on [dense, winner]: in a search whose candidates all sit at the
    budget the worst of them would otherwise set the scale). Each is taken once; ascending by loss, so
    that the first is the best. Fewer than ``count`` where fewer lie between.

    Shape: losses (M,) → at most ``count`` positions

    >>> teachers_by_loss(np.array([0.1, 0.3, 0.35, 0.5, 0.9]), dense=0.1, winner=0.9, count=4)
    [0, 1, 2, 3]
    """
    left = (losses == dense) | ((losses > dense) & (losses < winner))  # dense even where the winner is better
    chosen: list[int] = []
    for target in np.linspace(dense, winner, count, endpoint=False):
        if left.any():
            nearest = int(np.where(left, np.abs(losses - target), np.inf).argmin())
            left[nearest] = False
            chosen.append(nearest)
    return sorted(chosen, key=lambda i: (losses[i], i))


class TeacherCandidate(Protocol):
    """A subnetwork with its holdout loss and cost: what any search can offer as a teacher."""

    @property
    def subnetwork(self) -> Subnetwork:
        """The kept channels."""

    @property
    def loss(self) -> float:
        """Mean holdout cross-entropy, nats."""

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one image."""


def choose_teachers(candidates: Sequence[TeacherCandidate], dense: Subnetwork, winner: Subnetwork) -> list[Teacher]:
    """The teachers of a bank, best first, out of candidates that hold the dense network and the winner."""
    losses = {candidate.subnetwork: candidate.loss for candidate in candidates}
    candidates = [c for c in candidates if c.subnetwork == dense or c.subnetwork != winner]
    chosen = teachers_by_loss(np.array([c.loss for c in candidates]), losses[dense], losses[winner])
    return [Teacher(candidates[c].subnetwork, candidates[c].loss, candidates[c].macs) for c in chosen]
