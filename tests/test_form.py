"""The size at which pictures are read."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data.transforms_factory import create_transform

import secateur as sc
from secateur.data.dataset import Unread, unread_data
from secateur.data.form import ReadForm, fitted
from secateur.models.files.networks import intake_of
from secateur.models.zoo.normalisation import WHOLE, Crop, crop_of


def photograph(height: int, width: int) -> torch.Tensor:
    """Smooth, so that two ways of scaling agree."""
    rows, columns = torch.meshgrid(torch.linspace(0, 6, height), torch.linspace(0, 9, width), indexing="ij")
    waves = torch.stack([rows.sin() + columns.cos(), (rows * 2).cos(), (columns + rows).sin()])
    return ((waves - waves.min()) / (waves.max() - waves.min()) * 255).round().to(torch.uint8)


def pixels(read: Any) -> torch.Tensor:
    """What is read of images is their pixels."""
    assert isinstance(read, torch.Tensor)
    return read


@pytest.mark.parametrize("share", [0.875, 0.95, 1.0])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(90, 120), (200, 100), (48, 48)])
def test_a_picture_is_cropped_as_timm_crops_it(share: float, interpolation: str, size: tuple[int, int]) -> None:
    picture = photograph(*size)
    how: dict[str, Any] = {"interpolation": interpolation, "crop_pct": share, "mean": (0, 0, 0), "std": (1, 1, 1)}
    theirs = create_transform((3, 64, 64), **how)(Image.fromarray(picture.permute(1, 2, 0).numpy()))
    ours = fitted(picture, (3, 64, 64), Crop(share, interpolation)) / 255
    assert float((ours - theirs).abs().max()) < 0.03  # rounded to a byte twice, and at most a pixel apart
    assert float((ours - theirs).abs().mean()) < 0.004


def test_a_picture_that_has_the_size_stays_as_it_is() -> None:
    picture = photograph(64, 64)
    assert torch.equal(fitted(picture, (3, 64, 64), Crop(0.875, "bicubic")), picture)


def test_a_map_keeps_its_numbers() -> None:
    numbers = torch.zeros(40, 60, dtype=torch.int64)
    numbers[10:30, 20:40] = 7
    found = fitted(numbers, (3, 30, 30), WHOLE, nearest=True)
    assert found.shape == (30, 30)
    assert set(found.flatten().tolist()) == {0, 7}


def test_a_network_of_timm_says_its_crop_and_interpolation() -> None:
    assert crop_of("timm:vit_tiny_patch16_224") == Crop(0.9, "bicubic")
    assert crop_of("resnet20") == crop_of("torchvision:resnet18") == WHOLE
    assert intake_of("timm:vit_tiny_patch16_224").crop == Crop(0.9, "bicubic")


def test_images_of_classes_are_read_that_way() -> None:
    pictures = [(Image.fromarray(np.moveaxis(photograph(40, 50 + n).numpy(), 0, -1)), n % 2) for n in range(4)]
    crop = Crop(0.8, "bicubic")
    whole = sc.Data.of(pictures, pictures, pictures, shape=(3, 24, 24))
    assert torch.equal(pixels(whole.test.at(torch.tensor([1]))), fitted(photograph(40, 51), (3, 24, 24), WHOLE)[None])
    read = Unread.of([pictures] * 3, sc.Classification(), "pictures", ReadForm((3, 24, 24), crop=crop)).read()
    assert torch.equal(pixels(read.test.at(torch.tensor([1]))), fitted(photograph(40, 51), (3, 24, 24), crop)[None])


def test_a_name_is_opened_before_anything_is_read() -> None:
    unread = unread_data("digits", ReadForm((3, 8, 8)))
    assert unread.classes == tuple("0123456789")
    assert unread.example.shape == (1, 3, 8, 8)
    assert len(unread.read().test) == 359
