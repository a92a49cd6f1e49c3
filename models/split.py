"""The interface of data to every stage: batches that know which images they hold."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol

from torch import Tensor

from .inputs import Inputs
from .tasks.task import Task


class Batch(NamedTuple):
    """Images as the network takes them, their targets, and their positions in the split.

    Images are a tensor, or several in a tuple or dictionary: other inputs than pictures, too. Targets are classes, or
    whatever the task judges outputs by.

    Shape: images (B, channels, height, width) float, normalised; labels (B,) int64, or (B, ...); indices (B,) int64
    """

    images: Inputs
    labels: Any
    indices: Tensor


class Views(NamedTuple):
    """One training batch: ``V`` views of each image, each with its own augmentation.

    Of a split without class numbers ``labels`` are the targets of each view, since augmentation changes masks, too.

    Shape: images (V, B, channels, height, width) float, normalised; labels (B,) int64, or (V, B, ...); indices (B,)
    int64
    """

    images: Inputs
    labels: Any
    indices: Tensor


class Split(Protocol):
    """A part of a data set: train, holdout or test."""

    @property
    def task(self) -> Task:
        """What outputs are judged by."""

    @property
    def labels(self) -> Tensor | None:
        """The class of every image, by position, (N,) int64; None where targets are no classes."""

    @property
    def content(self) -> str:
        """A few digits that change with the images."""

    def __len__(self) -> int:
        """The number of images."""

    def batches(self, size: int, limit: int | None = None, view: int | None = None) -> Iterator[Batch]:
        """The images as they are, in one fixed order that mixes the classes; at most ``limit`` of them.

        Batch statistics are only right where a batch mixes the classes, so the order is a seeded shuffle that never
        changes, not the order of the files. ``view``: yield the fixed view of this number instead of each image; the
        augmentation of view 3 of an image never changes.
        """

    def steps(self, size: int) -> int:
        """The number of batches of ``size`` in an epoch."""

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
        """Shuffled and augmented batches of one epoch, from batch number ``start`` on.

        All randomness comes from ``seed`` and the batch number, so an epoch can be resumed anywhere. ``fixed``: numbers
        of fixed views to yield instead of ``views`` new ones. ``part``: (index, count) of the part of every batch to
        yield, for processes that share it.
        """
