"""How pictures are read: sized, normalised, augmented, and held in memory or streamed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from torch import Tensor
from torchvision.transforms.v2 import functional as tf

from ..errors import SecateurError
from ..models.zoo.normalisation import IMAGENET, WHOLE, Channels, Crop, Normalisation, require_normalised
from .augment import Augment, Shape, augmentation
from .streaming import WORKERS

ReadProgress: TypeAlias = Callable[[int, int], None]  # images read, images in all
MEMORY = 2_000_000_000  # bytes of images that are held


@dataclass(frozen=True, eq=False)
class ReadForm:
    """The options of ``Data.of`` that say how pictures are read.

    Args:
        shape: (3, height, width); None: the pictures' own, where they agree.
        mean: Of the channels; None: as ``usual``.
        std: Likewise.
        usual: The normalisation that holds where no other is asked for.
        crop: How pictures of another size than ``shape`` are cropped.
        flip: Whether a mirrored picture keeps its class.
        augment: The name of an augmentation, or a transform; None: the usual one.
        workers: At most so many processes that read; None: the usual number.
        memory_bytes: Held in memory is what takes at most this.
        progress: Called with (images read, images in all).
    """

    shape: Shape | None = None
    mean: Channels | None = None
    std: Channels | None = None
    usual: Normalisation = IMAGENET
    crop: Crop = WHOLE
    flip: bool = True
    augment: str | Callable[..., Any] | None = None
    workers: int | None = None
    memory_bytes: int = MEMORY
    progress: ReadProgress | None = None

    def __post_init__(self) -> None:
        require_normalised(self.mean, self.std)
        if self.workers is not None and self.workers < 0:
            raise SecateurError(f"workers={self.workers}; pass 0 or more")

    @property
    def size(self) -> Shape:
        """The shape, of a form that has one."""
        assert self.shape is not None
        return self.shape

    @property
    def normalisation(self) -> Normalisation:
        """Mean and standard deviation of the channels."""
        return Normalisation(self.mean or self.usual.mean, self.std or self.usual.std)

    @property
    def augmentation(self) -> Augment | None:
        """What training shows of an image, as ``augmentation`` says."""
        return augmentation(self.augment, self.size, self.flip)

    @property
    def processes(self) -> int:
        """At most so many that read."""
        return WORKERS if self.workers is None else self.workers

    def sized(self, shape: Callable[[], Shape]) -> "ReadForm":
        """The same with a shape, this one where none was asked for."""
        return self if self.shape else replace(self, shape=shape())


def shape_of(shape: Sequence[int] | None) -> Shape | None:
    """A shape as it was passed. Raises SecateurError where it is none of three channels."""
    if shape is None:
        return None
    if len(shape) != 3 or shape[0] != 3 or min(shape) < 1:
        raise SecateurError(f"images of shape {tuple(shape)}; pass (3, height, width); grey images become colour")
    return (shape[0], shape[1], shape[2])


def fitted(pixels: Tensor, wanted: Shape, crop: Crop, *, nearest: bool = False) -> Tensor:
    """Pictures at the wanted size: scaled until the crop covers it, then cropped about the centre.

    Those that have the size stay as they are. ``nearest``: each pixel is one that was there, as maps need it.

    Shape: pixels (..., H, W), wanted (3, height, width) → (..., height, width)
    """
    here, there = pixels.shape[-2:], wanted[1:]
    size = scaled_size(here, [int(side / crop.share) for side in there])
    if size != list(here) and tuple(here) != tuple(there):
        mode = "nearest-exact" if nearest else crop.interpolation
        channels = pixels.reshape(-1, *here)
        pixels = tf.resize(channels, size, MODES[mode], antialias=not nearest).reshape(*pixels.shape[:-2], *size)
    return tf.center_crop(pixels, list(there))  # type: ignore[no-any-return]


MODES = {mode.value: mode for mode in tf.InterpolationMode}


def scaled_size(size: Sequence[int], wanted: Sequence[int]) -> list[int]:
    """The size in the same proportions that just covers the wanted one, (height, width) each.

    >>> scaled_size((480, 640), (224, 224))
    [224, 299]
    """
    scale = max(want / side for want, side in zip(wanted, size, strict=True))
    return [round(side * scale) for side in size]
