"""Pictures and the maps that belong to them are decoded, sized and augmented together, whatever the task."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import Dataset, Subset
from torchvision.transforms import v2

import secateur as sc
from secateur.data.picture_samples import map_of
from secateur.models.zoo.normalisation import MEAN, STD

PALETTE = [0, 0, 0, 255, 0, 0, 0, 255, 0]


class Scenes(Dataset[Any]):
    """Photographs with a bright square of class 1 or 2, and what ``target`` makes of the map of their pixels."""

    def __init__(self, target: Callable[[np.ndarray[Any, Any]], Any], count: int = 8, size: tuple[int, int] = (12, 16)):
        self.target, self.count, self.size = target, count, size

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> tuple[Any, Any, str]:
        drawn = np.random.default_rng(number)
        numbers = np.zeros(self.size, np.uint8)
        row, column = drawn.integers(1, 6, 2)
        numbers[row : row + 4, column : column + 4] = 1 + number % 2
        shades = np.where(numbers[..., None] > 0, 200, drawn.integers(0, 90, (*self.size, 3))).astype(np.uint8)
        return Image.fromarray(shades), self.target(numbers), f"photograph {number}"


def in_palette(numbers: np.ndarray[Any, Any]) -> Image.Image:
    image = Image.fromarray(numbers)
    image.putpalette(PALETTE)
    return image


def split(target: Callable[[np.ndarray[Any, Any]], Any], task: sc.Task, **options: Any) -> sc.Data:
    parts = Scenes(target), Scenes(target, 4), Subset(Scenes(target, 8), [1, 3, 5])
    return sc.Data.of(*parts, task=task, **options)


MAPS = [
    in_palette,
    Image.fromarray,
    lambda n: torch.from_numpy(n).long(),
    lambda n: torch.from_numpy(n)[None],
    np.array,
]


@pytest.mark.parametrize("target", MAPS, ids=["palette", "grey", "tensor", "with a channel", "NumPy"])
def test_maps_of_every_form_are_class_numbers(target: Any) -> None:
    data = split(target, sc.Segmentation(3))
    assert data.shape == (3, 12, 16)
    images, maps, _ = next(data.test.batches(3))
    assert images.dtype == torch.float32
    assert maps.squeeze().shape == (3, 12, 16)
    assert maps.unique().tolist() == [0, 2]  # photographs 1, 3 and 5
    bright = (200 / 255 - torch.tensor(MEAN)) / torch.tensor(STD)
    inside = images.movedim(1, -1)[maps.reshape(3, 12, 16) == 2]
    torch.testing.assert_close(inside, bright.expand_as(inside))


@pytest.mark.parametrize("augment", ["crop-flip", "imagenet", v2.RandomAffine(20, translate=(0.2, 0.2)), "none"])
def test_maps_go_where_their_pictures_go(augment: Any) -> None:
    data = split(Image.fromarray, sc.Segmentation(3), augment=augment)
    seen = []
    for images, maps, _ in data.train.epoch(8, 0):
        shade = images[0].mean(1)  # (B, H, W)
        for bright, classes in zip(shade, maps[0], strict=True):
            square = (classes == 1) | (classes == 2)
            if square.sum() > 4:
                assert bright[square].mean() > bright[classes == 0].mean() + 1
                seen.append(square)
    assert len(seen) > 4


def test_what_lies_outside_of_a_picture_does_not_count() -> None:
    data = split(Image.fromarray, sc.Segmentation(3, ignore=77), augment="crop-flip")
    assert {0, 1, 2, 77} == set(next(data.train.epoch(8, 0)).labels.unique().tolist())
    assert 77 not in next(data.train.batches(8)).labels


def test_a_view_of_a_picture_and_its_map_never_changes() -> None:
    one, two = (split(Image.fromarray, sc.Segmentation(3), augment="imagenet") for _ in range(2))
    first, again = (next(data.train.batches(8, view=1)) for data in (one, two))
    assert torch.equal(first.images, again.images)
    assert torch.equal(first.labels, again.labels)
    assert not torch.equal(first.images, next(one.train.batches(8, view=2)).images)
    fixed = next(one.train.epoch(8, 5, fixed=[1]))
    assert torch.equal(fixed.images[0, fixed.indices.argsort()], first.images[first.indices.argsort()])


def test_pictures_are_scaled_and_maps_keep_their_numbers() -> None:
    data = split(Image.fromarray, sc.Segmentation(3), shape=(3, 30, 30))
    batch = next(data.train.batches(8))
    assert batch.images.shape == (8, 3, 30, 30)
    assert set(batch.labels.unique().tolist()) <= {0, 1, 2}


def test_targets_that_are_no_maps_stay_as_they_are() -> None:
    ages = split(lambda numbers: torch.tensor([numbers.sum() / 10.0]), sc.Regression())
    batch = next(ages.train.batches(8))
    assert batch.images.shape == (8, 3, 12, 16)
    assert batch.labels.shape == (8, 1)
    marks = split(lambda numbers: torch.eye(3)[numbers.max()], sc.MultiLabel(), augment="trivial")
    assert next(marks.train.epoch(8, 0)).labels.shape == (1, 8, 3)


def test_a_colour_picture_is_no_map() -> None:
    picture = Image.new("RGB", (6, 4))
    with pytest.raises(sc.SecateurError, match=r"a map is a picture of mode RGB; store one number a pixel"):
        map_of(picture, picture)


def test_an_augmentation_that_takes_no_maps_is_said() -> None:
    data = split(Image.fromarray, sc.Segmentation(3), augment="trivial")
    with pytest.raises(sc.SecateurError, match=r"failed on a picture and its map .*; pass a transform .* takes both"):
        next(data.train.epoch(8, 0))


class Fully(nn.Module):
    """Three convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.norm, self.head = nn.BatchNorm2d(8), nn.Conv2d(8, 3, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"out": self.head(self.norm(self.second(self.first(x).relu())).relu())}


def test_photographs_and_masks_are_searched_and_tuned() -> None:
    torch.manual_seed(0)
    data = split(in_palette, sc.Segmentation(3), augment="crop-flip")
    net = sc.Supernet.of(Fully().eval(), data.example)
    found = sc.find(net, data, "60%", trials=1, views=1, scores={"l1": sc.SCORES["l1"]})
    student = sc.finetune(net, found.best(), found.bank, data, epochs=1, method="kdft", views=1)
    assert sc.evaluate(student, data.test).name == "mIoU"
