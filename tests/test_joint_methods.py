"""The methods that learn widths: what identifies each, and the learner that each makes."""

from dataclasses import replace

import pytest
import torch
from lessons import RECIPE, coloured, learn, pupil

from secateur.errors import SecateurError
from secateur.transfer.joint.block_schedule import BlockSchedule
from secateur.transfer.joint.learner import Penalised
from secateur.transfer.joint.methods import Blockwise, JointMethod, Kddp, Pdd
from secateur.transfer.objectives.base import CrossEntropy, Distillation
from secateur.transfer.training.recipe import Recipe

STORED: list[tuple[JointMethod, str]] = [
    (Pdd("50%"), "pdd 50% None"),
    (Pdd(), "pdd None None"),
    (Kddp(0.0), "kddp 0.0 hidden"),
    (Kddp(neurons="all"), "kddp None all"),
    (Blockwise(), "blockwise None None flops together"),
    (Blockwise(2.0, {"0": 2.0}, "params", "in-turn"), "blockwise 2.0 {'0': 2.0} params in-turn"),
]


@pytest.mark.parametrize(("method", "stored"), STORED, ids=str)
def test_checkpoints_name_a_method_and_its_options_as_they_always_did(method: JointMethod, stored: str) -> None:
    assert Recipe(identity=method.identity).stored()["about"] == stored


@pytest.mark.parametrize("method", [Pdd(), Kddp(), Blockwise(), Blockwise(blocks="in-turn")], ids=str)
def test_every_method_makes_a_learner_whose_teacher_is_the_dense_network_by_default(method: JointMethod) -> None:
    net = pupil()
    learner = method.learner(net, None, coloured(), RECIPE)
    assert all(loss > 0 for loss in learn(learner, recipe=replace(RECIPE, epochs=1)))
    assert net.macs(learner.subnetwork()) <= net.macs(net.dense)


def test_another_teacher_can_be_passed() -> None:
    net, other = pupil(), pupil(seed=1).model
    for method in (Pdd(), Kddp(), Blockwise()):
        one, two = (learn(method.learner(net, each, coloured(), RECIPE))[0] for each in (None, other))
        assert one != two


def test_the_second_half_is_on_labels_alone_in_pdd_and_distils_in_the_others() -> None:
    net = pupil()
    second = {m.name: m.learner(net, None, coloured(), RECIPE).second_objective for m in (Pdd(), Kddp(), Blockwise())}
    assert isinstance(second["pdd"], CrossEntropy)
    for name in ("kddp", "blockwise"):
        objective = second[name]
        assert isinstance(objective, Distillation)
        assert (objective.label_weight, objective.teacher_weight) == (0.1, 0.9)


def test_options_reach_the_learner() -> None:
    net = pupil()
    budget = net.budget("40%")
    assert budget.holds(net.space.costs, Pdd("40%").learner(net, None, coloured(), RECIPE).subnetwork().widths)
    assert (
        Pdd().learner(net, None, coloured(), replace(RECIPE, seed=1)).subnetwork()
        != Pdd().learner(net, None, coloured(), RECIPE).subnetwork()
    )
    assert Kddp(neurons="all").learner(net, None, coloured(), RECIPE).description.startswith("activity of all")
    assert Kddp(0.0).learner(net, None, coloured(), RECIPE).hooks.on_epoch_end is None
    weak, strong = (Blockwise(s).learner(net, None, coloured(), RECIPE).hooks.weight_penalty for s in (1.0, 3.0))
    assert weak
    assert strong
    torch.testing.assert_close(strong(), 3 * weak())
    usual = Blockwise().learner(net, None, coloured(), RECIPE).hooks.weight_penalty
    assert usual
    torch.testing.assert_close(usual(), 2 * weak())
    schedule = Blockwise(blocks="in-turn").learner(net, None, coloured(), RECIPE).objective
    assert isinstance(schedule, Penalised)
    assert isinstance(schedule.penalty, BlockSchedule)


def test_what_cannot_be_is_refused() -> None:
    net = pupil()
    with pytest.raises(SecateurError, match="blocks 'apart' are neither together nor in-turn; pass one of these"):
        Blockwise(blocks="apart").learner(net, None, coloured(), RECIPE)
    with pytest.raises(SecateurError, match="leave --teacher out"):
        Blockwise(blocks="in-turn").learner(net, net.model, coloured(), RECIPE)
