"""The methods that learn widths: what identifies each, and the learner that each makes."""

from dataclasses import replace

import pytest
import torch
from lessons import RECIPE, coloured, learn, pupil
from torch import nn

from secateur.errors import SecateurError
from secateur.models.supernet import Supernet
from secateur.transfer.joint.block_schedule import BlockSchedule
from secateur.transfer.joint.learner import Learner, Penalised
from secateur.transfer.joint.methods import Assignment, Blockwise, JointMethod, Kddp, Pdd
from secateur.transfer.objectives.base import CrossEntropy, Distillation
from secateur.transfer.training.recipe import Recipe

STORED: list[tuple[JointMethod, str]] = [
    (Pdd("50%"), "pdd 50% None fresh None"),
    (Pdd(start="trained", spread=0.1), "pdd None None trained 0.1"),
    (Kddp(0.0, "hidden"), "kddp 0.0 hidden 0.01"),
    (Kddp(tolerance=0.1), "kddp None all 0.1"),
    (Blockwise(), "blockwise None None flops together None None"),
    (Blockwise(2.0, {"0": 2.0}, "params", "in-turn"), "blockwise 2.0 {'0': 2.0} params in-turn None None"),
    (Blockwise(flops="40%", params="20%"), "blockwise None None flops together 40% 20%"),
]
METHODS = (Pdd(), Pdd(start="trained"), Kddp(), Kddp(0.1), Blockwise(), Blockwise(1.0), Blockwise(blocks="in-turn"))


def assigned(method: JointMethod, net: Supernet, teacher: nn.Module | None = None, seed: int = 0) -> Learner:
    """The method's learner for the pupil, easy images and a short recipe."""
    recipe = replace(RECIPE, seed=seed)
    return method.learner(Assignment(net, teacher or net.model, coloured(), recipe, coloured(20)))


@pytest.mark.parametrize(("method", "stored"), STORED, ids=str)
def test_checkpoints_name_a_method_and_its_options(method: JointMethod, stored: str) -> None:
    assert Recipe(identity=method.identity).stored()["about"] == stored


@pytest.mark.parametrize("method", METHODS, ids=str)
def test_every_method_makes_a_learner(method: JointMethod) -> None:
    net = pupil()
    learner = assigned(method, net)
    assert all(loss > 0 for loss in learn(learner, recipe=replace(RECIPE, epochs=1)))
    assert net.macs(learner.subnetwork()) <= net.macs(net.dense)


def test_another_teacher_can_be_passed() -> None:
    net, other = pupil(), pupil(seed=1).model
    for method in (Pdd(), Kddp(), Blockwise(), Blockwise(1.0)):
        one, two = (learn(assigned(method, net, teacher))[0] for teacher in (None, other))
        assert one != two


def test_the_second_part_is_on_labels_alone_in_pdd_and_distils_in_the_others() -> None:
    net = pupil()
    second = {m.name: assigned(m, net).second_objective for m in (Pdd(), Kddp(), Blockwise())}
    assert isinstance(second["pdd"], CrossEntropy)
    for name in ("kddp", "blockwise"):
        objective = second[name]
        assert isinstance(objective, Distillation)
        assert (objective.label_weight, objective.teacher_weight) == (0.1, 0.9)


def test_pdd_masks_are_trained_for_50_of_200_epochs_and_the_others_for_half() -> None:
    assert {m.name: m.learning * 200 for m in (Pdd(), Kddp(), Blockwise())} == {
        "pdd": 50,
        "kddp": 100,
        "blockwise": 100,
    }


def test_options_reach_the_learner() -> None:
    net = pupil()
    budget = net.budget("40%")
    assert budget.holds(net.space.costs, assigned(Pdd("40%"), net).subnetwork().widths)
    assert assigned(Pdd(), net, seed=1).subnetwork() != assigned(Pdd(), net).subnetwork()
    assert assigned(Kddp(neurons="all"), net).description.startswith("activity of all")
    assert assigned(Kddp(0.0), net).hooks.on_epoch_end is None
    weak, strong = (assigned(Blockwise(s), net).hooks.weight_penalty for s in (1.0, 3.0))
    assert weak
    assert strong
    torch.testing.assert_close(strong(), 3 * weak())
    schedule = assigned(Blockwise(blocks="in-turn"), net).objective
    assert isinstance(schedule, Penalised)
    assert isinstance(schedule.penalty, BlockSchedule)


def test_block_wise_learning_halves_a_cost_unless_a_budget_or_a_strength_is_passed() -> None:
    net = pupil()
    for method, cost in (
        (Blockwise(), net.space.costs.macs),
        (Blockwise(constraint="params"), net.space.costs.parameters),
    ):
        learner = assigned(method, net)
        learn(learner)
        assert cost(learner.subnetwork().widths) <= 0.5 * cost(net.dense.widths)
    assert Blockwise(params="20%").limits == (None, "20%")
    assert Blockwise(strength=1.0).limits == Blockwise(blocks="in-turn").limits == (None, None)


def test_a_plan_says_what_the_options_change() -> None:
    plans = [method.plan for method in (*METHODS, Pdd("40%"), Kddp(tolerance=0.02), Blockwise(params="20%"))]
    assert len(set(plans)) == len(plans)
    assert "fresh weights, with half of the channels, any, closed" in plans[0]
    assert "trained weights, with the less important half" in plans[1]
    assert "within 40% of the MACs" in plans[-3]
    assert "stays within 2%" in plans[-2]
    assert "until 20% of the parameters are left" in plans[-1]
    assert "it will prune little" in Pdd(start="trained", spread=0.01).plan
    assert not any("prune little" in plan for plan in plans)


def test_what_cannot_be_is_refused() -> None:
    net = pupil()
    with pytest.raises(SecateurError, match="blocks 'apart' are neither together nor in-turn; pass one of these"):
        Blockwise(blocks="apart")
    with pytest.raises(SecateurError, match="leave --teacher out"):
        assigned(Blockwise(blocks="in-turn"), net, pupil(seed=1).model)
    with pytest.raises(SecateurError, match="a budget finds the strength of all blocks together"):
        Blockwise(strength=1.0, flops="50%")
    with pytest.raises(SecateurError, match="leave out strength and in-turn"):
        Blockwise(blocks="in-turn", params="50%")
    with pytest.raises(SecateurError, match="a tolerance needs held-out images"):
        Kddp().learner(Assignment(net, net.model, coloured(), RECIPE))
