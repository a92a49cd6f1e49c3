"""One split of a data set: batches of plain images, of fixed views, or freshly augmented."""

from collections.abc import Callable, Iterable, Iterator, Sequence
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
from ..models.zoo.normalisation import MEAN, STD, Channels, Normalisation, require_normalised
from ..seeds import derive_generator
from .augment import PAD, Augment, Shape, augmented
from .content import content_of
from .order import shuffled, split_into, take_part, whole_batches
from .streaming import ImageStream, Stream

FIXED, NEW = 1, 2  # the seed of fixed views, and the stream of new ones

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

    def __post_init__(self) -> None:
        require_normalised(self.mean, self.std)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def normalisation(self) -> Normalisation:
        """Mean and standard deviation of the channels."""
        return Normalisation(self.mean, self.std)

    @property
    def example(self) -> Tensor:
        """Zeros like one image. Shape: → (1, 3, H, W) float32"""
        return torch.zeros(1, *self.shape)

    @cached_property
    def content(self) -> str:
        """16 hex digits that change with any pixel; of images that are streamed with those of 64."""
        return content_of(self, in_memory=not isinstance(self.read, ImageStream))

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
        read = self.read(shown) if view is None else self._fixed(shown, view)
        for indices, pixels in zip(shown, read, strict=True):
            yield Batch(self._normalised(pixels), self.labels[indices], indices)

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

        ``fixed``: numbers of the fixed views that are shown instead of new ones. ``part``: (number, of how many)
        yields that share of every batch, the very images that it has in the whole batch.

        Shape: images (views, B, 3, H, W) float32, normalised; labels and indices (B,) int64
        """
        whole = split_into(shuffled(len(self), seed), size)[start : self.steps(size)]
        mine = [take_part(batch, part) for batch in whole]
        if self.augment:
            seen = self._augmented(
                mine, [(FIXED, view) for view in fixed] or [(NEW, seed, view) for view in range(views)]
            )
        else:
            drawn = self._drawn(whole, seed, views, start, fixed=fixed)
            seen = self._cropped(mine, ([take_part(each, part) for each in draws] for draws in drawn))
        for indices, pixels in zip(mine, seen, strict=True):
            yield Views(self._normalised(pixels), self.labels[indices], indices)

    def _fixed(self, shown: Sequence[Tensor], view: int) -> Iterator[Tensor]:
        """A fixed view of each image. Shape: (B,) → (B, 3, H, W)"""
        if self.augment:
            return (views[0] for views in self._augmented(shown, [(FIXED, view)]))
        return (views[0] for views in self._cropped(shown, self._drawn(shown, 0, 1, fixed=[view])))

    def _augmented(self, shown: Sequence[Tensor], streams: Sequence[Stream]) -> Iterator[Tensor]:
        """A view of each image in each stream of seeds, by the transform. Shape: (B,) → (V, B, 3, H, W)"""
        if isinstance(self.read, ImageStream):
            yield from self.read.views(shown, streams)
            return
        assert self.augment is not None
        for indices, pixels in zip(shown, self.read(shown), strict=True):
            seeds = [[(*stream, each) for each in indices.tolist()] for stream in streams]
            yield torch.stack([augmented(pixels, self.augment, each) for each in seeds])

    def _cropped(self, shown: Sequence[Tensor], drawn: Iterable[Sequence[Tensor]]) -> Iterator[Tensor]:
        """The views of each image that were drawn. Shape: (B,), V x (B, 3) → (V, B, 3, H, W)"""
        for pixels, draws in zip(self.read(shown), drawn, strict=True):
            yield torch.stack([crop_and_flip(pixels, self.pad, each) for each in draws])

    def _drawn(
        self, whole: Sequence[Tensor], seed: int, views: int, start: int = 0, *, fixed: Sequence[int]
    ) -> Iterator[list[Tensor]]:
        """How the images of each batch are cropped and mirrored in each view. Shape: → V x (B, 3)

        A fixed view is drawn for all images at once, whatever the seed; new ones for batch number ``start`` and on.
        """
        always = [sample_crops(len(self), self.pad, self.flip, derive_generator(FIXED, view)) for view in fixed]
        for number, batch in enumerate(whole, start):
            generator = derive_generator(seed, 1 + number)
            new = (sample_crops(len(batch), self.pad, self.flip, generator) for _ in range(0 if fixed else views))
            yield [draws[batch] for draws in always] or list(new)

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
