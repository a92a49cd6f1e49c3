"""The policy for images: what can be read in colours is read, of an animation the first frame; the rest is named."""

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from secateur.data.sources import datasets
from secateur.errors import SecateurError

Make = Callable[[Path], None]
COLOUR = (250, 10, 20)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two classes of two images, for training and for testing."""
    for split in ("train", "test"):
        for name in ("cat", "dog"):
            (tmp_path / split / name).mkdir(parents=True)
            for number in range(2):
                Image.new("RGB", (8, 8), COLOUR).save(tmp_path / split / name / f"{number}.png")
    return tmp_path


def pixel(root: Path) -> tuple[int, ...]:
    """The first pixel of the first image that is tested on."""
    image, _ = datasets(f"imagefolder:{root}").parts[2][0]
    return tuple(int(value) for value in np.asarray(image)[0, 0])


def animated(path: Path) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in (COLOUR, (0, 0, 255))]
    frames[0].save(path, format="GIF", save_all=True, append_images=frames[1:])


def cmyk(path: Path) -> None:
    Image.new("CMYK", (8, 8), (0, 245, 235, 5)).save(path, format="JPEG", quality=100)


def palette(path: Path) -> None:
    Image.new("RGB", (8, 8), COLOUR).quantize(4).save(path, format="PNG")


def transparent(path: Path) -> None:
    Image.new("RGBA", (8, 8), (*COLOUR, 0)).save(path, format="PNG")


@pytest.mark.parametrize("make", [animated, cmyk, palette, transparent], ids=lambda make: make.__name__)
def test_images_of_other_modes_are_read_in_their_colours(root: Path, make: Make) -> None:
    make(root / "test" / "cat" / "0.png")
    assert pixel(root) == pytest.approx(COLOUR, abs=12)


def bomb(path: Path) -> None:
    """A valid PNG of 60,000 x 60,000 pixels: ten gigabytes, were it decoded."""
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b""))
    parts = (struct.pack(">I", len(d)) + kind + d + struct.pack(">I", zlib.crc32(kind + d)) for kind, d in chunks)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-30])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def text(path: Path) -> None:
    path.write_text("no image")


@pytest.mark.parametrize("make", [bomb, truncated, empty, text], ids=lambda make: make.__name__)
def test_an_image_that_can_not_be_read_is_named(root: Path, make: Make) -> None:
    make(root / "test" / "cat" / "0.png")
    with pytest.raises(SecateurError, match=r"cat/0\.png is not a readable image; remove or replace it"):
        pixel(root)
