"""A split's content in a few digits."""

from dataclasses import replace

import pytest
import torch
from torch.utils.data import TensorDataset

from secateur.data.dataset import Data
from secateur.data.images import Images


def held(changed: int | None = None, count: int = 200) -> Images:
    """Noise in memory, but for a bit of one image."""
    pixels = torch.randint(256, (count, 3, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    if changed is not None:
        pixels[changed, 1, 2, 3] ^= 1
    return Images(lambda chunks: (pixels[chunk] for chunk in chunks), torch.arange(count) % 4, (3, 4, 4))


@pytest.mark.parametrize("changed", [0, 1, 98, 199])
def test_any_bit_of_any_image_in_memory_changes_it(changed: int) -> None:
    assert held(changed).content != held().content == held().content


def test_the_normalisation_changes_it() -> None:
    assert replace(held(), mean=(0.5, 0.5, 0.5)).content != held().content


@pytest.mark.parametrize("memory_bytes", [0, 1 << 20])
def test_of_images_that_are_streamed_64_are_read(memory_bytes: int) -> None:
    labels = torch.arange(200) % 4
    before, after = (
        Data.of(*[TensorDataset(held(changed).at(torch.arange(200)), labels)] * 3, memory_bytes=memory_bytes, workers=0)
        for changed in (None, 1)
    )
    assert (before.content == after.content) is (memory_bytes == 0)


def test_samples_of_other_numbers_have_another_one() -> None:
    inputs, targets = torch.randn(12, 5, generator=torch.Generator().manual_seed(0)), torch.arange(12) % 3
    parts = [TensorDataset(each, targets) for each in (inputs, inputs + 1)]
    one, other = (Data.of(part, part, part) for part in parts)
    assert one.content != other.content
