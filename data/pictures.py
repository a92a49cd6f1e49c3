"""Pictures as they are stored, in eight bits a colour and upright."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from ..errors import SecateurError

WIDE = ("I;16", "I;16L", "I;16B", "I;16N", "I")  # Pillow's modes of greys in 16 bits


def open_picture(path: str | Path) -> Image.Image:
    """The picture in a file, as ``in_colour`` has it. Raises SecateurError, naming the file, where there is none."""
    try:
        with Image.open(path) as image:
            return in_colour(image)
    except SecateurError as error:
        raise SecateurError(f"{path}: {error}") from error
    except Exception as error:  # by format Pillow raises OSError, SyntaxError, struct.error, ...
        raise SecateurError(f"{path} is not a readable image; remove or replace it") from error


def in_colour(image: Image.Image) -> Image.Image:
    """A picture in RGB, turned as its EXIF orientation says.

    Greys of 16 bits are scaled to 8; Pillow would clip them to white. Transparency is dropped, as torchvision's loader
    does: a transparent pixel has the colour that is stored beneath.

    >>> wide = Image.fromarray(np.full((1, 1), 0x8040, np.uint16))
    >>> in_colour(wide).getpixel((0, 0))
    (128, 128, 128)
    """
    upright = ImageOps.exif_transpose(image)
    return (_in_8_bits(upright) if upright.mode in WIDE else _plain(upright)).convert("RGB")


def _in_8_bits(grey: Image.Image) -> Image.Image:
    values = np.asarray(grey).astype(np.int64)
    if values.size and not 0 <= values.min() <= values.max() < 1 << 16:
        raise SecateurError(f"a picture of greys from {values.min()} to {values.max()}; store 8 or 16 bits a pixel")
    return Image.fromarray((values >> 8).astype(np.uint8))


def _plain(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise SecateurError("a picture of floats, whose range is not known; store 8 or 16 bits a pixel")
    return image
