"""What training shows of an image: every view is a seed, whatever the transform."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import TensorDataset
from torchvision.transforms import v2

import secateur as sc
from secateur.data.augment import AUGMENTATIONS, augmentation, augmented
from secateur.data.images import Images
from secateur.pipeline.images import augment_called
from secateur.seeds import random_streams

PIXELS = torch.randint(256, (24, 3, 12, 12), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
PARTS = [TensorDataset(PIXELS, torch.arange(24) % 4)] * 3


def noisy(image: Tensor) -> Tensor:
    """Draws from all three generators that transforms use."""
    shift = random.randrange(100) + int(np.random.randint(100)) + int(torch.randint(100, ()))  # noqa: NPY002
    return (image.int() + shift).clamp(max=255).to(torch.uint8)


def split(augment: str | Callable[[Tensor], Any] | None) -> Images:
    data = sc.Data.of(*PARTS, augment=augment, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    assert isinstance(data.train, Images)
    return data.train


def view(images: Images, number: int, size: int) -> Tensor:
    """A fixed view of all images, by position."""
    found = torch.empty(len(images), 3, 12, 12)
    for batch in images.batches(size, view=number):
        found[batch.indices] = torch.as_tensor(batch.images)
    return found


@pytest.mark.parametrize("augment", ["imagenet", "trivial", noisy])
def test_a_fixed_view_of_an_image_is_always_the_same_however_it_is_read(augment: Any) -> None:
    images = split(augment)
    first = view(images, 0, size=24)
    random.seed(9)
    torch.manual_seed(9)
    assert torch.equal(first, view(images, 0, size=5))
    assert not torch.equal(first, view(images, 1, size=24))
    for epoch in (3, 4):
        for batch in images.epoch(8, epoch, fixed=(1, 0)):
            assert torch.equal(torch.as_tensor(batch.images)[1], first[batch.indices])


@pytest.mark.parametrize("augment", ["imagenet", "trivial", noisy])
def test_new_views_follow_from_seed_and_position_in_whole_and_in_parts(augment: Any) -> None:
    images = split(augment)
    whole = list(images.epoch(8, 3, views=2))
    resumed = list(images.epoch(8, 3, views=2, start=1))
    assert all(torch.equal(a.images, b.images) for a, b in zip(whole[1:], resumed, strict=True))
    halves = [list(images.epoch(8, 3, views=2, part=(number, 2))) for number in (0, 1)]
    for batch, *parts in zip(whole, *halves, strict=True):
        assert torch.equal(torch.as_tensor(batch.images), torch.cat([torch.as_tensor(p.images) for p in parts], 1))
    assert not torch.equal(torch.as_tensor(whole[0].images)[0], torch.as_tensor(whole[0].images)[1])
    other = next(images.epoch(8, 4, views=2))
    assert not torch.equal(torch.as_tensor(whole[0].images), torch.as_tensor(other.images))


def test_the_global_random_streams_are_left_alone() -> None:
    def drawn() -> tuple[float, float, float]:
        return float(torch.rand(())), random.random(), float(np.random.rand())  # noqa: NPY002

    with random_streams(7):
        expected = drawn()
    with random_streams(7):
        list(split(noisy).epoch(8, 0))
        assert drawn() == expected


def test_none_shows_images_as_they_are() -> None:
    images = split("none")
    for batch in images.epoch(8, 0):
        torch.testing.assert_close(torch.as_tensor(batch.images)[0], PIXELS[batch.indices] / 255)


@pytest.mark.parametrize(("side", "name"), [(32, "crop-flip"), (95, "crop-flip"), (96, "imagenet"), (224, "imagenet")])
def test_the_default_is_that_of_small_images_below_96_pixels(side: int, name: str) -> None:
    assert repr(augmentation(None, (3, side, side), True)) == repr(augmentation(name, (3, side, side), True))


def test_what_may_not_be_mirrored_is_not() -> None:
    for name in AUGMENTATIONS:
        found = augmentation(name, (3, 32, 32), False)
        flips = [each for each in getattr(found, "transforms", ()) if isinstance(each, v2.RandomHorizontalFlip)]
        assert all(flip.p == 0 for flip in flips)


def test_floats_are_taken_as_they_are() -> None:
    images = split(v2.ToDtype(torch.float32, scale=True))
    batch = next(images.epoch(24, 0))
    torch.testing.assert_close(torch.as_tensor(batch.images)[0], PIXELS[batch.indices] / 255)


@pytest.mark.parametrize(
    ("transform", "message"),
    [
        (v2.Resize(8), r"makes \(3, 8, 8\) of an image of \(3, 12, 12\); let it end in that size"),
        (v2.ToPILImage(), r"makes Image of an image of"),
        (v2.RandomCrop(40), "the augmentation failed on an image of .*; pass a transform of torchvision.transforms.v2"),
    ],
    ids=str,
)
def test_a_transform_that_cannot_be_is_named_in_a_line(transform: Any, message: str) -> None:
    with pytest.raises(sc.SecateurError, match=message):
        augmented(PIXELS[:1], transform, [(0,)])


def test_another_augmentation_is_other_data_but_not_the_default() -> None:
    marks = [sc.Data.of(*PARTS, augment=each).fingerprint for each in (None, "crop-flip", "none", "trivial", noisy)]
    assert marks[0] == marks[1]
    assert len({*marks}) == 4


def test_a_function_returns_the_transform(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text("from torchvision.transforms import v2\n\n\ndef make():\n    return v2.RandAugment()\n")
    assert isinstance(augment_called("mine.py:make"), v2.RandAugment)
    assert augment_called("trivial") == "trivial"
    with pytest.raises(sc.SecateurError, match="no augmentation is called 'randaug'; pass crop-flip, imagenet"):
        augment_called("randaug")
    Path("none.py").write_text("def make():\n    return 3\n")
    with pytest.raises(sc.SecateurError, match="returned int; return a transform"):
        augment_called("none.py:make")


def test_data_with_transforms_of_its_own_takes_no_augmentation() -> None:
    floats = [TensorDataset(torch.rand(8, 1, 8, 8), torch.arange(8) % 2)] * 3
    with pytest.raises(sc.SecateurError, match="leave it out: the data set's own transforms are the augmentation"):
        sc.Data.of(*floats, augment="trivial")
