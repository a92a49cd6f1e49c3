"""Reading samples by position: seeds, collation, workers, and errors in one line."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, TensorDataset

import secateur.data.streaming as streaming
from secateur.data.reading import SampleReader, as_tensors
from secateur.errors import SecateurError


class Noisy(Dataset[Any]):
    """Items that draw from all three generators, and their positions."""

    def __len__(self) -> int:
        return 12

    def __getitem__(self, position: int) -> tuple[Tensor, int, str]:
        drawn = [float(torch.rand(())), float(np.random.rand()), random.random()]  # noqa: NPY002
        return torch.tensor(drawn), position, "left out"


class Items(Dataset[Any]):
    """These items."""

    def __init__(self, *items: Any) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, position: int) -> Any:
        return self.items[position]


def test_a_sample_depends_on_its_position_and_seed_alone() -> None:
    read = SampleReader(Noisy())
    together = next(read([[(0, 5), (1, 6), (2, 5)]]))
    assert together.targets.tolist() == [0, 1, 2]
    for position, seed in ((0, 5), (1, 6), (2, 5)):
        assert torch.equal(next(read([[(position, seed)]])).inputs[0], together.inputs[position])
    assert torch.equal(together.inputs[0], together.inputs[2])  # the same seed
    assert not torch.equal(together.inputs[0], together.inputs[1])


def test_workers_read_what_this_process_reads_pass_after_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = [[(position, 3 * position) for position in range(start, start + 4)] for start in (0, 4, 8)]
    here = list(SampleReader(Noisy(), workers=0)(asked))
    monkeypatch.setattr(streaming, "MANY", 1)
    read = SampleReader(Noisy(), workers=1)
    next(read(asked[::-1]))  # a pass that is given up
    for _ in range(2):
        there = list(read(asked))
        assert all(torch.equal(one.inputs, other.inputs) for one, other in zip(here, there, strict=True))
    inside = [batch.targets.tolist() for _ in read(asked) for batch in read(asked[:1])]  # two passes at once
    assert inside == [[0, 1, 2, 3]] * 3


def test_a_loader_is_read_by_its_collate_function() -> None:
    def collate(items: list[Any]) -> dict[str, Any]:
        return {"count": len(items)}

    loader = DataLoader(TensorDataset(torch.zeros(4, 2), torch.arange(4)), batch_size=2, collate_fn=collate)
    with pytest.raises(SecateurError, match=r"a batch of the data set is of type dict; let each be \(input, target\)"):
        SampleReader.of(loader).one()
    whole = SampleReader.of(DataLoader(Noisy(), collate_fn=lambda items: (torch.stack([i[0] for i in items]), "same")))
    assert whole.one(3).targets == "same"


def test_arrays_become_tensors_with_channels_first() -> None:
    picture = np.arange(24, dtype=np.float64).reshape(4, 3, 2)  # too narrow to be sure
    assert as_tensors(picture).shape == (4, 3, 2)
    assert as_tensors(picture).dtype == torch.float32
    high = np.zeros((8, 6, 4), np.float32)
    assert {name: tuple(x.shape) for name, x in as_tensors({"a": high, "b": (high,)[0]}).items()} == {
        "a": (4, 8, 6),
        "b": (4, 8, 6),
    }


@pytest.mark.parametrize(
    ("items", "reason"),
    [
        ([{"image": 1}], r"item 0 of the data set is of type dict; let each be \(input, target\)"),
        ([torch.zeros(3)], r"item 0 of the data set is of type Tensor"),
        ([(torch.zeros(1, 4, 4, dtype=torch.uint8), 0)], r"an input is of type uint8 \(1, 4, 4\); .* float tensors"),
        ([("path.png", 0)], "an input is of type list|an input is of type tuple|an input is of type str"),
        ([(torch.zeros(3), 0), (torch.zeros(4), 0)], r"the samples make no batch \(RuntimeError: .*collate_fn"),
    ],
)
def test_what_makes_no_batch_is_said_in_a_line(items: list[Any], reason: str) -> None:
    with pytest.raises(SecateurError, match=reason) as caught:
        next(SampleReader(Items(*items))([[(position, 0) for position in range(len(items))]]))
    assert "\n" not in str(caught.value)


def test_an_item_that_fails_is_named() -> None:
    with pytest.raises(SecateurError, match=r"item 3 of the data set failed \(IndexError"):
        SampleReader(Items((torch.zeros(1), 0))).one(3)
