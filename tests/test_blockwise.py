"""Block-wise structure learning: constraint, strengths, and that what was learnt is what comes out."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from lessons import CLASSES, RECIPE, coloured, funnel, learn, pupil
from torch import nn

from secateur.errors import SecateurError
from secateur.models.supernet import Supernet
from secateur.models.surgery.slim import masked, slim
from secateur.transfer.joint.blockwise import blockwise_learner
from secateur.transfer.joint.learner import Learner, step_sizes
from secateur.transfer.losses import kd_loss
from secateur.transfer.objectives.base import Distillation, online_teacher
from secateur.transfer.training.train import train

LONGER = replace(RECIPE, epochs=4)  # 24 steps
REACH, REACHED = (float(step_sizes(recipe, coloured()).sum()) for recipe in (RECIPE, LONGER))


def widths(net: Supernet, learner: Learner) -> list[int]:
    """What is kept of two early and two late layers."""
    learn(learner, recipe=LONGER)
    return [int(width) for width in learner.subnetwork().widths]


def test_the_constraint_decides_where_pruning_falls() -> None:
    net = funnel()
    found = [
        widths(net, blockwise_learner(net, net.model, reach=REACHED, strength=1.0, constraint=constraint))
        for constraint in ("flops", "params")
    ]
    flops, params = ((sum(each[:2]) / 32, sum(each[2:]) / 96) for each in found)
    assert flops[0] < 0.8 * params[0]
    assert params[1] < 0.95 * flops[1]


def test_a_blocks_strength_shrinks_that_block_and_leaves_the_others() -> None:
    net = funnel()
    found = [
        widths(net, blockwise_learner(net, net.model, reach=REACHED, strength=1.0, blocks={"0.*": factor}))
        for factor in (0.0, 0.5, 1.0, 2.0)
    ]
    early, late = ([sum(each[part]) for each in found] for part in (slice(2), slice(2, 4)))
    assert early[0] == 32
    assert all(one > other for one, other in pairwise(early))
    assert max(late) - min(late) <= 3


def test_scales_that_fell_together_are_not_thrown_far() -> None:
    net = funnel()
    net.model.get_parameter("0.1.weight").data.fill_(1e-3)
    found = []
    for clip in (LONGER.clip, None):
        learner = blockwise_learner(net, net.model, reach=REACHED, strength=1.0)
        learn(learner, recipe=replace(LONGER, clip=clip))
        found.append(learner.model.get_parameter("0.1.weight").detach().abs().max().item())
    assert found[0] < 1
    assert found[1] > 2


def test_strength_0_is_plain_distillation() -> None:
    net = pupil()
    learner = blockwise_learner(net, net.model, reach=REACH, strength=0.0)
    learn(learner)
    student = slim(net, net.dense)
    list(train(student, coloured(), Distillation(online_teacher(net.model), kd_loss, 0.1, 0.9), RECIPE))
    assert all(torch.equal(learner.model.state_dict()[name], each) for name, each in student.state_dict().items())
    assert learner.subnetwork() == net.dense


def test_what_was_learnt_is_what_is_slimmed_and_costs_what_the_closed_form_says() -> None:
    net = funnel()
    learner = blockwise_learner(net, net.model, reach=REACH, strength=2.0)
    learn(learner)
    kept, slimmed, x = learner.subnetwork(), learner.slimmed().eval(), torch.randn(5, 3, 8, 8)
    assert kept != net.dense
    gone = masked(replace(net, model=learner.model), kept).eval()
    with torch.no_grad():
        torch.testing.assert_close(slimmed(x), gone(x), atol=1e-5, rtol=1e-4)
    small = Supernet.of(slimmed, torch.zeros(1, 3, 8, 8), check=False)
    assert small.macs(small.dense) == net.macs(kept)
    assert small.parameters(small.dense) == net.parameters(kept)


# --- mistakes ---


def test_an_unknown_constraint_is_refused_with_those_there_are() -> None:
    with pytest.raises(SecateurError, match="no constraint is called 'time'; pass flops or params"):
        blockwise_learner(pupil(), nn.Module(), reach=1, constraint="time")


def test_a_network_without_batch_norm_is_refused() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, CLASSES))
    net = Supernet.of(model, torch.zeros(1, 3, 8, 8))
    with pytest.raises(SecateurError, match="no prunable channel has one; pass pdd"):
        blockwise_learner(net, model, reach=1)
