"""Blocks that are pruned one after the other: their turns, features and penalties."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from lessons import CLASSES, RECIPE, coloured, funnel, learn, looked
from torch import Tensor, nn

from secateur.errors import SecateurError
from secateur.models.supernet import Supernet
from secateur.transfer.joint.block_schedule import BlockSchedule, blocks_of
from secateur.transfer.joint.blockwise import blocks_in_turn_learner
from secateur.transfer.joint.learner import Learner, Penalised, step_sizes
from secateur.transfer.training.train import Step, train


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
    learner = blocks_in_turn_learner(net, step_sizes=np.array([4.0, 1, 1, 1, 1, 0]))
    assert turns(learner).starts == [0, 1]  # the first step is half of all
    assert turns(blocks_in_turn_learner(net, step_sizes=np.ones(6))).starts == [0, 3]


def test_each_block_has_its_turn_and_its_scales_are_penalised_from_then_on() -> None:
    net = funnel()
    learner = blocks_in_turn_learner(net, step_sizes=np.ones(4))
    parameters = dict(learner.model.named_parameters())
    gammas = [each for name, each in parameters.items() if each.ndim == 1 and name.endswith(".weight")]

    def reached(term: Tensor) -> list[bool]:
        return [each is not None for each in torch.autograd.grad(term, gammas, allow_unused=True)]

    local, priced = [], []
    for step in range(4):
        batch = looked(torch.zeros(6, CLASSES), seed=step)
        learner.objective(batch._replace(logits=learner.model(batch.images[0])[None]))
        local.append(reached(turns(learner)()))
        priced.append(reached(turns(learner).weight_penalty()))
        turns(learner).on_step_end(step + 1)
    early, all_of_them = [True, True, False, False], [True] * 4
    assert priced == local == [early, early, all_of_them, all_of_them]  # features reach back into the block before


def test_features_equal_to_the_teachers_cost_nothing() -> None:
    net = funnel()
    learner = blocks_in_turn_learner(net, step_sizes=np.ones(4))
    batch = looked(torch.zeros(6, CLASSES))
    learner.objective(batch._replace(logits=learner.model.eval()(batch.images[0])[None]))
    assert turns(learner)().detach().item() == pytest.approx(0, abs=1e-9)
    learner.objective(batch._replace(logits=learner.model.train()(batch.images[0])[None]))
    assert turns(learner)().detach().item() > 1e-3


def test_every_block_narrows_the_more_the_stronger_and_what_fell_in_its_turn_stays() -> None:
    net, found = funnel(), []
    recipe = replace(RECIPE, epochs=12)
    for strength in (0.5, 1.0, 4.0):
        learner = blocks_in_turn_learner(net, step_sizes=step_sizes(recipe, coloured()), strength=strength)
        steps = train(learner.model, coloured(), learner.objective, recipe, hooks=learner.hooks)
        early = [int(learner.subnetwork().widths[:2].sum()) for _ in steps]
        found.append(learner.subnetwork().widths)
        assert early[-1] <= early[turns(learner).starts[1]]
        assert type(learner.slimmed()) is type(net.model)
    assert not any(module._forward_hooks for module in net.model.modules())
    for part in (slice(2), slice(2, 4)):
        sizes = [int(each[part].sum()) for each in [net.space.dense, *found]]
        assert all(one >= other for one, other in pairwise(sizes)), sizes
        assert sizes[-1] < 0.6 * sizes[0]


@pytest.mark.parametrize("stop", [5, 8, 11])
def test_a_training_that_was_stopped_resumes_in_the_same_turn(stop: int, tmp_path: Path) -> None:
    def started(folder: Path | None) -> tuple[Learner, Iterator[Step]]:
        learner = blocks_in_turn_learner(net, step_sizes=np.ones(12))  # a turn ends after 6 steps
        steps = train(learner.model, coloured(), learner.objective, RECIPE, folder=folder, hooks=learner.hooks)
        return learner, steps

    net = funnel()
    whole, steps = started(None)
    losses = [step.loss for step in steps]
    _, steps = started(tmp_path)
    for _ in range(stop):
        next(steps)
    del steps
    again, steps = started(tmp_path)
    resumed = [step.loss for step in steps]
    assert resumed == losses[-len(resumed) :]
    assert turns(again).active_blocks == 2
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(again.model.state_dict()[name], tensor), name


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
    learner = blocks_in_turn_learner(net, step_sizes=np.ones(12))
    with pytest.raises(SecateurError, match="block block is not called, or returns no tensor"):
        learn(learner)
