"""What is recorded of every epoch, and that it changes nothing of the training."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from trainings import RECIPE, assert_same, coloured, toy

from secateur.digests import unsealed
from secateur.models.evaluate import evaluate
from secateur.progress import Epoch
from secateur.transfer.objectives.base import CrossEntropy
from secateur.transfer.training.metrics import forget_after, holdout_images, write_epoch
from secateur.transfer.training.recipe import Recipe
from secateur.transfer.training.train import train


def epochs(model: nn.Module, recipe: Recipe = RECIPE, folder: Path | None = None) -> list[Epoch]:
    steps = train(model, coloured(), CrossEntropy(), recipe, head="head", folder=folder, holdout=coloured(40))
    return [step.ended for step in steps if step.ended]


def test_an_epoch_is_scored_by_the_network_as_it_is_used() -> None:
    model = toy()
    *_, last = epochs(model)
    score = evaluate(model, coloured(40))
    assert (last.holdout_loss, last.holdout, last.metric, last.n) == (score.loss, score.accuracy, "accuracy", 40)


def test_the_moving_average_is_scored_where_it_is_the_result() -> None:
    model = toy()
    *_, last = epochs(model, replace(RECIPE, ema_decay=0.8))
    assert last.holdout_loss == evaluate(model, coloured(40)).loss


def test_scoring_changes_neither_the_weights_nor_the_random_streams() -> None:
    scored, plain = toy(), toy()
    torch.manual_seed(5)
    epochs(scored)
    drawn = torch.rand(3)
    torch.manual_seed(5)
    list(train(plain, coloured(), CrossEntropy(), RECIPE, head="head"))
    assert torch.equal(drawn, torch.rand(3))
    assert_same(scored.state_dict(), plain.state_dict())


def test_the_table_has_the_lines_of_the_file(tmp_path: Path) -> None:
    found = epochs(toy(), folder=tmp_path)
    lines = [unsealed(json.loads(line)) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    with (tmp_path / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [{name: str(value) for name, value in line.items()} for line in lines] == rows
    assert [float(row["holdout"]) for row in rows] == [epoch.holdout for epoch in found]


def test_epochs_beyond_a_checkpoint_are_left_out(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        write_epoch(
            tmp_path,
            Epoch(epoch=number, epochs=3, step=6 * number, steps=18, loss=1.0, learning_rate=0.1, seconds=1.0),
        )
    forget_after(tmp_path, 12)
    assert [json.loads(line)["epoch"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()] == [1, 2]


@given(st.integers(1, 2_000_000))
def test_an_epoch_is_scored_on_a_thousand_images_at_most_and_a_fifth_of_a_large_set(count: int) -> None:
    images = holdout_images(count)
    assert 100 <= images <= 1000
    assert images <= max(100, count / 5)


@pytest.mark.parametrize("bfloat16", [False, True])
def test_scores_are_finite_in_either_precision(bfloat16: bool) -> None:
    *_, last = epochs(toy(), replace(RECIPE, bfloat16=bfloat16))
    assert last.holdout_loss is not None
    assert 0 < last.holdout_loss < 5
