"""Batches read by worker processes that stay from pass to pass, and images that are decoded on demand by them."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ..errors import SecateurError
from .augment import Augment, augmented

MANY = 2000  # items of a pass from which on workers read them
WORKERS = 4

Stream: TypeAlias = tuple[int, ...]  # of seeds, one for each image: a view


@dataclass(frozen=True, eq=False)
class BatchLoader:
    """Reads batches of items, where a pass has many of them by workers that stay for the next pass.

    Args:
        dataset: Makes an item of what is asked for.
        collate: What makes a batch of a list of items.
        workers: At most this number of processes; 0: items are read here.
    """

    dataset: Any
    collate: Callable[[list[Any]], Any]
    workers: int = WORKERS
    _passes: list[Sequence[list[Any]]] = field(default_factory=list, init=False)  # the one that workers are at

    def __call__(self, asked: Sequence[list[Any]]) -> Iterator[Any]:
        """The batch of each list."""
        if min(self.workers, cores()) == 0 or sum(map(len, asked)) < MANY or self._passes:
            yield from (self.collate([self.dataset[each] for each in batch]) for batch in asked)
            return
        self._passes.append(asked)
        try:
            yield from self._loader
        finally:
            self._passes.clear()

    @cached_property
    def _loader(self) -> DataLoader[Any]:
        return DataLoader(
            self.dataset,
            batch_sampler=_Passes(self._passes),
            collate_fn=self.collate,
            num_workers=min(self.workers, cores()),
            persistent_workers=True,
            generator=torch.Generator(),  # else each pass would draw from the global random state
        )


@dataclass(frozen=True, eq=False)
class _Passes:
    """The batches of the pass that workers are at; a loader reads them again for each pass."""

    passes: list[Sequence[list[Any]]]

    def __iter__(self) -> Iterator[list[Any]]:
        return iter(self.passes[-1])


@dataclass(frozen=True, eq=False)
class ImageStream:
    """Decodes images by position whenever they are asked for, and augments them where they are decoded.

    Args:
        frames: Position → uint8 (3, H, W), or what is wrong with it as text.
        augment: The transform of ``views``.
        workers: At most this number of processes.
    """

    frames: Dataset[Tensor | str]
    augment: Augment | None = None
    workers: int = WORKERS

    def __call__(self, asked: Sequence[Tensor]) -> Iterator[Tensor]:
        """The images of each batch of positions. Shape: (B,) → uint8 (B, 3, H, W)"""
        return self._read(asked, ())

    def views(self, asked: Sequence[Tensor], streams: Sequence[Stream]) -> Iterator[Tensor]:
        """A view in each of these streams of seeds. Shape: (B,) → (V, B, 3, H, W)"""
        return (batch.transpose(0, 1) for batch in self._read(asked, tuple(streams)))

    def _read(self, asked: Sequence[Tensor], streams: tuple[Stream, ...]) -> Iterator[Tensor]:
        for batch in self._load([[(position, streams) for position in each.tolist()] for each in asked]):
            if isinstance(batch, str):
                raise SecateurError(batch)
            yield batch

    @cached_property
    def _load(self) -> BatchLoader:
        return BatchLoader(_Viewed(self.frames, self.augment), _stacked, self.workers)


@dataclass(frozen=True, eq=False)
class _Viewed(Dataset[Tensor | str]):
    """Images as they are, or their views; or what is wrong as text: errors raised in workers grow a traceback."""

    frames: Any
    augment: Augment | None

    def __getitem__(self, asked: tuple[int, tuple[Stream, ...]]) -> Tensor | str:
        position, streams = asked
        frame: Tensor | str = self.frames[position]
        if isinstance(frame, str) or not streams:
            return frame
        assert self.augment is not None
        try:
            return augmented([frame] * len(streams), self.augment, [(*stream, position) for stream in streams])
        except SecateurError as error:
            return str(error)


def _stacked(frames: list[Tensor | str]) -> Tensor | str:
    wrong = [frame for frame in frames if isinstance(frame, str)]
    return wrong[0] if wrong else torch.stack([frame for frame in frames if isinstance(frame, Tensor)])


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
