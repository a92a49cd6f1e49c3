"""One split of a data set: batches of plain images, of fixed views, or freshly augmented."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms.v2 import functional as tf

from ..models.split import Batch, Views
from ..models.tasks.classification import Classification
from ..models.tasks.task import Task
from ..models.zoo.normalisation import MEAN, STD, Channels, require_normalised
from ..seeds import derive_generator
from .order import shuffled, split_into, take_part, whole_batches

FIXED = 1  # the seed of fixed views

Shape: TypeAlias = tuple[int, int, int]
Reader: TypeAlias = Callable[[Sequence[Tensor]], Iterator[Tensor]]  # positions (B,) → uint8 (B, 3, H, W), in turn


@dataclass(frozen=True, eq=False)
class Images:
    """One split: ``read`` fetches its pixels, from memory or from disk.

    Shape: labels (N,) int64; ``pad`` in pixels; ``mean`` and ``std`` of channels scaled to 0..1; ``layout``: the
    memory format of batches
    """

    read: Reader
    labels: Tensor
    shape: Shape
    mean: Channels = MEAN
    std: Channels = STD
    flip: bool = True
    pad: int = 4
    layout: torch.memory_format = torch.contiguous_format
    task: Task = field(default_factory=Classification)

    def __post_init__(self) -> None:
        require_normalised(self.mean, self.std)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def example(self) -> Tensor:
        """Zeros like one image. Shape: → (1, 3, H, W) float32"""
        return torch.zeros(1, *self.shape)

    def at(self, positions: Tensor) -> Tensor:
        """The pixels of these images. Shape: (B,) → (B, 3, H, W) uint8"""
        return next(self.read([positions]))

    def steps(self, size: int) -> int:
        """Batches of ``size`` images an epoch has."""
        return whole_batches(len(self), size)

    def batches(self, size: int, limit: int | None = None, view: int | None = None) -> Iterator[Batch]:
        """The plain images, or a fixed view of them, in one fixed order that mixes the classes; at most ``limit``.

        Shape: images (B, 3, H, W) float32, normalised; labels and indices (B,) int64
        """
        shown = split_into(self._mixed[:limit], size)
        draws = None if view is None else self._fixed(view)
        for indices, pixels in zip(shown, self.read(shown), strict=True):
            seen = pixels if draws is None else crop_and_flip(pixels, self.pad, draws[indices])
            yield Batch(self._normalised(seen), self.labels[indices], indices)

    def epoch(
        self,
        size: int,
        seed: int,
        views: int = 1,
        start: int = 0,
        *,
        fixed: Sequence[int] = (),
        part: tuple[int, int] = (0, 1),
    ) -> Iterator[Views]:
        """The ``steps(size)`` shuffled and augmented batches of one epoch, from batch number ``start`` on.

        ``fixed``: numbers of the fixed views that are shown in place of new ones. ``part``: (number, of how many)
        yields that share of every batch, the very images that it has in the whole batch.

        Shape: images (views, B, 3, H, W) float32, normalised; labels and indices (B,) int64
        """
        whole = split_into(shuffled(len(self), seed), size)[start : self.steps(size)]
        mine, draws = [take_part(batch, part) for batch in whole], [self._fixed(view) for view in fixed]
        for number, (batch, indices, pixels) in enumerate(zip(whole, mine, self.read(mine), strict=True), start):
            generator = derive_generator(seed, 1 + number)
            new = (sample_crops(len(batch), self.pad, self.flip, generator) for _ in range(0 if fixed else views))
            each = [draw[indices] for draw in draws] or [take_part(draw, part) for draw in new]
            seen = torch.stack([crop_and_flip(pixels, self.pad, draw) for draw in each])
            yield Views(self._normalised(seen), self.labels[indices], indices)

    def _fixed(self, view: int) -> Tensor:
        """How every image is cropped and mirrored in this fixed view, whatever the seed of training. Shape: → (N, 3)"""
        return sample_crops(len(self), self.pad, self.flip, derive_generator(FIXED, view))

    @cached_property
    def _mixed(self) -> Tensor:
        return shuffled(len(self), 0)

    def _normalised(self, pixels: Tensor) -> Tensor:
        laid = pixels.flatten(0, -4).contiguous(memory_format=self.layout).view(pixels.shape)
        scaled = tf.to_dtype(laid, torch.float32, scale=True)
        return tf.normalize(scaled, list(self.mean), list(self.std), inplace=True)  # type: ignore[no-any-return]


def sample_crops(count: int, pad: int, flip: bool, generator: torch.Generator) -> Tensor:
    """For each image the row and column at which its crop begins, and whether it is mirrored. Shape: → (count, 3) int64

    torchvision.transforms.v2 draws one crop for a whole batch, a defect of published training code.
    """
    corners = torch.randint(2 * pad + 1, (2, count), generator=generator)
    mirrored = torch.rand(count, generator=generator) < (0.5 if flip else 0.0)
    return torch.stack([*corners, mirrored.long()], 1)


def crop_and_flip(pixels: Tensor, pad: int, draws: Tensor) -> Tensor:
    """The images cropped out of a black border of ``pad`` pixels and mirrored, each as it was drawn.

    Shape: pixels uint8 (B, 3, H, W), draws (B, 3) → as pixels
    """
    (top, left, mirrored), (height, width) = draws.T, pixels.shape[2:]
    windows = F.pad(pixels, [pad] * 4).unfold(2, height, 1).unfold(3, width, 1)  # (B, 3, 2p+1, 2p+1, H, W)
    crops = windows[torch.arange(len(pixels)), :, top, left]
    return torch.where(mirrored[:, None, None, None].bool(), crops.flip(3), crops)
