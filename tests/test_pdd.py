"""Pruning during distillation: what it asks of the student, and what comes out."""

from copy import deepcopy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lessons import CLASSES, Pupil, learn, looked, pupil
from torch import nn

from secateur.models.errors import SecateurError
from secateur.models.specs import constructor
from secateur.models.supernet import Supernet
from secateur.transfer.masks import Masked
from secateur.transfer.objectives import label_loss
from secateur.transfer.pdd import Excess, pdd


@settings(max_examples=40)
@given(st.lists(st.floats(-40, 40, width=32), min_size=CLASSES, max_size=CLASSES), st.floats(-9, 9))
def test_the_teacher_has_its_say_unless_the_logits_differ_by_a_constant(change: list[float], constant: float) -> None:
    net = pupil()
    batch = looked(torch.zeros(6, CLASSES))
    with torch.no_grad():
        told = net.model(batch.images[0])

    def say(logits: torch.Tensor) -> float:
        seen = batch._replace(logits=logits[None])
        return float(learner.objective(seen) - 0.6 * label_loss(seen))

    learner = pdd(net, net.model)
    assert say(told + constant) == pytest.approx(0, abs=1e-4)
    moved = torch.tensor(change)
    assert say(told + moved) >= -1e-4
    if moved.max() - moved.min() > 1:
        assert say(told + moved) > 1e-3


def test_the_teacher_and_the_dense_network_learn_nothing() -> None:
    net = pupil()
    torch.manual_seed(1)
    teacher = Pupil()
    before = deepcopy([net.model.state_dict(), teacher.state_dict()])
    learner = pdd(net, teacher)
    losses = learn(learner)
    assert sum(losses[-4:]) < sum(losses[:4])
    for state, old in zip([net.model.state_dict(), teacher.state_dict()], before, strict=True):
        assert all(torch.equal(tensor, old[name]) for name, tensor in state.items())
    assert all(parameter.grad is None for parameter in teacher.parameters())


def test_what_was_learnt_is_what_is_slimmed() -> None:
    net = pupil()
    learner = pdd(net, net.model)
    start = learner.kept()
    learn(learner)
    assert learner.kept() != start
    x = torch.randn(6, 3, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(learner.slimmed().eval()(x), learner.model.eval()(x), atol=1e-4, rtol=1e-4)


def test_convolutions_have_masks_and_hidden_linear_layers_none() -> None:
    net = Supernet.of(constructor("vgg11_bn", 10)(), torch.zeros(1, 3, 32, 32), check=False)
    learner = pdd(net, net.model)
    assert isinstance(learner.model, Masked)
    assert [net.groups[g].name.split(".")[0] for g in learner.model.groups] == ["features"] * 8
    assert learner.kept().widths[-2:].tolist() == [512, 512]


def test_the_seed_decides_which_half_is_closed() -> None:
    net = pupil()
    assert pdd(net, net.model, seed=1).kept() == pdd(net, net.model, seed=1).kept()
    assert pdd(net, net.model, seed=1).kept() != pdd(net, net.model, seed=2).kept()


# --- the budget, an extension ---


def test_no_budget_is_in_the_loss_unless_one_is_given() -> None:
    net = pupil()
    assert not list(pdd(net, net.model).objective.module.children())


def test_the_excess_is_that_of_the_closed_form_and_closes_what_costs() -> None:
    net = pupil()
    model = Masked(net, range(len(net.groups)), seed=0)
    with torch.no_grad():
        for mask in model.masks:
            mask.fill_(0.5)
    excess = Excess(model, net.budget("50%"))
    assert float(excess().detach()) == pytest.approx(1.0, rel=1e-3)  # the dense network has twice as much
    slopes = torch.autograd.grad(excess(), list(model.masks))
    narrow = net.space.costs.macs.slopes(net.space.dense) / net.budget("50%").macs * 0.5
    for slope, expected in zip(slopes, narrow, strict=True):
        torch.testing.assert_close(slope, torch.full_like(slope, float(expected)))
    with torch.no_grad():
        for mask in model.masks:
            mask[1:] = -0.5
    assert float(excess().detach()) == 0


@pytest.mark.parametrize("limits", [{"flops": "40%"}, {"params": "40%"}, {"flops": "60%", "params": "35%"}], ids=str)
def test_a_budget_that_is_given_is_met(limits: dict[str, str]) -> None:
    net = pupil()
    budget = net.budget(limits.get("flops"), params=limits.get("params"))
    learner = pdd(net, net.model, budget=budget)
    learn(learner)
    assert bool(budget.holds(net.space.costs, learner.kept().widths))
    count = sum(parameter.numel() for parameter in learner.slimmed().parameters())
    assert count == net.parameters(learner.kept())


def test_a_budget_of_another_kind_is_refused() -> None:
    net = pupil()
    with pytest.raises(SecateurError, match=r"cannot learn a budget of .* bytes; limit flops or params"):
        pdd(net, net.model, budget=net.budget(memory="90%"))


def test_a_network_without_convolutions_is_refused() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, CLASSES))
    net = Supernet.of(model, torch.zeros(1, 3, 2, 2))
    with pytest.raises(SecateurError, match="masks channels of convolutions, and none can be pruned"):
        pdd(net, net.model)
