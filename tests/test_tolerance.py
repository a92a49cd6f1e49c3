"""A strength that the run finds: when it rises and falls, and how much of what is idle may go."""

from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from lessons import coloured, pupil
from torch import Tensor, nn

from secateur.errors import SecateurError
from secateur.transfer.joint.tolerance import (
    SHARES,
    RisingPenalty,
    Tolerance,
    largest_tolerated,
    loss_under,
    next_strength,
)


class One:
    """A penalty of 1."""

    def __init__(self) -> None:
        self.module = nn.Module()

    def __call__(self) -> Tensor:
        return torch.ones(())


def test_the_first_epoch_is_the_reference_and_has_no_penalty() -> None:
    penalty = RisingPenalty(One(), 0.1)
    assert float(penalty()) == 0
    penalty.on_epoch_end(2.0)
    assert penalty.limit == pytest.approx(2.2)
    assert float(penalty()) == pytest.approx(0.1)
    penalty.on_epoch_end(1.0)
    assert penalty.limit == pytest.approx(2.2)


def test_the_strength_doubles_while_the_loss_is_tolerated_and_falls_to_a_quarter_where_it_is_not() -> None:
    penalty, strengths = RisingPenalty(One(), 0.01), []
    for loss in (1.0, 1.0, 1.009, 1.02, 0.5):
        penalty.on_epoch_end(loss)
        strengths.append(float(penalty()))
    assert strengths == pytest.approx([0.1, 0.2, 0.4, 0.1, 0.2])
    assert next_strength(0.0, False) == 0


def test_strength_and_reference_are_carried_by_a_checkpoint() -> None:
    one, other = RisingPenalty(One(), 0.01), RisingPenalty(One(), 0.01)
    for loss in (1.0, 0.9, 0.8):
        one.on_epoch_end(loss)
    other.module.load_state_dict(one.module.state_dict())
    assert (float(other()), other.limit) == (float(one()), one.limit)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.floats(-0.1, 1.1))
def test_the_largest_share_is_found_as_by_trying_all(losses: list[float], limit: float) -> None:
    rising = dict(zip(map(float, range(len(losses))), sorted(losses), strict=True))
    tolerated = [share for share, loss in rising.items() if loss <= limit]
    assert largest_tolerated(rising.__getitem__, limit, tuple(rising)) == (max(tolerated) if tolerated else None)


def test_few_shares_are_tried() -> None:
    tried: list[float] = []

    def loss(share: float) -> float:
        tried.append(share)
        return 0.0

    assert largest_tolerated(loss, 1.0) == SHARES[-1]
    assert len(tried) <= 4
    assert all(other == 2 * one for one, other in pairwise(SHARES))


def test_the_loss_is_that_of_distillation_on_images_as_they_are() -> None:
    teacher, student, split = pupil().model, pupil(seed=1).model, coloured(20)
    (batch,) = split.batches(20)
    with torch.no_grad():
        target, output = teacher(batch.images), student(batch.images)
    divergence = 16 * F.kl_div(F.log_softmax(output / 4, 1), F.softmax(target / 4, 1), reduction="batchmean")
    expected = 0.1 * F.cross_entropy(output, batch.labels) + 0.9 * divergence
    student.train()
    assert loss_under(teacher, student, split) == pytest.approx(float(expected), rel=1e-5)
    assert student.training


def test_a_negative_tolerance_is_refused() -> None:
    with pytest.raises(SecateurError, match="tolerance=-1 is no share of a loss; pass 0 or more"):
        Tolerance(-1)
