"""One split of samples as their data set has them: tensors of any shape, its own transforms, targets of any kind."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from ..models.inputs import Inputs, each_tensor, tensors
from ..models.split import Batch, Views
from ..models.tasks.task import Task
from ..models.zoo.normalisation import Normalisation
from ..seeds import derive_seed
from .content import content_of
from .order import shuffled, split_into, take_part, whole_batches
from .reading import Asked, Pair, SampleReader

PLAIN, FIXED, NEW = range(3)  # streams of seeds: samples as they are, fixed views, training
NUMBERS = 2**24  # of the inputs in a batch that is read: 111 pictures of 3x224x224


@dataclass(frozen=True, eq=False)
class Samples:
    """One split: ``read`` fetches batches of its data set, whose own transforms are the augmentation.

    The transforms of a sample draw from a seed of their own: its views in an epoch, its fixed views, and the sample as
    it is read in the search never change.

    Args:
        read: The reader.
        task: What outputs are judged by.
        labels: The class of every sample; None where targets are no classes. Shape: (N,) int64
        most: At most so many samples a batch that is read; None: as many as ``NUMBERS`` allow.
        memory_bytes: Batches that are read as they are stay in memory, up to this size.
        views: Reads what training shows, and fixed views; None: as ``read``, whose transforms are the augmentation.
        normalisation: Of the channels, where pictures are decoded here.
    """

    read: SampleReader
    task: Task
    labels: Tensor | None = None
    most: int | None = None
    memory_bytes: int = 0
    views: SampleReader | None = None
    normalisation: Normalisation | None = None
    _held: dict[tuple[int, int], Batch] = field(default_factory=dict, init=False)  # by first place, count

    def __len__(self) -> int:
        return len(self.read.dataset)

    @cached_property
    def example(self) -> Inputs:
        """Zeros like the inputs of one sample. Shape: leaves (1, ...)"""
        return each_tensor(torch.zeros_like, self.read.one().inputs)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of a sample's first input."""
        return tuple(tensors(self.example)[0].shape[1:])

    @cached_property
    def content(self) -> str:
        """16 hex digits that change with any number of 64 samples."""
        return content_of(self, in_memory=False)

    def at(self, positions: Tensor) -> Pair:
        """These samples, as they are. Shape: (B,) → leaves (B, ...)"""
        return next(self.read([_asked(positions, (PLAIN,))]))

    def steps(self, size: int) -> int:
        """Batches of ``size`` samples an epoch has."""
        return whole_batches(len(self), size)

    def batches(self, size: int, limit: int | None = None, view: int | None = None) -> Iterator[Batch]:
        """The samples, their transforms drawn once for all, or a fixed view of them, in one order; at most ``limit``.

        Batches may be smaller than ``size``: see ``most``.
        """
        asked = split_into(self._mixed[:limit], min(size, self._most))
        if view is not None:
            yield from self._read(asked, view)
            return
        held, places = dict(self._held), [(n * len(asked[0]), len(indices)) for n, indices in enumerate(asked)]
        pairs = zip(places, asked, strict=True)
        new = self._read([indices for place, indices in pairs if place not in held], None)
        free = self.memory_bytes - sum(map(_bytes, held.values()))
        for place in places:
            if place in held:
                yield held[place]
                continue
            batch = next(new)
            if _bytes(batch) <= free:
                self._held[place] = batch
                free -= _bytes(batch)
            yield batch

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
        """The ``steps(size)`` shuffled batches of one epoch, as ``Split.epoch`` says."""
        mine = [
            take_part(batch, part) for batch in split_into(shuffled(len(self), seed), size)[start : self.steps(size)]
        ]
        new = [(NEW, seed, view) for view in range(views)]
        streams: Sequence[tuple[int, ...]] = [(FIXED, view) for view in fixed] or new
        read = (self.views or self.read)([_asked(batch, stream) for batch in mine for stream in streams])
        for indices in mine:
            shown = list(islice(read, len(streams)))
            images, targets = (tree_map(_stacked, *(getattr(pair, name) for pair in shown)) for name in Pair._fields)
            yield Views(images, targets if self.labels is None else self.labels[indices], indices)

    def _read(self, asked: Sequence[Tensor], view: int | None) -> Iterator[Batch]:
        stream = (PLAIN,) if view is None else (FIXED, view)
        read = self.read if view is None else self.views or self.read
        pairs = read([_asked(indices, stream) for indices in asked])
        for indices, (inputs, targets) in zip(asked, pairs, strict=True):
            yield Batch(inputs, targets if self.labels is None else self.labels[indices], indices)

    @cached_property
    def _mixed(self) -> Tensor:
        return shuffled(len(self), 0)

    @cached_property
    def _most(self) -> int:
        return self.most or max(2, NUMBERS // max(x.numel() for x in tensors(self.example)))


def _asked(indices: Tensor, stream: tuple[int, ...]) -> list[Asked]:
    """The positions, and a seed for each that is its own in this stream."""
    return [(position, derive_seed(*stream, position)) for position in indices.tolist()]


def _stacked(*views: Any) -> Any:
    """The views of a batch as one tensor; what is no tensor as in the first. Shape: V x (B, ...) → (V, B, ...)"""
    return torch.stack(views) if isinstance(views[0], Tensor) else views[0]


def _bytes(batch: Batch) -> int:
    return sum(x.nbytes for x in tensors(batch))
