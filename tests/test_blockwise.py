"""Block-wise structure learning: constraint, strengths, and that what was learnt is what comes out."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from lessons import CLASSES, RECIPE, coloured, learn, looked, pupil
from torch import Tensor, nn

from secateur.errors import SecateurError
from secateur.models.supernet import Supernet
from secateur.models.surgery.slim import masked, slim
from secateur.transfer.joint.blockwise import BlockSchedule, blocks_in_turn_learner, blocks_of, blockwise_learner
from secateur.transfer.joint.learner import Learner, Penalised, step_sizes
from secateur.transfer.objectives.base import Distillation, kd_loss, online_teacher
from secateur.transfer.training.train import train

LONGER = replace(RECIPE, epochs=4)  # 24 steps
REACH, REACHED = (float(step_sizes(recipe, coloured()).sum()) for recipe in (RECIPE, LONGER))


def funnel() -> Supernet:
    """An early block on many pixels and a late wide one."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for reads, writes, stride in ((3, 16, 1), (16, 16, 1), (16, 48, 4), (48, 48, 1)):
        layers += [nn.Conv2d(reads, writes, 3, stride, 1, bias=False), nn.BatchNorm2d(writes), nn.ReLU()]
    model = nn.Sequential(
        nn.Sequential(*layers[:6]), nn.Sequential(*layers[6:]), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(48, 4)
    )
    for norm in (module for module in model.modules() if isinstance(module, nn.BatchNorm2d)):
        norm.weight.data.uniform_(0.2, 1)
    return Supernet.of(model.eval(), torch.zeros(1, 3, 8, 8))


def widths(net: Supernet, learner: Learner) -> list[int]:
    """What is kept of two early and two late layers."""
    learn(learner, recipe=LONGER)
    return [int(width) for width in learner.kept().widths]


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
    list(train(student, None, coloured(), Distillation(online_teacher(net.model), kd_loss, 0.1), RECIPE))
    assert all(torch.equal(learner.model.state_dict()[name], each) for name, each in student.state_dict().items())
    assert learner.kept() == net.dense


def test_what_was_learnt_is_what_is_slimmed_and_costs_what_the_closed_form_says() -> None:
    net = funnel()
    learner = blockwise_learner(net, net.model, reach=REACH, strength=2.0)
    learn(learner)
    kept, slimmed, x = learner.kept(), learner.slimmed().eval(), torch.randn(5, 3, 8, 8)
    assert kept != net.dense
    gone = masked(replace(net, model=learner.model), kept).eval()
    with torch.no_grad():
        torch.testing.assert_close(slimmed(x), gone(x), atol=1e-5, rtol=1e-4)
    small = Supernet.of(slimmed, torch.zeros(1, 3, 8, 8), check=False)
    assert small.macs(small.dense) == net.macs(kept)
    assert small.parameters(small.dense) == net.parameters(kept)


# --- block after block ---


def test_blocks_are_children_and_a_child_that_holds_most_is_taken_apart() -> None:
    resnet = ["conv1", "layer1.0.conv1", "layer1.1.conv1", "layer2.0.conv1", "layer2.0.conv2#2"]
    assert list(blocks_of(resnet)) == ["conv1", "layer1", "layer2"]
    vgg = ["features.0", "features.4", "features.8", "classifier.0"]
    assert blocks_of(vgg) == {name: [name] for name in ("features.0", "features.4", "features.8")} | {
        "classifier": ["classifier.0"]
    }
    assert blocks_of(["a", "a#2", "a#3"]) == {"a": ["a", "a#2", "a#3"]}


def turns(learner: Learner) -> BlockSchedule:
    assert isinstance(learner.objective, Penalised)
    assert isinstance(learner.objective.penalty, BlockSchedule)
    return learner.objective.penalty


def test_turns_are_equally_long_by_how_far_steps_come() -> None:
    net = funnel()
    learner = blocks_in_turn_learner(net, strides=np.array([4.0, 1, 1, 1, 1, 0]))
    assert turns(learner).starts == [0, 1]  # the first step is half of all
    assert turns(blocks_in_turn_learner(net, strides=np.ones(6))).starts == [0, 3]


