"""What every stage asks of data: batches that know which images they hold."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

from torch import Tensor


class Batch(NamedTuple):
    """Images as the network takes them, their classes, and their positions in the split.

    Shape: images (B, channels, height, width) float, normalised; labels (B,) int64; indices (B,) int64
    """

    images: Tensor
    labels: Tensor
    indices: Tensor


class Views(NamedTuple):
    """One training batch: each image seen ``V`` times, every time augmented anew.

    Shape: images (V, B, channels, height, width) float, normalised; labels (B,) int64; indices (B,) int64
    """

    images: Tensor
    labels: Tensor
    indices: Tensor


class Split(Protocol):
    """A part of a data set: train, holdout or test."""

    @property
    def labels(self) -> Tensor:
        """The class of every image, by position; (N,) int64."""

    def __len__(self) -> int:
        """How many images there are."""

    def batches(self, size: int, limit: int | None = None, view: int | None = None) -> Iterator[Batch]:
        """The images as they are, in one fixed order that mixes the classes; at most ``limit`` of them.

        Batch statistics are only right where a batch mixes the classes, so the order is a seeded
        shuffle that never changes, not the order of the files. ``view``: the number of a fixed view of each image
        that is given in its place: view 3 of an image is augmented in one way, for ever.
        """

    def steps(self, size: int) -> int:
        """How many batches of ``size`` an epoch has."""

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

        All randomness comes from ``seed`` and the batch number, so an epoch can be taken up anywhere. ``fixed``: the
        numbers of the fixed views that are shown in place of ``views`` new ones. ``part``: which of how many
        parts of every batch is given, for processes that share it.
        """
