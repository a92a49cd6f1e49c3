import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

import secateur as sc
from secateur.models.surgery.fast_copy import copied


class Tangled(nn.Module):
    """Holds modules and tensors in more places than torch knows of."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 3)
        self.again = self.layer
        self.norm = nn.BatchNorm1d(3)
        self.norm.weight = self.layer.bias  # shared
        self.by_name = {"layer": self.layer, "itself": [self]}
        self.plain = torch.ones(2)
        self.told: list[Any] = []
        self.also_told = self.told  # one empty list under two names
        self.empty: dict[str, int] = {}
        self.also_empty = self.empty
        self.layer.register_forward_hook(note)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.norm(self.layer(x))
        return out


def note(module: nn.Module, inputs: object, output: object) -> None:
    module.__dict__["seen"] = True


class Own(nn.Module):
    """Says itself how it is copied."""

    def __deepcopy__(self, memo: dict[int, Any]) -> "Own":
        made = Own()
        made.copies = self.copies + 1
        return made

    copies = 0


@pytest.mark.parametrize("make", [copy.deepcopy, lambda model: copied(model, {})])
def test_everything_is_copied_once(make: Any) -> None:
    model = Tangled()
    twin = make(model)
    assert twin is not model
    assert twin.again is twin.layer
    assert twin.layer is not model.layer
    assert twin.norm.weight is twin.layer.bias
    assert twin.by_name["layer"] is twin.layer
    assert twin.by_name["itself"][0] is twin
    assert twin.told is twin.also_told
    assert twin.told is not model.told
    assert twin.empty is twin.also_empty
    assert twin.empty is not model.empty
    twin.plain += 1
    assert model.plain.tolist() == [1, 1]
    x = torch.randn(4, 3)
    assert torch.equal(twin(x), Tangled.forward(model, x))
    twin.layer.register_forward_hook(note)
    assert len(model.layer._forward_hooks) == 1


@pytest.mark.parametrize("name", ["resnet20", "mobilenetv2", "vgg16_bn"])
def test_a_copy_has_the_tensors_of_the_original_and_none_of_its_memory(name: str) -> None:
    model = sc.constructor(name, 10)()
    twin = copied(model, {})
    assert str(twin) == str(model)
    for (one, a), (other, b) in zip(model.state_dict().items(), twin.state_dict().items(), strict=True):
        assert one == other
        assert torch.equal(a, b)
        assert a.data_ptr() != b.data_ptr()


def test_the_memo_stands_in() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    narrow = nn.Parameter(torch.ones(2, 3))
    twin = copied(model, {id(model[0].weight): narrow})
    assert twin.get_parameter("0.weight") is narrow
    assert model[0].weight.shape == (3, 3)


def test_a_module_in_the_memo_stands_in_as_it_is() -> None:
    model, other = nn.Sequential(nn.Linear(3, 3)), nn.ReLU()
    assert copied(model, {id(model[0]): other}).get_submodule("0") is other
    assert other.inplace is False
    assert not hasattr(other, "in_features")


def test_modules_that_copy_themselves_do() -> None:
    twin = copied(nn.Sequential(Own(), nn.ReLU()), {})
    assert twin.get_submodule("0").copies == 1
    assert copied(Own(), {}).copies == 1


def test_parametrizations_are_copied() -> None:
    spectral = parametrizations.spectral_norm(nn.Linear(3, 3)).eval()
    x = torch.randn(2, 3)
    assert torch.equal(copied(spectral, {})(x), spectral(x))
