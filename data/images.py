"""One split of a data set: batches of plain images, of fixed views, or freshly augmented."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms.v2 import functional as tf

from ..models.split import Batch, Views
from ..models.tasks.classification import Classification
from ..models.tasks.task import Task
from ..seeds import derive_generator
from .augment import PAD, Augment, Shape, augmented
from .order import shuffled, split_into, take_part, whole_batches

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
FIXED, NEW = 1, 2  # the seed of fixed views, and the stream of new ones

Channels: TypeAlias = tuple[float, float, float]
Show: TypeAlias = Callable[[Tensor, Tensor], Tensor]  # pixels uint8 (B, 3, H, W), positions (B,) → pixels
Reader: TypeAlias = Callable[[Sequence[Tensor]], Iterator[Tensor]]  # positions (B,) → uint8 (B, 3, H, W), in turn


@dataclass(frozen=True, eq=False)
class Images:
    """One split: ``read`` fetches its pixels, from memory or from disk.

    ``augment``: a transform of each image in training; None: it is cropped out of a border of ``pad`` pixels, and
    mirrored. Every view of an image has a seed: new ones by epoch, fixed ones by their number.

    Shape: labels (N,) int64; ``pad`` in pixels; ``mean`` and ``std`` of channels scaled to 0..1; ``layout``: the
    memory format of batches
    """

    read: Reader
    labels: Tensor
    shape: Shape
    mean: Channels = MEAN
    std: Channels = STD
    flip: bool = True
    pad: int = PAD
    layout: torch.memory_format = torch.contiguous_format
    augment: Augment | None = None
    task: Task = field(default_factory=Classification)

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
        show = (lambda pixels, _: pixels) if view is None else self._fixed(view)
        for indices, pixels in zip(shown, self.read(shown), strict=True):
            yield Batch(self._normalised(show(pixels, indices)), self.labels[indices], indices)

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
        mine, always = [take_part(batch, part) for batch in whole], [self._fixed(view) for view in fixed]
        for number, (batch, indices, pixels) in enumerate(zip(whole, mine, self.read(mine), strict=True), start):
            show = always or self._new(len(batch), seed, number, views, part)
            seen = torch.stack([each(pixels, indices) for each in show])
            yield Views(self._normalised(seen), self.labels[indices], indices)

    def _fixed(self, view: int) -> Show:
        """How images are shown in this fixed view, whatever the seed of training."""
        if self.augment:
            return self._by_seed(FIXED, view)
        draws = sample_crops(len(self), self.pad, self.flip, derive_generator(FIXED, view))
        return lambda pixels, indices: crop_and_flip(pixels, self.pad, draws[indices])

    def _new(self, count: int, seed: int, number: int, views: int, part: tuple[int, int]) -> list[Show]:
        """How this part of batch ``number``, of ``count`` images in all, is shown in each of its new views."""
        if self.augment:
            return [self._by_seed(NEW, seed, view) for view in range(views)]
        generator = derive_generator(seed, 1 + number)
        draws = [take_part(sample_crops(count, self.pad, self.flip, generator), part) for _ in range(views)]
        return [partial(_cropped, draws=each, pad=self.pad) for each in draws]

    def _by_seed(self, *stream: int) -> Show:
        """The transform, each image with a seed of its own in this stream."""
        augment = self.augment
        assert augment is not None
        return lambda pixels, at: augmented(pixels, augment, [(*stream, each) for each in at.tolist()])

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


def _cropped(pixels: Tensor, _: Tensor, draws: Tensor, pad: int) -> Tensor:
    """The images of a batch as they were drawn for it."""
    return crop_and_flip(pixels, pad, draws)
