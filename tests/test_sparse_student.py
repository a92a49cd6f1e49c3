"""Scales under a threshold that rises: what is closed, when it ends, and what is left."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from lessons import RECIPE, coloured, funnel, learn, pupil
from torch import nn

from secateur.models.costs.widths import fills_budget
from secateur.models.supernet import Supernet
from secateur.transfer.joint.blockwise import budgeted_blockwise_learner
from secateur.transfer.joint.bn_sparsity import strengths_of
from secateur.transfer.joint.learner import Learner, step_sizes
from secateur.transfer.joint.sparse_student import SparseStudent, pressure
from secateur.transfer.training.train import train

LONGER = replace(RECIPE, epochs=4)  # 24 steps
SIZES = step_sizes(LONGER, coloured())


def learner_of(
    net: Supernet, flops: str | None = None, params: str | None = None, blocks: Mapping[str, float] | None = None
) -> Learner:
    """Block-wise learning under a budget."""
    budget = net.budget(flops, params=params)
    return budgeted_blockwise_learner(net, net.model, budget=budget, step_sizes=SIZES, blocks=blocks)


def shares(net: Supernet, learner: Learner) -> tuple[float, float]:
    """What is left of the two early layers, and of the two late ones."""
    learn(learner, recipe=LONGER)
    widths = learner.subnetwork().widths
    return widths[:2].sum() / 32, widths[2:].sum() / 96


@pytest.mark.parametrize("make", [pupil, funnel])
@pytest.mark.parametrize(("flops", "params"), [("50%", None), (None, "20%"), ("60%", "40%")])
def test_a_budget_is_met_and_used_up(make: Callable[[], Supernet], flops: str | None, params: str | None) -> None:
    net = make()
    learner = learner_of(net, flops, params)
    learn(learner, recipe=LONGER)
    kept, budget = learner.subnetwork(), net.budget(flops, params=params)
    assert fills_budget(net.space, budget, kept.widths)
    assert sum(parameter.numel() for parameter in learner.slimmed().parameters()) == net.parameters(kept)


def test_macs_are_taken_early_and_parameters_late() -> None:
    net = funnel()
    macs, parameters = (shares(net, learner) for learner in (learner_of(net, "50%"), learner_of(net, params="50%")))
    assert macs[0] < parameters[0]
    assert parameters[1] < macs[1]


def test_a_block_with_a_higher_factor_loses_more() -> None:
    found = [
        shares(net := funnel(), learner_of(net, params="60%", blocks={"0.*": factor}))[0]
        for factor in (0.0, 1.0, 100.0)
    ]
    assert found[0] == 1
    assert all(one >= other for one, other in pairwise(found))
    assert found[-1] < 0.5


def test_channels_that_are_closed_are_exactly_0_and_the_slim_network_is_the_student() -> None:
    net, x = funnel(), torch.randn(5, 3, 8, 8)
    learner = learner_of(net, flops="50%")
    learn(learner, recipe=LONGER)
    assert isinstance(learner.model, SparseStudent)
    closed = np.setdiff1d(np.arange(16), learner.subnetwork().kept[0])
    assert len(closed)
    for name in ("0.1.weight", "0.1.bias"):
        assert not learner.model.student.get_parameter(name)[closed].any()
    with torch.no_grad():
        torch.testing.assert_close(learner.slimmed().eval()(x), learner.model.eval()(x), atol=1e-5, rtol=1e-4)


def test_after_the_budget_is_met_the_structure_stays() -> None:
    net = funnel()
    learner = learner_of(net, flops="70%")
    seen = [
        learner.subnetwork() for _ in train(learner.model, coloured(), learner.objective, LONGER, hooks=learner.hooks)
    ]
    budget = net.budget("70%")
    met = [bool(budget.holds(net.space.costs, each.widths)) for each in seen]
    first = met.index(True)
    assert 0 < first < len(seen) - 1
    assert not any(met[:first])
    assert len(set(seen[first:])) == 1


def test_a_budget_that_no_pressure_has_met_is_met_after_the_last_step() -> None:
    net = funnel()
    learner = learner_of(net, flops="50%", blocks={"*": 0.0})
    learn(learner, recipe=LONGER)
    assert fills_budget(net.space, net.budget("50%"), learner.subnetwork().widths)


def test_one_step_thresholds_each_scale_by_the_closed_form() -> None:
    net = funnel()
    student = SparseStudent(net, net.budget("50%"), strengths_of(net, 1.0, {}), SIZES)
    norms = [module for module in student.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.weight.grad = torch.full_like(norm.weight, 0.02)
    before = norms[0].weight.detach().clone()
    student.on_step_end(1)
    form, dense = net.space.costs.macs, net.space.dense
    cost = form.gradient(dense)[0] / (float(form(dense)) / dense.sum())
    threshold = pressure(SIZES[0] / SIZES.sum()) * SIZES[0] * 0.1 * 0.02 * cost
    torch.testing.assert_close(norms[0].weight.detach(), before * (1 - threshold / before.abs()).clamp(min=0))


def test_a_training_that_was_stopped_ends_with_the_same_structure_and_weights(tmp_path: Path) -> None:
    def trained(stop: int | None) -> Learner:
        learner = learner_of(funnel(), flops="50%")
        folder = tmp_path / str(stop is None)
        for step in train(learner.model, coloured(), learner.objective, LONGER, folder=folder, hooks=learner.hooks):
            if step.step == stop:
                return trained(-1)
        return learner

    whole = trained(None)
    for stop in (7, 22):
        resumed = trained(stop)
        assert resumed.subnetwork() == whole.subnetwork()
        one, other = (learner.model.state_dict() for learner in (whole, resumed))
        assert all(torch.equal(one[name], other[name]) for name in one)
