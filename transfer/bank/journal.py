"""Which rows of a file that is being filled are written, and what they were: a resumed filling trusts no others."""

from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path

import torch
from torch import Tensor

from ...files import writing

_HEADER = 1 << 16  # bytes, more than the header of a bank's file has


class Journal:
    """A line for the empty file, then one for each batch of rows, with a digest of them; beside the file ``partial``.

    A kill, a power cut or a damaged disk leave rows whose digest is another one, and these are not ``intact``. Several
    processes may add lines.
    """

    def __init__(self, partial: Path) -> None:
        self.partial, self.path = partial, partial.with_suffix(".journal")

    @property
    def resumes(self) -> bool:
        """Whether there is a file to go on with."""
        lines = self._lines() if self.partial.exists() else []
        return bool(lines) and lines[0] == self._begun()

    def begin(self) -> None:
        """Note that the file is there, and empty."""
        self.path.unlink(missing_ok=True)
        self._append(self._begun())

    def intact(self, stored: Mapping[str, Tensor]) -> Tensor:
        """The rows that were written and are still what was written. Shape: → (N,) bool"""
        found = torch.zeros(len(next(iter(stored.values()))), dtype=torch.bool)
        for digest, indices in self._batches():
            if not len(indices) or (int(indices.min()) >= 0 and int(indices.max()) < len(found)):
                found[indices] |= digest == _digest(stored, indices)
        return found

    def add(self, stored: Mapping[str, Tensor], indices: Tensor) -> None:
        """Note that these rows are written. Shape: indices (B,) int64"""
        self._append(_digest(stored, indices) + b" " + b64encode(indices.numpy().tobytes()))

    def end(self) -> None:
        """Forget all: the file is complete."""
        self.path.unlink(missing_ok=True)

    def _batches(self) -> Iterator[tuple[bytes, Tensor]]:
        """The digest and the rows of every batch; a line that a kill cut short, or that is damaged, is left out."""
        for line in self._lines()[1:]:
            digest, _, rows = line.partition(b" ")
            with suppress(ValueError):
                yield digest, torch.frombuffer(bytearray(b64decode(rows, validate=True)), dtype=torch.int64)

    def _lines(self) -> list[bytes]:
        return self.path.read_bytes().splitlines() if self.path.exists() else []

    def _append(self, line: bytes) -> None:
        """Add a line in one write, so that lines of several processes do not mix."""
        with writing(self.path), self.path.open("ab", buffering=0) as file:
            file.write(line + b"\n")

    def _begun(self) -> bytes:
        """The file's size and a digest of its header."""
        with self.partial.open("rb") as file:
            length = file.read(8)
            header = file.read(min(int.from_bytes(length, "little"), _HEADER))
        return f"{self.partial.stat().st_size} {blake2b(length + header, digest_size=16).hexdigest()}".encode()


def _digest(stored: Mapping[str, Tensor], indices: Tensor) -> bytes:
    digest = blake2b(indices.numpy().tobytes(), digest_size=16)
    for name in sorted(stored):
        digest.update(stored[name][indices].contiguous().numpy().tobytes())
    return digest.hexdigest().encode()
