"""Pictures in eight bits and upright."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from secateur.data.pictures import in_colour, open_picture
from secateur.errors import SecateurError

ORIENTATION = 0x0112  # EXIF's tag


def test_greys_of_16_bits_are_scaled_and_not_clipped(tmp_path: Path) -> None:
    steps = np.arange(0, 1 << 16, 257, dtype=np.uint16)[None]
    Image.fromarray(steps).save(tmp_path / "wide.png")
    read = np.asarray(open_picture(tmp_path / "wide.png"))
    assert (read == np.arange(256)[None, :, None]).all()


def test_a_photo_is_turned_as_its_camera_noted(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(256, size=(4, 6, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[ORIENTATION] = 6  # the camera was turned: rotate by 270 degrees
    Image.fromarray(pixels).save(tmp_path / "turned.png", exif=exif)
    np.testing.assert_array_equal(open_picture(tmp_path / "turned.png"), np.rot90(pixels, 3))


def test_a_transparent_pixel_has_the_colour_beneath() -> None:
    pixels = np.random.default_rng(0).integers(256, size=(3, 3, 4), dtype=np.uint8)
    np.testing.assert_array_equal(in_colour(Image.fromarray(pixels)), pixels[..., :3])


def test_usual_pictures_are_what_pillow_converts_them_to() -> None:
    pixels = np.random.default_rng(0).integers(256, size=(5, 7), dtype=np.uint8)
    for mode in ("L", "RGB", "P", "1", "CMYK", "YCbCr"):
        image = Image.fromarray(pixels).convert(mode)
        assert in_colour(image).tobytes() == image.convert("RGB").tobytes()


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (Image.fromarray(np.ones((2, 2), np.float32)), "a picture of floats, whose range is not known"),
        (Image.fromarray(np.array([[-3, 7]], np.int32)), "greys from -3 to 7; store 8 or 16 bits"),
        (Image.fromarray(np.array([[0, 1 << 20]], np.int32)), "greys from 0 to 1048576"),
    ],
)
def test_a_picture_without_a_known_range_is_refused(image: Image.Image, said: str) -> None:
    with pytest.raises(SecateurError, match=said):
        in_colour(image)


def test_the_file_is_named(tmp_path: Path) -> None:
    Image.fromarray(np.ones((2, 2), np.float32)).save(tmp_path / "depth.tiff")
    with pytest.raises(SecateurError, match=r"depth\.tiff: a picture of floats"):
        open_picture(tmp_path / "depth.tiff")
