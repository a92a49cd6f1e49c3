"""Samples of any map-style data set by position, the randomness of its own transforms fixed by a seed for each."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from ..errors import SecateurError, in_a_line
from ..seeds import random_streams
from .generators import generators_in, seed_generators
from .streaming import WORKERS, BatchLoader

Collate: TypeAlias = Callable[[list[Any]], Any]
Asked: TypeAlias = tuple[int, int]  # a position, and the seed of its transforms


PIXELS = (torch.uint8, torch.uint16)  # as files store them, not as networks take them


class Pair(NamedTuple):
    """Inputs and targets, of one sample or of a batch."""

    inputs: Any
    targets: Any


@dataclass(frozen=True, eq=False)
class SampleReader:
    """Reads batches of ``dataset``, many of them by workers that stay for the next pass.

    Args:
        dataset: Items are (input, target), and more that is left out.
        collate: What makes a batch of a list of items; None: torch's default.
        workers: At most this number of processes.
    """

    dataset: Any
    collate: Collate | None = None
    workers: int = WORKERS

    @classmethod
    def of(cls, loader: DataLoader[Any]) -> "SampleReader":
        """Reads the data set of a loader as it does, in another order."""
        return cls(loader.dataset, loader.collate_fn, loader.num_workers)

    def __call__(self, asked: Sequence[list[Asked]]) -> Iterator[Pair]:
        """The batch of each list of positions and seeds."""
        return map(_right, self._load(asked))

    def one(self, position: int = 0) -> Pair:
        """A batch of one sample."""
        return next(self([[(position, 0)]]))

    @cached_property
    def _load(self) -> BatchLoader:
        fetch = _Fetch(self.dataset, self.collate)
        return BatchLoader(fetch, fetch.batch, self.workers)


@dataclass(frozen=True, eq=False)
class _Fetch(Dataset[Any]):
    """Items and batches, or what is wrong with one as text: errors raised in workers grow a traceback."""

    dataset: Any
    collate: Collate | None

    def __getitem__(self, asked: Asked) -> Any:
        position, seed = asked
        try:
            with random_streams(seed):
                seed_generators(self._own, seed)
                item = self.dataset[position]
            return item if self.collate else _pair(item, f"item {position}")
        except SecateurError as error:
            return str(error)
        except Exception as error:
            return f"item {position} of the data set failed ({in_a_line(error)}); fix or leave it out"

    @cached_property
    def _own(self) -> list[Any]:
        """The generators of the data set's own, beside the global ones."""
        return generators_in(self.dataset)

    def batch(self, items: list[Any]) -> Pair | str:
        """The items as one batch."""
        wrong = [item for item in items if isinstance(item, str)]
        if wrong:
            return wrong[0]
        try:
            inputs, targets = _pair((self.collate or default_collate)(items), "a batch")
            _require_numbers(inputs)
            return Pair(tuple(inputs) if isinstance(inputs, list) else inputs, targets)
        except SecateurError as error:
            return str(error)
        except Exception as error:
            fix = "let all have one shape, or pass a DataLoader with a collate_fn"
            return f"the samples make no batch ({in_a_line(error)}); {fix}"


def as_tensors(inputs: Any) -> Any:
    """NumPy arrays as tensors, pictures with channels first; in tuples and dictionaries, too.

    >>> as_tensors(np.zeros((8, 6, 3), np.float32)).shape
    torch.Size([3, 8, 6])
    """
    if isinstance(inputs, np.ndarray):
        array = inputs.astype(np.float32) if inputs.dtype == np.float64 else inputs
        last = array.ndim == 3 and _is_channels(array.shape[2], min(array.shape[:2]))
        return torch.from_numpy(np.ascontiguousarray(array.transpose(2, 0, 1) if last else array))
    if isinstance(inputs, dict):
        return {name: as_tensors(each) for name, each in inputs.items()}
    return tuple(map(as_tensors, inputs)) if isinstance(inputs, (tuple, list)) else inputs


def _is_channels(last: int, side: int) -> bool:
    """Whether the last of three dimensions is the channels of a picture, by the shorter of the other two."""
    return last <= 4 < side or (last <= 16 and 2 * last <= side)  # satellites have 12 or 13 bands


def _pair(item: Any, what: str) -> Pair:
    """Its first two parts."""
    if not isinstance(item, (tuple, list)) or len(item) < 2:
        raise SecateurError(f"{what} of the data set is of type {type(item).__name__}; let each be (input, target)")
    return Pair(as_tensors(item[0]), item[1])


def _require_numbers(inputs: Any) -> None:
    parts = inputs.values() if isinstance(inputs, dict) else inputs if isinstance(inputs, (tuple, list)) else [inputs]
    for part in parts:
        if not isinstance(part, Tensor) or part.dtype in PIXELS:
            kind = (
                f"{str(part.dtype).removeprefix('torch.')} {tuple(part.shape[1:])}"
                if isinstance(part, Tensor)
                else type(part).__name__
            )
            fix = "let the data set's transforms make float tensors"
            raise SecateurError(f"an input is of type {kind}; {fix}")


def _right(batch: Any) -> Pair:
    if isinstance(batch, str):
        raise SecateurError(batch)
    return Pair(*batch)
