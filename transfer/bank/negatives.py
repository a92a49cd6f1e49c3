"""Negatives: images of other classes, those most similar to an image, or any."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import faiss
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ...errors import in_a_line
from ...files import alone, write_whole
from ...models.tracing.atoms import BoolArray, IntArray

EXACT = 1_000_000  # keys up to which all are compared
LISTS = 256  # lists of an inverted file that are searched beyond those that the excluded keys may fill

Vectors: TypeAlias = npt.NDArray[np.float32]
Negatives: TypeAlias = Callable[[Tensor], Tensor]  # positions of images (B,) → positions of others (B, M)


def write_index(keys: Tensor, path: Path, exact: int = EXACT) -> None:
    """Write an inner-product index of unit-length keys, in order of position: exact for at most ``exact`` keys.

    Beyond that, an inverted file of 4·√N lists with keys in 8 bits. Shape: keys (N, D)
    """
    vectors = np.ascontiguousarray(keys.numpy(), np.float32)
    form = "Flat" if len(vectors) <= exact else f"IVF{int(4 * len(vectors) ** 0.5)},SQ8"
    index = faiss.index_factory(vectors.shape[1], form, faiss.METRIC_INNER_PRODUCT)
    index.train(vectors)
    index.add(vectors)
    with alone(path.with_suffix(".lock")):  # processes of one training may write it at the same time
        write_whole(path, lambda place: _write(index, place))


def _write(index: Any, path: Path) -> None:
    try:
        faiss.write_index(index, str(path))
    except RuntimeError as error:  # of a full disk, in words of its own
        raise OSError(in_a_line(error)) from error


def hard_negatives(path: Path, labels: Tensor, count: int) -> Tensor:
    """Positions of the ``count`` nearest keys of other classes, for every key of the index.

    The search goes class by class and excludes the keys of that class: without this, nearly all nearest keys
    would be of the same class. It runs on as many threads as torch does.

    Shape: labels (N,) → (N, count) int64
    """
    faiss.omp_set_num_threads(torch.get_num_threads())
    index: Any = faiss.read_index(str(path))
    exact = isinstance(index, faiss.IndexFlat)
    if not exact:
        index.make_direct_map()
    keys = index.reconstruct_n(0, index.ntotal)
    found = np.empty((len(labels), min(count, _fewest_others(labels))), np.int64)
    for label in range(int(labels.max()) + 1):
        own = (labels == label).numpy()
        search = all_others if exact else near_lists
        found[own] = search(index, keys[own], ~own, found.shape[1])
    return torch.from_numpy(found)


def all_others(index: Any, queries: Vectors, others: BoolArray, count: int) -> IntArray:
    """Positions of the nearest of these keys, exactly. Shape: queries (Q, D), others (N,) → (Q, count)"""
    positions = np.flatnonzero(others)
    part = faiss.IndexFlatIP(index.d)
    part.add(index.reconstruct_batch(positions))
    return positions[part.search(queries, count)[1]]


def near_lists(index: Any, queries: Vectors, others: BoolArray, count: int) -> IntArray:
    """The same, from the nearest lists: as many as the excluded keys may fill, and ``LISTS`` more."""
    chosen = faiss.IDSelectorBitmap(np.packbits(others, bitorder="little"))  # type: ignore[call-arg, arg-type]
    lists = min(index.nlist, int(np.ceil(index.nlist * (1 - others.mean()))) + LISTS)
    how = faiss.SearchParametersIVF(sel=chosen, nprobe=lists)  # type: ignore[call-arg]
    found: IntArray = index.search(queries, count, params=how)[1]
    return found


def random_negatives(labels: Tensor, count: int) -> Negatives:
    """Any images of other classes, drawn again at every call, with replacement, from torch's global random state.

    Shape: labels (N,)
    """
    order, sizes = labels.argsort(stable=True), labels.bincount()
    first = sizes.cumsum(0) - sizes  # of each class, in that order

    def drawn(indices: Tensor) -> Tensor:
        own = labels[indices][:, None]
        places = (torch.rand(len(indices), count, dtype=torch.float64) * (len(labels) - sizes[own])).long()
        return order[torch.where(places < first[own], places, places + sizes[own])]

    return drawn


def _fewest_others(labels: Tensor) -> int:
    return int(len(labels) - labels.bincount().max())
