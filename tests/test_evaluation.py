"""Scores of subnetworks from what an evaluation returns or yields."""

import math
from collections.abc import Iterator
from functools import partial
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scored import noise, residual
from torch import Tensor

from secateur.models.evaluate import evaluate_as_is
from secateur.search.early_stopping import LOOK
from secateur.search.evaluation import name_of, score, task_loss

NO_RIVAL = np.empty(0)


@pytest.mark.parametrize("number", [0.25, np.float32(0.25), torch.tensor(0.25), 2])
def test_one_number_is_the_loss_of_all_images(number: float) -> None:
    found = score(number, 60, NO_RIVAL)
    assert (found.loss, found.n, found.losses) == (float(number), 60, b"")
    assert math.isnan(found.metric)


def test_the_default_is_mean_cross_entropy_and_accuracy() -> None:
    net, split = residual(), noise(60)
    found, expected = score(task_loss(net.model, split, 50), 50, NO_RIVAL), evaluate_as_is(net.model, split, 50)
    assert found.loss == pytest.approx(expected.loss)
    assert (found.metric, found.n) == (expected.accuracy, expected.n)


def test_losses_without_hits_have_no_accuracy() -> None:
    found = score(iter([torch.tensor([1.0, 2.0]), torch.tensor([6.0])]), 3, NO_RIVAL)
    assert (found.loss, found.n) == (3.0, 3)
    assert math.isnan(found.metric)
    assert np.frombuffer(found.losses, np.float16).tolist() == [1, 2, 6]


@given(st.integers(1, 2 * LOOK))
def test_however_images_are_batched_a_loss_is_tested_every_so_many(batch: int) -> None:
    """Worse on every image than the rival; what is read ends within a batch of the first look."""
    losses, read = torch.ones(4 * LOOK) + torch.arange(4 * LOOK) % 2, 0

    def batches() -> Iterator[Tensor]:
        nonlocal read
        for part in torch.split(losses, batch):
            read += len(part)
            yield part

    found = score(batches(), 4 * LOOK, losses.double().numpy() - 0.5 - 1e-3 * np.arange(4 * LOOK))
    assert found.n == read
    assert LOOK <= read < LOOK + batch


@pytest.mark.parametrize("batch", [1, 100, LOOK, 2 * LOOK])
def test_two_looks_are_that_many_images_apart(batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr("secateur.search.evaluation.significantly_worse", lambda some, _: seen.append(len(some)))
    score(iter(torch.split(torch.ones(4 * LOOK), batch)), 4 * LOOK, np.ones(4 * LOOK))
    assert all(b - a >= LOOK for a, b in pairwise([0, *seen]))
    assert len(seen) == 4 * LOOK // (-(-LOOK // batch) * batch)


@pytest.mark.parametrize("batch", [1, 7, LOOK])
def test_one_that_is_no_worse_than_its_rival_sees_every_image(batch: int) -> None:
    losses = torch.rand(3 * LOOK, generator=torch.Generator().manual_seed(0))
    found = score(iter(torch.split(losses, batch)), 3 * LOOK, losses.double().numpy())
    assert found.n == 3 * LOOK
    assert found.loss == pytest.approx(float(losses.mean()))


def test_a_name_is_that_of_the_function_or_of_the_class() -> None:
    assert name_of(task_loss) == "task_loss"
    assert name_of(partial(task_loss)) == "partial"
