"""Which batches of a file that is being filled are written, and what they were: a resumed filling trusts no others."""

from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path

from torch import Tensor

from ...files import append_line

_HEADER = 1 << 16  # bytes, more than the header of a bank's file has


class Journal:
    """A line for the empty file, then one for each batch, each with a digest; beside the file ``partial``.

    A kill, a power cut or a damaged disk leave batches whose digest is another one, and these are not ``has``.
    """

    def __init__(self, partial: Path) -> None:
        self.partial, self.path = partial, partial.with_suffix(".journal")
        lines = self.path.read_bytes().splitlines() if self.path.exists() and partial.exists() else []
        self._lines = set(lines) if lines and lines[0] == self._begun() else set()

    @property
    def resumes(self) -> bool:
        """Whether there is a file to go on with."""
        return bool(self._lines)

    def begin(self) -> None:
        """Note that the file is there, and empty."""
        self.path.unlink(missing_ok=True)
        append_line(self.path, self._begun().decode())

    def has(self, stored: Mapping[str, Tensor], indices: Tensor) -> bool:
        """Whether this batch was written and is still what was written."""
        return _digest(stored, indices) in self._lines

    def add(self, stored: Mapping[str, Tensor], indices: Tensor) -> None:
        """Note that a batch is written."""
        append_line(self.path, _digest(stored, indices).decode())

    def end(self) -> None:
        """Forget all: the file is complete."""
        self.path.unlink(missing_ok=True)

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
