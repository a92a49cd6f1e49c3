"""Hard negatives: for every image, the keys of other classes that look most like its own."""

from pathlib import Path

import faiss
import numpy as np
import torch
from torch import Tensor


def write_index(keys: Tensor, path: Path) -> None:
    """An exact inner-product index of unit-length keys, position by position. Shape: keys (N, D)"""
    index = faiss.IndexFlatIP(keys.shape[1])
    index.add(np.ascontiguousarray(keys.numpy(), np.float32))
    partial = path.with_suffix(".partial")
    faiss.write_index(index, str(partial))
    partial.replace(path)


def hard_negatives(path: Path, labels: Tensor, count: int) -> Tensor:
    """Positions of the ``count`` nearest keys of other classes, for every key of the index.

    The search is told class by class which keys to pass over: asked without that, the nearest keys would
    nearly all be of the same class. Exact. Runs on as many threads as torch does.

    Shape: labels (N,) → (N, count) int64
    """
    faiss.omp_set_num_threads(torch.get_num_threads())
    index = faiss.read_index(str(path))
    keys = index.reconstruct_n(0, index.ntotal)
    found = np.empty((len(labels), min(count, _fewest_others(labels))), np.int64)
    for label in range(int(labels.max()) + 1):
        own = (labels == label).numpy()
        others = np.flatnonzero(~own)
        part = faiss.IndexFlatIP(index.d)
        part.add(keys[others])
        found[own] = others[part.search(keys[own], found.shape[1])[1]]
    return torch.from_numpy(found)


def _fewest_others(labels: Tensor) -> int:
    return int(len(labels) - labels.bincount().max())
