"""Three parts of what is passed."""

from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import secateur as sc


def pictures(count: int, classes: int = 2) -> TensorDataset:
    pixels = torch.randint(256, (count, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(count))
    return TensorDataset(pixels, torch.arange(count) % classes)


def depths(count: int) -> TensorDataset:
    images = torch.rand(count, 1, 4, 4, generator=torch.Generator().manual_seed(count))
    return TensorDataset(images, images.mean((1, 2, 3))[:, None])


def sizes(data: sc.Data) -> list[int]:
    return [len(part) for part in (data.train, data.holdout, data.test)]


def test_of_two_data_sets_the_second_is_the_test_and_a_tenth_is_held_out() -> None:
    data = sc.Data.of(pictures(40), pictures(12))
    assert sizes(data) == [36, 4, 12]
    assert data.holdout.labels is not None
    assert data.holdout.labels.tolist() == [0, 0, 1, 1]
    train = pictures(40).tensors[0]
    assert torch.equal(data.holdout.at(torch.arange(4)), train[[36, 38, 37, 39]])  # type: ignore[arg-type]


def test_a_share_of_samples_without_classes_is_drawn() -> None:
    data = sc.Data.of(depths(20), 0.25, depths(8), task=sc.Regression())
    assert sizes(data) == [15, 5, 8]
    seen = torch.cat([part.at(torch.arange(len(part))).targets for part in (data.train, data.holdout)])  # type: ignore[union-attr]
    assert torch.equal(seen.flatten().sort().values, depths(20).tensors[1].flatten().sort().values)


def test_a_loader_is_split_with_its_collate_function() -> None:
    def doubled(items: list[Any]) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.stack([2 * x for x, _ in items]), torch.stack([y for _, y in items])

    loader = DataLoader(depths(20), batch_size=4, collate_fn=doubled)
    data = sc.Data.of(loader, depths(8), task=sc.Regression())
    assert sizes(data) == [18, 2, 8]
    one = data.holdout.at(torch.arange(2))
    torch.testing.assert_close(one.inputs.mean((1, 2, 3)), 2 * one.targets[:, 0])  # type: ignore[union-attr]


def test_one_data_set_is_not_enough() -> None:
    with pytest.raises(sc.SecateurError, match=r"one data set is no train and test; pass sc\.Data\.of\(train, test\)"):
        sc.Data.of(pictures(8))
    with pytest.raises(sc.SecateurError, match="a holdout of 200% of the training samples"):
        sc.Data.of(pictures(8), 2.0, pictures(8))


def test_a_function_that_returns_train_and_test_gets_a_holdout(tmp_path: Any) -> None:
    code = """
import torch
from torch.utils.data import TensorDataset

def data():
    images = torch.zeros(20, 3, 8, 8, dtype=torch.uint8)
    return [TensorDataset(images, torch.arange(20) % 2)] * 2
"""
    (tmp_path / "mine.py").write_text(code)
    assert sizes(sc.open_data(f"{tmp_path}/mine.py:data")) == [18, 2, 20]
    assert sizes(sc.open_data(f"{tmp_path}/mine.py:data", holdout="40%")) == [12, 8, 20]
