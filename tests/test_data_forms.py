"""Inputs of every form that data sets have: what is passed is what the network gets, and it is judged."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, TensorDataset

import secateur as sc
from secateur.models.evaluate import evaluate
from secateur.pipeline.fit import require_fit


class Listed(Dataset[Any]):
    """Items that a function makes of their number, of two classes, with more than (input, target)."""

    def __init__(self, make: Callable[[int], Any], count: int = 6) -> None:
        self.make, self.count = make, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> tuple[Any, int, str]:
        if number >= self.count:
            raise IndexError(number)
        return self.make(number), number % 2, f"image {number}"


def convolved(kind: type[nn.Module], pool: type[nn.Module], channels: int) -> nn.Module:
    layers = [kind(channels, 6, 3, padding=1), nn.ReLU(), kind(6, 6, 3, padding=1), nn.ReLU(), pool(1)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(6, 2))


def flat(channels: int) -> nn.Module:
    return convolved(nn.Conv2d, nn.AdaptiveAvgPool2d, channels)


class Pair(nn.Module):
    """Two pictures, by position or by name."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = flat(1), flat(2)

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        both: Tensor = self.left(left) + self.right(right)
        return both


def noise(number: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(number))


FORMS: list[tuple[Callable[[int], Any], nn.Module, tuple[int, ...]]] = [
    (lambda n: noise(n, 1, 8, 8), flat(1), (1, 8, 8)),
    (lambda n: noise(n, 4, 8, 8), flat(4), (4, 8, 8)),
    (lambda n: noise(n, 12, 8, 8), flat(12), (12, 8, 8)),
    (lambda n: noise(n, 32, 32, 12).numpy(), flat(12), (12, 32, 32)),
    (lambda n: noise(n, 8, 8, 3).double().numpy(), flat(3), (3, 8, 8)),
    (lambda n: noise(n, 2, 20), convolved(nn.Conv1d, nn.AdaptiveAvgPool1d, 2), (2, 20)),
    (lambda n: noise(n, 1, 6, 6, 6), convolved(nn.Conv3d, nn.AdaptiveAvgPool3d, 1), (1, 6, 6, 6)),
    (lambda n: (noise(n, 1, 8, 8), noise(n, 2, 8, 8)), Pair(), (1, 8, 8)),
    (lambda n: {"right": noise(n, 2, 8, 8), "left": noise(n, 1, 8, 8).numpy()}, Pair(), (2, 8, 8)),
    (lambda n: np.full((8, 8, 3), 10 * n, np.uint8), flat(3), (3, 8, 8)),
]


@pytest.mark.parametrize(("make", "model", "shape"), FORMS, ids=[f"{n}-{each[2]}" for n, each in enumerate(FORMS)])
def test_inputs_reach_the_network_as_it_takes_them(
    make: Callable[[int], Any], model: nn.Module, shape: tuple[int, ...]
) -> None:
    data = sc.Data.of(Listed(make), Listed(make), Listed(make))
    assert data.shape == shape
    net = sc.Supernet.of(model.eval(), data.example)
    require_fit(net, data)
    half = sc.slim(net, sc.Subnetwork.first(net.space.min_widths)).eval()
    for network in (model, half):
        assert evaluate(network, data.test).n == 6


def test_bytes_of_other_than_three_channels_are_refused_with_what_to_do() -> None:
    part = TensorDataset(torch.zeros(4, 4, 8, 8, dtype=torch.uint8), torch.arange(4) % 2)
    with pytest.raises(sc.SecateurError, match=r"uint8 .*let the data set's transforms make float tensors"):
        sc.Data.of(part, part, part).train.at(torch.arange(2))
