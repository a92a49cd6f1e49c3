"""Pruning during distillation: what it asks of the student, and what comes out."""

from copy import deepcopy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lessons import CLASSES, Pupil, learn, looked, pupil
from torch import nn

from secateur.errors import SecateurError
from secateur.models.costs.widths import fills_budget
from secateur.models.supernet import Supernet
from secateur.models.zoo.registry import constructor
from secateur.transfer.joint.learner import Learner
from secateur.transfer.joint.masks import Masked
from secateur.transfer.joint.pdd import MaskStart, pdd_learner
from secateur.transfer.losses import kl
from secateur.transfer.objectives.base import CrossEntropy, label_loss


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

    learner = pdd_learner(net, net.model)
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
    learner = pdd_learner(net, teacher)
    losses = learn(learner)
    assert sum(losses[-4:]) < sum(losses[:4])
    for state, old in zip([net.model.state_dict(), teacher.state_dict()], before, strict=True):
        assert all(torch.equal(tensor, old[name]) for name, tensor in state.items())
    assert all(parameter.grad is None for parameter in teacher.parameters())


def test_what_was_learnt_is_what_is_slimmed() -> None:
    net = pupil()
    learner = pdd_learner(net, net.model)
    start = learner.subnetwork()
    learn(learner)
    assert learner.subnetwork() != start
    x = torch.randn(6, 3, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(learner.slimmed().eval()(x), learner.model.eval()(x), atol=1e-4, rtol=1e-4)


def test_convolutions_have_masks_and_hidden_linear_layers_none() -> None:
    net = Supernet.of(constructor("vgg11_bn", 10)(), torch.zeros(1, 3, 32, 32), check=False)
    learner = pdd_learner(net, net.model)
    assert isinstance(learner.model, Masked)
    assert [net.groups[g].name.split(".")[0] for g in learner.model.groups] == ["features"] * 8
    assert learner.subnetwork().widths[-2:].tolist() == [512, 512]


def test_the_seed_decides_which_half_is_closed() -> None:
    net = pupil()
    one, same, other = (pdd_learner(net, net.model, start=MaskStart(seed=seed)).subnetwork() for seed in (1, 1, 2))
    assert one == same != other


def test_the_first_half_is_labels_and_the_teacher_at_temperature_3_and_the_second_labels_alone() -> None:
    net, batch = pupil(), looked(torch.randn(6, CLASSES, generator=torch.Generator().manual_seed(1)))
    learner = pdd_learner(net, net.model)
    with torch.no_grad():
        teacher = net.model(batch.images[0])[None]
    expected = 0.6 * label_loss(batch) + 0.4 * kl(teacher, batch.logits, 3.0).mean()
    torch.testing.assert_close(learner.objective(batch), expected)
    assert isinstance(learner.second_objective, CrossEntropy)
    assert torch.equal(learner.second_objective(batch), label_loss(batch))


# --- the budget, an extension ---


LIMITS = [{"flops": "40%"}, {"flops": "20%"}, {"params": "40%"}, {"flops": "60%", "params": "35%"}, {"memory": "90%"}]


@pytest.mark.parametrize("limits", LIMITS, ids=str)
def test_a_budget_that_is_given_is_met_at_any_time_and_made_use_of(limits: dict[str, str]) -> None:
    net = pupil()
    budget = net.budget(limits.get("flops"), params=limits.get("params"), memory=limits.get("memory"))
    learner = pdd_learner(net, net.model, budget=budget)
    for _ in range(3):
        assert fills_budget(net.space, budget, learner.subnetwork().widths)
        learn(learner)
    assert fills_budget(net.space, budget, learner.subnetwork().widths)
    slimmed, masked, x = learner.slimmed().eval(), learner.model.eval(), torch.randn(5, 3, 8, 8)
    assert sum(parameter.numel() for parameter in slimmed.parameters()) == net.parameters(learner.subnetwork())
    with torch.no_grad():
        torch.testing.assert_close(slimmed(x), masked(x), atol=1e-5, rtol=1e-4)


def test_under_a_budget_the_highest_masks_are_open() -> None:
    net = pupil()
    learner = pdd_learner(net, net.model, budget=net.budget("40%"))
    learn(learner)
    assert isinstance(learner.model, Masked)
    for score, channels in zip(learner.model.scores(), learner.subnetwork().kept, strict=True):
        assert score[list(channels)].min() >= np.delete(score, channels).max(initial=-np.inf)


def test_a_network_without_convolutions_is_refused() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, CLASSES))
    net = Supernet.of(model, torch.zeros(1, 3, 2, 2))
    with pytest.raises(SecateurError, match="masks channels of convolutions, and none can be pruned"):
        pdd_learner(net, net.model)


# --- where the student starts ---


def test_a_fresh_student_has_weights_of_its_seed_and_shares_none_with_the_dense_network() -> None:
    net = pupil()
    before = deepcopy(net.model.state_dict())
    one, same, other = (
        dict(pdd_learner(net, net.model, start=MaskStart(seed=seed)).model.named_parameters()) for seed in (1, 1, 2)
    )
    for name in ("student.stem.weight", "student.hidden.weight"):
        assert torch.equal(one[name], same[name])
        assert not (one[name] == other[name]).any()
        assert not (one[name] == net.model.get_parameter(name.removeprefix("student."))).any()
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.model.state_dict().items())


def test_a_trained_student_keeps_its_weights_and_its_most_important_half() -> None:
    net = pupil()
    (g,) = [g for g, group in enumerate(net.groups) if group.name == "conv"]
    with torch.no_grad():
        net.model.get_parameter("conv.weight").mul_(torch.tensor([1.0, 9, 1, 9, 1, 9, 1, 9, 1, 9])[:, None, None, None])
    for seed in range(3):
        learner = pdd_learner(net, net.model, start=MaskStart("trained", seed=seed))
        kept = set(learner.subnetwork().kept[g])
        assert kept <= {1, 3, 5, 7, 9} or kept >= {1, 3, 5, 7, 9}
        assert torch.equal(learner.model.get_parameter("student.stem.weight"), net.model.get_parameter("stem.weight"))


def test_wide_masks_stay_closed_on_trained_weights_and_narrow_ones_open() -> None:
    net = pupil()
    learn(Learner(net.model, CrossEntropy(), CrossEntropy(), lambda: net.dense, lambda: net.model, ""))
    net.model.eval()
    left = []
    for spread in (1e-3, None):
        learner = pdd_learner(net, net.model, start=MaskStart("trained", spread))
        learn(learner)
        left.append(net.macs(learner.subnetwork()) / net.macs(net.dense))
    assert left[1] < 0.6
    assert left[0] > left[1] + 0.1


@pytest.mark.parametrize(("weights", "deviation"), [("fresh", 1e-3), ("trained", 1.0)])
def test_masks_have_the_spread_that_is_asked_for(weights: str, deviation: float) -> None:
    net = Supernet.of(constructor("vgg11_bn", 10)(), torch.zeros(1, 3, 32, 32), check=False)
    for spread in (None, 0.2):
        model = pdd_learner(net, net.model, start=MaskStart(weights, spread)).model
        assert isinstance(model, Masked)
        masks = torch.cat([mask.detach() for mask in model.masks])
        assert masks.std().item() == pytest.approx(spread or deviation, rel=0.05)
        assert (masks > 0).float().mean().item() == pytest.approx(0.5, abs=0.05)


def test_a_start_that_does_not_exist_is_refused() -> None:
    with pytest.raises(SecateurError, match="cannot start from 'old' weights; pass fresh or trained"):
        MaskStart("old")