def test_each_block_has_its_turn_and_its_scales_have_a_price_from_then_on() -> None:
    net = funnel()
    learner = blocks_in_turn_learner(net, strides=np.ones(4))
    parameters = dict(learner.model.named_parameters())
    gammas = [each for name, each in parameters.items() if each.ndim == 1 and name.endswith(".weight")]

    def reached(term: Tensor) -> list[bool]:
        return [each is not None for each in torch.autograd.grad(term, gammas, allow_unused=True)]

    local, priced = [], []
    for step in range(4):
        batch = looked(torch.zeros(6, CLASSES), seed=step)
        learner.objective(batch._replace(logits=learner.model(batch.images[0])[None]))
        local.append(reached(turns(learner)()))
        priced.append(reached(turns(learner).price()))
    early, all_of_them = [True, True, False, False], [True] * 4
    assert priced == local == [early, early, all_of_them, all_of_them]  # features reach back into the block before


def test_features_equal_to_the_teachers_cost_nothing() -> None:
    net = funnel()
    learner = blocks_in_turn_learner(net, strides=np.ones(4))
    batch = looked(torch.zeros(6, CLASSES))
    learner.objective(batch._replace(logits=learner.model.eval()(batch.images[0])[None]))
    assert turns(learner)().detach().item() == pytest.approx(0, abs=1e-9)
    learner.objective(batch._replace(logits=learner.model.train()(batch.images[0])[None]))
    assert turns(learner)().detach().item() > 1e-3


def test_every_block_narrows_the_more_the_stronger_and_what_fell_in_its_turn_stays() -> None:
    net, found = funnel(), []
    recipe = replace(RECIPE, epochs=12)
    for strength in (0.5, 1.0, 4.0):
        learner = blocks_in_turn_learner(net, strides=step_sizes(recipe, coloured()), strength=strength)
        steps = train(learner.model, None, coloured(), learner.objective, recipe, weight_penalty=learner.weight_penalty)
        early = [int(learner.kept().widths[:2].sum()) for _ in steps]
        found.append(learner.kept().widths)
        assert early[-1] <= early[turns(learner).starts[1]]
        assert type(learner.slimmed()) is type(net.model)
    assert not any(module._forward_hooks for module in net.model.modules())
    for part in (slice(2), slice(2, 4)):
        sizes = [int(each[part].sum()) for each in [net.space.dense, *found]]
        assert all(one >= other for one, other in pairwise(sizes)), sizes
        assert sizes[-1] < 0.6 * sizes[0]


# --- mistakes ---


def test_an_unknown_constraint_is_refused_with_those_there_are() -> None:
    with pytest.raises(SecateurError, match="no constraint is called 'time'; give flops or params"):
        blockwise_learner(pupil(), nn.Module(), reach=1, constraint="time")


def test_a_network_without_batch_norm_is_refused() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, CLASSES))
    net = Supernet.of(model, torch.zeros(1, 3, 8, 8))
    with pytest.raises(SecateurError, match="no prunable channel has one; give pdd"):
        blockwise_learner(net, model, reach=1)


def layers() -> list[nn.Module]:
    return [nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8)]


class Odd(nn.Module):
    """A block that is called part by part, or one that gives two tensors, before a usual one."""

    def __init__(self, pair: bool) -> None:
        super().__init__()
        self.stem, self.block = nn.Conv2d(3, 8, 3), Pair() if pair else nn.ModuleList(layers())
        self.usual, self.head = nn.Sequential(*layers()), nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        if isinstance(self.block, Pair):
            x, _ = self.block(x)
        else:
            for part in self.block:
                x = part(x)
        logits: Tensor = self.head(self.usual(x).relu().mean((2, 3)))
        return logits


class Pair(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(*layers())

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        made: Tensor = super().forward(x)  # type: ignore[no-untyped-call]
        return made, x


@pytest.mark.parametrize("pair", [False, True])
def test_a_block_without_features_is_named(pair: bool) -> None:
    net = Supernet.of(Odd(pair).eval(), torch.zeros(1, 3, 8, 8))
    learner = blocks_in_turn_learner(net, strides=np.ones(12))
    with pytest.raises(SecateurError, match="block block is not called, or gives no tensor"):
        learn(learner)
