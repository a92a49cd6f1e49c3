"""Distillation with dynamic pruning: what goes, when, and how much."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from lessons import RECIPE, coloured, learn, pupil
from torch import nn

from secateur.errors import SecateurError
from secateur.models.supernet import Supernet
from secateur.models.surgery.slim import slim
from secateur.models.zoo.registry import constructor
from secateur.transfer.joint.kddp import kddp_learner
from secateur.transfer.joint.learner import Learner, Penalised, step_sizes
from secateur.transfer.joint.shrinking_student import ShrinkingStudent
from secateur.transfer.joint.tolerance import RisingPenalty, Tolerance, loss_under
from secateur.transfer.losses import kd_loss
from secateur.transfer.objectives.base import CrossEntropy, Distillation, online_teacher
from secateur.transfer.training.train import train

LONGER = replace(RECIPE, epochs=4)
REACH = float(step_sizes(LONGER, coloured()).sum())


def widths(net: Supernet, **options: object) -> list[int]:
    learner: Learner = kddp_learner(net, net.model, reach=REACH, **options)  # type: ignore[arg-type]
    learn(learner, recipe=LONGER)
    return [int(width) for width in learner.subnetwork().widths]


def test_strength_0_is_plain_distillation_and_takes_nothing() -> None:
    net = pupil()
    with torch.no_grad():
        net.model.get_parameter("hidden.bias")[:4] = -9.0  # dead from the start
    learner = kddp_learner(net, net.model, reach=REACH, strength=0.0)
    learn(learner)
    student = slim(net, net.dense)
    list(train(student, coloured(), Distillation(online_teacher(net.model), kd_loss, 0.1, 0.9), RECIPE))
    assert learner.subnetwork() == net.dense
    found = learner.slimmed().state_dict()
    assert all(torch.equal(found[name], each) for name, each in student.state_dict().items())


def test_the_stronger_the_narrower_a_decade_apart() -> None:
    net = pupil()
    found = [widths(net, strength=strength)[2] for strength in (0.0, 0.1, 1.0, 10.0)]
    assert all(one >= other for one, other in pairwise(found))
    assert found[0] == 16 > found[-1]


def test_neurons_that_are_dead_go_after_the_first_epoch_and_nobody_else() -> None:
    net = pupil()
    with torch.no_grad():
        net.model.get_parameter("hidden.bias")[:4] = -9.0
    learner = kddp_learner(net, net.model, reach=REACH, strength=1e-6)
    steps = train(learner.model, coloured(), learner.objective, RECIPE, hooks=learner.hooks)
    seen = [(step.step, learner.subnetwork().widths.tolist()) for step in steps]
    assert [widths for step, widths in seen if step < 6] == [[8, 10, 16]] * 5
    assert [widths[:2] for _, widths in seen] == [[8, 10]] * 12  # convolutions are not its business
    assert seen[5][1][2] <= 12
    gone = set(range(16)) - set(learner.subnetwork().kept[2])
    assert gone >= {0, 1, 2, 3}


def test_the_least_width_stays() -> None:
    net = pupil()
    with torch.no_grad():
        net.model.get_parameter("hidden.bias")[1:] = -9.0
    assert widths(net, strength=1e-6)[2] == net.space.min_widths[2] == 2


def test_without_a_hidden_linear_layer_feature_maps_are_used_and_it_says_so() -> None:
    net = Supernet.of(constructor("resnet20", 10)(), torch.zeros(1, 3, 32, 32), check=False)
    learner = kddp_learner(net, net.model, reach=1)
    assert learner.description == "activity of feature maps, without a hidden linear layer"
    assert isinstance(learner.model, ShrinkingStudent)
    assert "layer3.2.conv2" in learner.model.student.names
    mine = pupil()
    assert kddp_learner(mine, mine.model, reach=1).description == "activity of hidden linear layers"


def test_all_neurons_are_an_option() -> None:
    net = pupil()
    assert widths(net, neurons="hidden", strength=10.0)[:2] == [8, 10]
    found = widths(net, neurons="all", strength=10.0)
    assert sum(found) < 34
    assert found[:2] != [8, 10]


def test_what_comes_out_is_plain_and_as_narrow_as_it_says() -> None:
    net, x = pupil(), torch.randn(5, 3, 8, 8)
    learner = kddp_learner(net, net.model, reach=REACH, strength=10.0)
    learn(learner, recipe=LONGER)
    slimmed = learner.slimmed().eval()
    with torch.no_grad():
        torch.testing.assert_close(slimmed(x), learner.model.eval()(x))
    assert type(slimmed) is type(net.model)
    assert sum(parameter.numel() for parameter in slimmed.parameters()) == net.parameters(learner.subnetwork())
    assert not any(module._forward_hooks for module in slimmed.modules())


# --- a strength that is found ---


def tolerating(share: float = 0.01, neurons: str = "all") -> tuple[Supernet, Learner]:
    """The pupil, trained, and a student of it whose strength is found."""
    net = pupil()
    list(train(net.model, coloured(), CrossEntropy(), LONGER))
    net.model.eval()
    tolerance = Tolerance(share, coloured(20))
    return net, kddp_learner(net, net.model, reach=REACH, strength=tolerance, neurons=neurons)


def rising_penalty(learner: Learner) -> RisingPenalty:
    assert isinstance(learner.objective, Penalised)
    assert isinstance(learner.objective.penalty, RisingPenalty)
    return learner.objective.penalty


def test_no_more_goes_than_the_loss_of_the_first_epoch_tolerates() -> None:
    net, learner = tolerating()
    widths, limit = net.dense.widths, float("inf")
    rising = rising_penalty(learner)
    for step in train(learner.model, coloured(), learner.objective, LONGER, hooks=learner.hooks):
        if step.step % 6 == 0:
            assert isinstance(learner.model, ShrinkingStudent)
            limit = rising.limit
            if (learner.subnetwork().widths < widths).any():
                assert loss_under(net.model, learner.model.student.model, coloured(20)) <= limit
            widths = learner.subnetwork().widths
    assert widths.sum() < net.dense.widths.sum()
    assert limit < float("inf")


def test_a_loss_that_is_not_tolerated_takes_nothing_even_where_neurons_are_dead() -> None:
    net, learner = tolerating(share=0.0)
    rising = rising_penalty(learner)
    rising.on_epoch_end(0.0)  # as if the first epoch had ended without any loss
    learn(learner)
    assert learner.subnetwork() == net.dense
    assert float(rising.module.get_buffer("strength")) < 0.1


def test_a_higher_tolerance_takes_no_less() -> None:
    left = []
    for share in (0.0, 10.0):
        net, learner = tolerating(share)
        learn(learner, recipe=LONGER)
        left.append(net.parameters(learner.subnetwork()))
    assert left[1] < left[0]


def test_a_found_strength_resumes_bit_for_bit(tmp_path: Path) -> None:
    def trained(stop: int | None) -> Learner:
        learner, folder = tolerating()[1], tmp_path / str(stop is None)
        for step in train(learner.model, coloured(), learner.objective, LONGER, folder=folder, hooks=learner.hooks):
            if step.step == stop:
                return trained(-1)
        return learner

    whole, resumed = trained(None), trained(16)
    one, other = (learner.model.state_dict() for learner in (whole, resumed))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_mistakes_are_refused() -> None:
    net = pupil()
    with pytest.raises(SecateurError, match="no neurons are called 'some'; pass hidden or all"):
        kddp_learner(net, net.model, reach=1, neurons="some")
    grouped = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 4, 1, groups=2), nn.Flatten())
    odd = Supernet.of(grouped, torch.zeros(1, 3, 1, 1))
    with pytest.raises(SecateurError, match="records the modules that read neurons, and there is none here"):
        kddp_learner(odd, odd.model, reach=1)
