"""A student that gets narrower while it is trained, and its optimiser with it."""

from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from lessons import RECIPE, coloured, pupil

from secateur.models.subnetwork import Subnetwork
from secateur.models.supernet import Supernet
from secateur.transfer.joint.shrinking_student import ShrinkingStudent
from secateur.transfer.objectives.base import CrossEntropy
from secateur.transfer.training.train import Step, train
from secateur.transfer.training.trainer import Hooks

LESS = Subnetwork(((1, 3, 4, 7), (0, 2, 5, 6, 9), tuple(range(1, 16, 2))))
LEAST = Subnetwork(((3, 7), (2, 5, 6), (1, 5, 9)))


def optimizer(student: ShrinkingStudent, kind: Callable[..., torch.optim.Optimizer]) -> torch.optim.Optimizer:
    """One that has made two steps."""
    found = kind(student.parameters(), lr=0.05, **({"momentum": 0.9} if kind is torch.optim.SGD else {}))
    for _ in range(2):
        found.zero_grad()
        student(torch.randn(6, 3, 8, 8)).square().mean().backward()
        found.step()
    return found


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.AdamW])
def test_what_is_taken_is_taken_from_weights_and_from_the_optimisers_state(kind: type[torch.optim.Optimizer]) -> None:
    net = pupil()
    student = ShrinkingStudent(net, [])
    state = optimizer(student, kind).state
    names = {id(parameter): name for name, parameter in student.student.model.named_parameters()}
    before = {names[id(p)]: (p.detach().clone(), deepcopy(dict(each))) for p, each in state.items()}
    for subnetwork in (LESS, LEAST):
        student.prune_to(subnetwork, Bare(state))
    rows = {"stem": 0, "conv": 1, "hidden": 2}
    reads = {"conv": 0, "back": 1, "hidden": 0, "head": 2}
    for parameter, each in state.items():
        name = names[id(parameter)]
        layer, leaf = name.split(".")
        old, was = before[name]
        made = LEAST.kept[rows[layer]] if layer in rows else LEAST.kept[1 if layer == "norm2" else 0]
        for tensor, dense in [
            (parameter.detach(), old),
            *((each[k], was[k]) for k in each if was[k].shape == old.shape),
        ]:
            expected = dense if layer == "head" else dense[list(made)]
            if leaf == "weight" and layer in reads:
                expected = expected[:, list(LEAST.kept[reads[layer]])]
            assert torch.equal(tensor, expected), name
    assert student.subnetwork() == LEAST


class Bare(torch.optim.Optimizer):
    """An optimiser's state alone."""

    def __init__(self, state: object) -> None:
        self.state = state  # type: ignore[assignment]


def test_a_neuron_that_is_dead_changes_nothing_when_it_goes() -> None:
    net = pupil()
    student = ShrinkingStudent(net, []).eval()
    dead = [0, 3, 8]
    with torch.no_grad():
        student.student.model.get_parameter("hidden.weight")[dead] = -0.1
        student.student.model.get_parameter("hidden.bias")[dead] = -9.0
    x = torch.rand(7, 3, 8, 8)
    before = student(x)
    student.prune_to(Subnetwork((*net.dense.kept[:2], tuple(c for c in range(16) if c not in dead))))
    assert (student(x) - before).abs().max() < 1e-6
    assert (student.slimmed().eval()(x) - before).abs().max() < 1e-6


def test_training_goes_on_without_a_leap() -> None:
    """The same steps from here on as a network that was as narrow from the start and had this momentum."""
    net, x = pupil(), torch.randn(6, 3, 8, 8)
    student = ShrinkingStudent(net, []).train()
    sgd = optimizer(student, torch.optim.SGD)
    student.prune_to(LESS, sgd)
    other = student.slimmed().train()
    again = torch.optim.SGD(other.parameters(), lr=0.05, momentum=0.9)
    for mine, theirs in zip(student.parameters(), other.parameters(), strict=True):
        again.state[theirs]["momentum_buffer"] = sgd.state[mine]["momentum_buffer"].clone()
    for _ in range(3):
        for model, each in ((student, sgd), (other, again)):
            each.zero_grad()
            model(x).square().mean().backward()
            each.step()
    for mine, theirs in zip(student.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize("stop", [3, 5, 7, 11])
def test_a_training_that_narrows_can_be_stopped_and_ends_in_the_same_weights(stop: int, tmp_path: Path) -> None:
    def started(net: Supernet, folder: Path | None) -> tuple[ShrinkingStudent, Iterator[Step]]:
        student = ShrinkingStudent(net, [])

        def between(sgd: torch.optim.Optimizer) -> None:
            student.prune_to(LESS if student.subnetwork() == net.dense else LEAST, sgd)

        return student, train(
            student, coloured(), CrossEntropy(), RECIPE, folder=folder, hooks=Hooks(on_epoch_end=between)
        )

    net = pupil()
    whole, steps = started(net, None)
    list(steps)
    _, steps = started(net, tmp_path)
    for _ in range(stop):
        next(steps)
    del steps
    again, steps = started(net, tmp_path)
    list(steps)
    assert again.subnetwork() == whole.subnetwork() == LEAST
    for name, tensor in whole.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name
