"""Many labels a sample: against scikit-learn's F1 and torch's distributions."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from secateur.models.tasks.multi_label import MultiLabel

TASK = MultiLabel()


@given(st.integers(0, 2**31), st.integers(1, 30), st.integers(2, 5))
def test_f1_is_the_macro_average_over_labels(seed: int, samples: int, labels: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(samples, labels, generator=generator)
    target = torch.randint(2, (samples, labels), generator=generator)
    found = TASK.metric.value(TASK.metric.tally(logits, target).sum(0), samples)
    present = ((logits > 0) | (target > 0)).any(0)
    expected = f1_score(target[:, present], (logits > 0)[:, present], average="macro") if present.sum() > 1 else None
    if expected is not None:
        assert found == pytest.approx(expected)


def test_maps_of_labels_count_by_label() -> None:
    logits, target = torch.ones(2, 3, 4, 4), torch.zeros(2, 3, 4, 4)
    target[:, 0] = 1
    assert TASK.metric.tally(logits, target)[0].tolist() == [[16, 0, 0], [0, 16, 16], [0, 0, 0]]
    assert TASK.loss(logits, target).shape == (2,)


def test_the_loss_is_binary_cross_entropy() -> None:
    loss = TASK.loss(torch.zeros(2, 3), torch.tensor([[0, 1, 1], [0, 0, 0]]))
    torch.testing.assert_close(loss, torch.full((2,), math.log(2)))


def test_the_divergence_is_kl_of_softened_bernoullis() -> None:
    teacher, student = torch.randn(4, 3).double(), torch.randn(4, 3).double()
    p, q = (torch.distributions.Bernoulli(logits=each / 4) for each in (teacher, student))
    expected = 16 * torch.distributions.kl_divergence(p, q).mean(1)
    assert TASK.divergence is not None
    torch.testing.assert_close(TASK.divergence(teacher, student), expected)


def test_chance_is_the_mean_entropy_of_the_labels() -> None:
    assert TASK.chance is not None
    assert TASK.chance(torch.tensor([[0, 1], [1, 1]])) == pytest.approx(math.log(2) / 2)
