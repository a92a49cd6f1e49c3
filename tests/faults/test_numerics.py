"""Weights, images and classes that break the usual assumptions: a result, or an error of one line."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from chains import plain
from small import images, searched
from torch import nn

import secateur as sc
from secateur.data.dataset import Data
from secateur.errors import SecateurError
from secateur.models.costs.budget_range import BudgetRange
from secateur.models.evaluate import evaluate, recalibrate
from secateur.models.supernet import Supernet
from secateur.progress import follow, silent
from secateur.search.coarse_to_fine import search_widths
from secateur.search.config import SearchConfig
from secateur.search.importance.registry import SCORES
from secateur.search.records import Records
from secateur.transfer.objectives.base import CrossEntropy
from secateur.transfer.training.recipe import Recipe
from secateur.transfer.training.train import train


def first_conv(net: Supernet) -> nn.Conv2d:
    return next(module for module in net.model.modules() if isinstance(module, nn.Conv2d))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf], ids=str)
def test_weights_that_are_no_numbers_are_named_before_anything_is_done(value: float, tmp_path: Path) -> None:
    net = plain((4, 6))
    with torch.no_grad():
        first_conv(net).weight[0, 0, 1, 1] = value
    samples: Any = [(torch.zeros(3, 8, 8, dtype=torch.uint8), number % 4) for number in range(12)]
    data = Data.of(samples, samples, samples)
    with pytest.raises(SecateurError, match=r"1 weights of the network hold NaN or infinity, 0\.weight first; load"):
        sc.find(net, data, "60%", trials=1, out=tmp_path / "out")
    with pytest.raises(SecateurError, match=r"0\.weight first"):
        sc.finetune(net, net.dense, None, data, epochs=1, method="ce")
    assert not (tmp_path / "out").exists()


def test_filters_of_zeros_are_the_first_to_go(tmp_path: Path) -> None:
    net = plain((4, 6))
    with torch.no_grad():
        first_conv(net).weight[:2] = 0
    scores = SCORES["l1"](net, images())
    assert (scores[0][:2] == 0).all()
    assert math.isfinite(searched(net, images(), tmp_path).winner.loss)


@pytest.mark.parametrize("name", sorted(set(SCORES) - {"random"}))
def test_every_score_of_a_network_of_zeros_is_finite(name: str) -> None:
    net = plain((4, 6))
    with torch.no_grad():
        for parameter in net.model.parameters():
            parameter.zero_()
    assert all(np.isfinite(score).all() for score in SCORES[name](net, images()))


def test_a_dead_batch_norm_is_searched_and_recalibrated(tmp_path: Path) -> None:
    net = plain((4, 6))
    norm = next(module for module in net.model.modules() if isinstance(module, nn.BatchNorm2d))
    with torch.no_grad():
        norm.weight.zero_()
        norm.running_var.zero_()  # type: ignore[union-attr]  # it has running statistics
    assert math.isfinite(searched(net, images(), tmp_path).winner.loss)
    slim = sc.slim(net, sc.Subnetwork.first(net.space.dense // 2))
    recalibrate(slim, images())
    assert math.isfinite(evaluate(slim, images()).loss)


def test_constant_images_are_searched_and_trained_on(tmp_path: Path) -> None:
    net, split = plain((4, 6)), images(constant=True)
    assert math.isfinite(searched(net, split, tmp_path).winner.loss)
    losses = [step.loss for step in train(net.model, split, CrossEntropy(), Recipe(epochs=1, batch=8))]
    assert all(map(math.isfinite, losses))


def test_one_image_a_class_is_searched_and_trained_on(tmp_path: Path) -> None:
    net, split = plain((4, 6)), images(4)
    assert math.isfinite(searched(net, split, tmp_path).winner.loss)
    losses = [step.loss for step in train(net.model, split, CrossEntropy(), Recipe(epochs=2, batch=4))]
    assert all(map(math.isfinite, losses))


def test_a_batch_of_one_is_refused_with_the_least_that_is_needed() -> None:
    with pytest.raises(SecateurError, match=r"batch=1, .*: pass at least .* 2 images for each"):
        list(train(plain((4, 6)).model, images(), CrossEntropy(), Recipe(epochs=1, batch=1)))


def test_a_class_without_images_is_searched_or_named(tmp_path: Path) -> None:
    split = images(12, classes=3)  # the network has four outputs
    assert math.isfinite(searched(plain((4, 6)), split, tmp_path).winner.loss)
    samples: Any = [(torch.zeros(3, 8, 8, dtype=torch.uint8), number % 3) for number in range(12)]
    data = Data.of(samples, samples, samples)
    with pytest.raises(SecateurError, match=r"network has 4 outputs and .* has 3 classes; pass matching ones"):
        sc.find(plain((4, 6)), data, "60%", trials=1, out=tmp_path / "out")


def test_a_trial_whose_loss_explodes_loses_and_the_search_goes_on(tmp_path: Path) -> None:
    net = plain((4, 6))
    seen: list[int] = []

    def explodes(model: nn.Module, split: object, images: int) -> float:
        seen.append(1)
        return math.nan if len(seen) % 2 == 0 else 1.0 + 0.01 * len(seen)

    limit = net.budget("60%")
    config = SearchConfig(BudgetRange(limit, limit), 4, images=16)
    records = Records(net, images(), tmp_path / "records.jsonl", evaluation=explodes)
    found = follow(search_widths(records, config, tmp_path), silent)
    assert math.isfinite(found.winner.loss)
    assert any(not math.isfinite(each.loss) for each in records.all)
