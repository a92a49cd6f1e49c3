"""Generators that a data set holds, wherever they are, draw from the seed of each view."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, Subset

import secateur as sc
from secateur.data.generators import generators_in, seed_generators

SHARED = np.random.default_rng(0)  # of the module, as scripts have it


class Drawn(Dataset[Any]):
    """Samples of pure chance, of two classes."""

    def __init__(self, draw: Callable[[], float], **held: Any) -> None:
        self.draw = draw
        self.held = held

    def __len__(self) -> int:
        return 6

    def __getitem__(self, number: int) -> tuple[torch.Tensor, int]:
        if number >= 6:
            raise IndexError(number)
        return torch.full((1, 2, 2), self.draw()), number % 2


class Composed:
    """A transform that holds generators, as albumentations' do."""

    def __init__(self) -> None:
        self.transforms: list[Any] = [{"of": random.Random(0)}, (np.random.RandomState(0),)]

    def __call__(self) -> float:
        return float(self.transforms[0]["of"].random() + self.transforms[1][0].rand())


def closed_over() -> Callable[[], float]:
    own = torch.Generator()
    return lambda: float(torch.rand((), generator=own))


def of_the_module() -> float:
    return float(SHARED.random())


def drawn_by(draw: Callable[[], float]) -> Dataset[Any]:
    return Drawn(draw)


SETS: dict[str, Callable[[], Any]] = {
    "Python": lambda: Drawn(random.random),
    "NumPy": lambda: Drawn(np.random.rand),
    "torch": lambda: Drawn(lambda: float(torch.rand(()))),
    "own of Python": lambda: Drawn(random.Random(0).random),
    "own of NumPy": lambda: Drawn(np.random.default_rng(0).random),
    "partial": lambda: Drawn(partial(np.random.default_rng(0).uniform, 0, 1)),
    "closure": lambda: Drawn(closed_over()),
    "module": lambda: Drawn(of_the_module),
    "transforms": lambda: Drawn(Composed()),
    "subset": lambda: Subset(Drawn(closed_over()), [0, 1, 2, 3]),
    "loader": lambda: DataLoader(Drawn(np.random.default_rng(0).random), 3),
}


@pytest.mark.parametrize("name", SETS)
def test_a_view_is_the_same_for_ever_whatever_it_draws_from(name: str) -> None:
    part = SETS[name]()
    data = sc.Data.of(part, part, part)

    def view(number: int) -> torch.Tensor:
        return torch.cat([batch.images for batch in data.train.batches(4, view=number)])

    one, other = view(0), view(1)
    assert torch.equal(view(0), one)
    assert not torch.equal(one, other)
    assert len(set(one.flatten().tolist())) > 3  # each sample has a seed of its own
    epochs = [next(data.train.epoch(4, seed)).images for seed in (7, 8, 7)]
    assert torch.equal(epochs[0], epochs[2])
    assert not torch.equal(epochs[0], epochs[1])


def test_the_same_seed_draws_the_same_from_every_kind() -> None:
    kinds: list[Any] = [random.Random(1), np.random.default_rng(1), np.random.RandomState(1), torch.Generator()]
    draws = []
    for _ in range(2):
        seed_generators(kinds, 5)
        python, generator, state, torchs = kinds
        draws.append([python.random(), generator.random(), state.rand(), float(torch.rand((), generator=torchs))])
    assert draws[0] == draws[1]


def test_long_lists_and_what_holds_itself_end() -> None:
    files = [[str(n)] for n in range(100)]
    loop: list[Any] = [random.Random(0), files]
    loop.append(loop)
    assert len(generators_in(loop)) == 1
