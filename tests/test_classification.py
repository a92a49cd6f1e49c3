"""Classification: the numbers that it had before there were tasks."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from secateur.errors import SecateurError
from secateur.models.tasks.classification import Classification, kl

TASK = Classification()


@given(st.integers(0, 2**31), st.integers(1, 40), st.integers(2, 12))
def test_loss_and_metric_are_cross_entropy_and_accuracy(seed: int, samples: int, classes: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(samples, classes, generator=generator)
    labels = torch.randint(classes, (samples,), generator=generator)
    assert torch.equal(TASK.mean_loss(logits, labels), F.cross_entropy(logits, labels))
    assert torch.equal(TASK.loss(logits, labels), F.cross_entropy(logits, labels, reduction="none"))
    hits = TASK.metric.tally(logits, labels)
    assert TASK.metric.value(hits.double().sum(0), samples) == int((logits.argmax(1) == labels).sum()) / samples


def test_a_guess_costs_log_c() -> None:
    assert TASK.chance is not None
    assert TASK.chance(torch.tensor([0, 3, 1])) == math.log(4)


def test_the_divergence_is_kl_at_temperature_4_times_its_square() -> None:
    teacher, student = torch.randn(6, 5).double(), torch.randn(6, 5).double()
    p, q = (torch.distributions.Categorical(logits=each / 4) for each in (teacher, student))
    expected = 16 * torch.distributions.kl_divergence(p, q)
    torch.testing.assert_close(kl(teacher, student), expected)


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        ({"logits": torch.zeros(2, 3)}, "returns a dict; pass one that returns its logits alone"),
        (torch.zeros(2, 3, 4, 4), r"returns \(3, 4, 4\) for an image, not one logit a class; .* sc.Segmentation"),
    ],
)
def test_outputs_that_are_no_logits_are_refused(output: Any, reason: str) -> None:
    with pytest.raises(SecateurError, match=reason):
        TASK.check(output, torch.tensor([0, 1]), 2)
