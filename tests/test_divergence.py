from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from trainings import RECIPE, assert_same, coloured, toy, train_toy

from secateur.data.dataset import Data
from secateur.errors import SecateurError
from secateur.models.supernet import Supernet
from secateur.pipeline.session import Session
from secateur.transfer.objectives.base import CrossEntropy, StudentBatch
from secateur.transfer.training.divergence import SLOWER
from secateur.transfer.training.recipe import learning_rate
from secateur.transfer.training.train import train
from secateur.transfer.training.trainer import Hooks

LOST_AT = 8  # of 12 steps, with checkpoints after 5, 10 and 12


class Explodes(CrossEntropy):
    """Cross-entropy, and not a number at these calls, counted from 1."""

    def __init__(self, *calls: int) -> None:
        super().__init__()
        self.calls, self.count = calls, 0

    def __call__(self, batch: StudentBatch) -> Tensor:
        self.count += 1
        return super().__call__(batch) * (torch.nan if self.count in self.calls else 1)


def test_a_loss_that_is_no_number_goes_back_to_the_last_checkpoint_at_a_lower_rate(tmp_path: Path) -> None:
    model = toy()
    steps = list(train_toy(model, Explodes(LOST_AT), folder=tmp_path))
    assert [step.step for step in steps] == [1, 2, 3, 4, 5, 6, 7, 6, 7, 8, 9, 10, 11, 12]
    rates = [learning_rate(RECIPE, step.step - 1, 12, 6) for step in steps]
    assert [step.learning_rate for step in steps] == [*rates[:7], *(SLOWER * rate for rate in rates[7:])]
    assert all(tensor.isfinite().all() for tensor in model.state_dict().values())


def test_without_a_checkpoint_it_goes_back_to_the_start(tmp_path: Path) -> None:
    model, slow = toy(), toy()
    steps = list(train_toy(model, Explodes(3), folder=tmp_path))
    assert [step.step for step in steps] == [1, 2, *range(1, 13)]
    assert [step.step for step in train_toy(slow, Explodes(3))] == [1, 2, *range(1, 13)]
    assert_same(model.state_dict(), slow.state_dict())


@pytest.mark.parametrize("folder", [True, False])
def test_the_second_time_it_stops_and_says_where(tmp_path: Path, folder: bool) -> None:
    again = LOST_AT + (3 if folder else LOST_AT)
    with pytest.raises(SecateurError, match=r"not finite at step 8 of 12, again at 0\.1 of the learning rate"):
        list(train_toy(toy(), Explodes(LOST_AT, again), folder=tmp_path if folder else None))


def test_a_training_that_is_resumed_after_it_went_back_stays_slow(tmp_path: Path) -> None:
    whole, parts = toy(), toy()
    list(train_toy(whole, Explodes(LOST_AT), folder=tmp_path / "whole"))
    begun = train_toy(parts, Explodes(LOST_AT), folder=tmp_path / "parts")
    while next(begun).step < 10:
        pass
    del begun  # killed after the checkpoint of step 10
    parts = toy()
    list(train_toy(parts, CrossEntropy(), folder=tmp_path / "parts"))
    assert_same(whole.state_dict(), parts.state_dict())


def test_a_network_that_is_pruned_on_the_way_stops_at_once() -> None:
    hooks = Hooks(on_epoch_end=lambda optimizer: None)
    with pytest.raises(SecateurError, match=r"not finite at step 8 of 12; look for NaN in weights and data"):
        list(train(toy(), coloured(), Explodes(LOST_AT), RECIPE, hooks=hooks))


def test_weights_that_are_no_numbers_are_said() -> None:
    model = toy()
    with torch.no_grad():
        next(model.parameters())[0] = torch.inf
    with pytest.raises(SecateurError, match=r"not finite at step 1 of 12, again at 0\.1"):
        list(train_toy(model, CrossEntropy()))


def test_a_session_says_that_it_went_back(tmp_path: Path) -> None:
    told = list[str]()
    samples: Any = [(torch.zeros(3, 8, 8), number % 4) for number in range(8)]
    data = Data.of(samples, samples, samples)
    model = toy()
    net = Supernet.of(toy().eval(), data.example)
    session = Session(net, data, tmp_path, "float32", lambda what, *_: told.append(what))
    session.train(model, Explodes(2), RECIPE, folder=tmp_path, what="fine-tuning")
    assert "fine-tuning: the loss was not finite, back at step 1 and slower" in told
