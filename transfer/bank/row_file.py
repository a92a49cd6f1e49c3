"""A file with a row for every image, that fills up: in one pass over the images, or as training shows them."""

import json
from pathlib import Path
from typing import TypeAlias

import torch
from torch import Tensor

from ...files import alone, commit
from ...models.files.tensors import write_tensors
from ...models.seal import seal
from .bank import read_teacher
from .journal import Journal

Rows: TypeAlias = dict[str, Tensor]  # by name, what is stored of some images (B, ...)
UNWRITTEN = {torch.float16: float("nan"), torch.float32: float("nan"), torch.int16: -1}
DTYPES = {"F16": torch.float16, "F32": torch.float32, "I16": torch.int16}  # as safetensors calls them


class RowFile:
    """What a teacher outputs for every image, in the file ``path`` or, until that is complete, beside it.

    ``rows`` are memory-mapped, by name, (N, ...) each; none before the first are written. Processes that open one file
    write and see the same rows. Rows that a kill or a damaged disk spoilt are missing again.
    """

    def __init__(self, path: Path, images: int) -> None:
        self.path, self.images, self.partial = path, images, path.with_suffix(".partial")
        self.journal, self.rows = Journal(self.partial), Rows()
        if path.exists():
            self.rows = read_teacher(path, images)
        elif self.journal.resumes:
            self._resume()

    def missing(self, indices: Tensor) -> Tensor:
        """Which of these images have no row yet. Shape: (B,) → (B,) bool"""
        if not self.rows:
            return torch.ones(len(indices), dtype=torch.bool)
        return _unwritten(self.rows["logits"][indices])

    def write(self, indices: Tensor, rows: Rows) -> None:
        """Write the rows of these images."""
        self.begin(rows)
        for name in self.rows:
            self.rows[name][indices] = rows[name]
        self.journal.add(self.rows, indices)

    def begin(self, rows: Rows) -> None:
        """Make an empty file for rows like these, unless there is one; another process may be doing so, too."""
        if self.rows:
            return
        with alone(self._lock):
            if not self.journal.resumes:
                self._replace({name: _blank(values, self.images) for name, values in rows.items()})
        self.rows = mapped(self.partial)

    def end(self) -> None:
        """Put the file in its place, if no row is missing."""
        if not self.path.exists() and self.rows and not bool(_unwritten(self.rows["logits"]).any()):
            seal(self.partial)
            commit(self.partial, self.path)
            self.journal.end()

    def _resume(self) -> None:
        """Go on with a partial file. Where some of it is spoilt, with a copy: another process may be using it."""
        with alone(self._lock):
            self.rows = mapped(self.partial)
            intact = self.journal.intact(self.rows)
            if bool((_unwritten(self.rows["logits"]) | intact).all()):
                return
            sound = {name: _blank(values, self.images) for name, values in self.rows.items()}
            for name, values in sound.items():
                values[intact] = self.rows[name][intact]
            self._replace(sound)
            self.rows = mapped(self.partial)
            self.journal.add(self.rows, intact.nonzero().flatten())

    def _replace(self, rows: Rows) -> None:
        """Put a new file in the place of the partial one, with a journal that knows of no rows."""
        write_tensors(rows, self.partial, temporary=self.path.with_suffix(".blank"))
        self.journal.begin()

    @property
    def _lock(self) -> Path:
        """Of all files of the bank: one process alone begins or repairs one."""
        return self.path.with_name("rows.lock")


def mapped(path: Path) -> Rows:
    """The tensors of a safetensors file; what is written to them is written to the file."""
    raw = torch.from_file(str(path), shared=True, size=path.stat().st_size, dtype=torch.uint8)
    start = 8 + int.from_bytes(raw[:8].numpy().tobytes(), "little")
    found = {}
    header = json.loads(raw[8:start].numpy().tobytes())
    header.pop("__metadata__", None)
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        found[name] = raw[start + begin : start + end].view(DTYPES[entry["dtype"]]).reshape(entry["shape"])
    return found


def _blank(rows: Tensor, images: int) -> Tensor:
    """Rows like these for so many images, none of them written. Shape: (B, ...) → (images, ...)"""
    return torch.full((images, *rows.shape[1:]), UNWRITTEN[rows.dtype], dtype=rows.dtype)


def _unwritten(logits: Tensor) -> Tensor:
    """Which rows are not written. Shape: (B, C) → (B,) bool"""
    return logits.isnan().any(1)
