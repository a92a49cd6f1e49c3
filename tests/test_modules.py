from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from secateur.models.tracing.modules import evaluating, named_tensors, own_tensors, tensors_in, with_tensors


def test_evaluating_restores_every_mode_after_an_error() -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)).train()
    net[1].eval()

    def fails() -> None:
        with evaluating(net):
            assert not any(module.training for module in net.modules())
            raise KeyError

    with pytest.raises(KeyError):
        fails()
    assert net.training
    assert net[0].training
    assert not net[1].training


@dataclass
class Prediction:
    logits: Tensor
    features: list[Tensor]


def test_tensors_are_found_in_whatever_a_network_returns() -> None:
    held = torch.ones(1)
    assert tensors_in({"a": [held, 3], "b": Prediction(held, [held]), "c": None}) == [held] * 3


def test_a_tensor_that_modules_share_is_named_once() -> None:
    first, second = nn.Linear(4, 4), nn.Linear(4, 4)
    second.weight = first.weight
    model = nn.Sequential(first, nn.BatchNorm1d(4), second)
    assert "2.weight" not in named_tensors(model)
    assert {"0.weight", "2.bias"} <= own_tensors(model).parameters.keys()
    assert "1.running_mean" in own_tensors(model).buffers


def test_others_stand_in_for_the_tensors_of_a_network_and_leave_again() -> None:
    model = nn.Linear(4, 2)
    own, weight = own_tensors(model), model.weight
    with with_tensors(model, own, {name: torch.zeros_like(tensor) for name, tensor in own.all().items()}):
        assert not model(torch.ones(1, 4)).any()
    assert model.weight is weight
