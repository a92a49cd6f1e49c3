"""Objects of the user's own in place of names: scores, rules, an evaluation, an objective."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_pipeline import SHAPE, make, same
from torch import nn

import secateur as sc
from secateur.models.costs.budget import Budget
from secateur.models.costs.widths import Space
from secateur.models.files.architecture import architecture_of
from secateur.models.split import Split
from secateur.models.tracing.atoms import FloatArray, IntArray
from secateur.search.allocation import ALLOCATION_RULES
from secateur.transfer.losses import kd_loss
from secateur.transfer.methods import MethodContext
from secateur.transfer.objectives.base import Distillation, Objective, online_teacher


@pytest.fixture(scope="module")
def data() -> sc.Data:
    return sc.open_data("digits", SHAPE)


@pytest.fixture(scope="module")
def net(data: sc.Data) -> sc.Supernet:
    torch.manual_seed(0)
    return sc.Supernet.of(make().eval(), data.example)


def test_scores_rules_and_an_evaluation_of_the_users_own_guide_the_search(
    net: sc.Supernet, data: sc.Data, tmp_path: Path
) -> None:
    def last_first(net: sc.Supernet, split: Split) -> list[FloatArray]:
        return [np.arange(group.width, dtype=np.float64) for group in net.groups]

    def narrowest(space: Space, budget: Budget, scores: Sequence[FloatArray]) -> IntArray:
        return space.min_widths

    def confidence(model: nn.Module, split: Split, images: int) -> float:
        batch = next(split.batches(images, images))
        return -float(model(batch.images).softmax(1).amax(1).mean())

    own: dict[str, Any] = {"scores": {"last": last_first}, "rules": {"least": narrowest, **ALLOCATION_RULES}}
    found = sc.find(net, data, "50%", trials=2, views=0, out=tmp_path, evaluation=confidence, **own)
    assert all(-1 <= each.loss < 0 for each in found.front)
    for group, kept in zip(net.groups, found.best().kept, strict=True):
        assert kept == tuple(range(group.width - len(kept), group.width))
    assert min(each.subnetwork.widths.sum() for each in found.front) == net.space.min_widths.sum()


def test_an_objective_of_the_users_own_trains_the_student(net: sc.Supernet, data: sc.Data) -> None:
    def half_hearted(context: MethodContext) -> Objective:
        return Distillation(online_teacher(context.net.model), kd_loss, label_weight=0.5, teacher_weight=0.5)

    told: list[str] = []
    half = sc.Subnetwork.first(net.space.dense // 2)
    own = sc.finetune(
        net, half, None, data, epochs=1, objective=half_hearted, progress=lambda what, *_: told.append(what)
    )
    assert {*told} == {"fine-tuning (half_hearted)"}
    assert architecture_of(own)["training"]["method"] == "half_hearted"
    assert not same(own, sc.finetune(net, half, None, data, epochs=1, method="kd"))
