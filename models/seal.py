"""Seals: a digest inside a safetensors file, by which a flipped bit or a lost stretch is found."""

import re
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path

from ..errors import SecateurError

SIZE = 16  # bytes of the digest
BLANK = {"blake2b": "0" * 2 * SIZE}  # what a file has in its metadata until it is sealed
_SEAL = re.compile(rb'"blake2b":"([0-9a-f]{32})"')
_LONGEST = 100_000_000  # bytes of a header, as safetensors itself allows
_BLOCK = 1 << 20


def seal(path: Path) -> None:
    """Write the digest of a file into it, where its metadata has ``BLANK``."""
    header = _header(path)
    place = _SEAL.search(header)
    assert place is not None, "it was written without BLANK"
    with path.open("r+b") as file:
        file.seek(place.start(1))
        file.write(_digest(path, header, place))


def is_intact(path: Path) -> bool:
    """Whether a file is as it was sealed. One that never was, as those of other programs, is taken as it is."""
    header = _header(path)
    place = _SEAL.search(header)
    return place is None or _digest(path, header, place) == place[1]


def require_intact(path: Path, fix: str) -> None:
    """Raise SecateurError, naming the file, where it is not as it was sealed."""
    if path.is_file() and not is_intact(path):
        raise SecateurError(f"{path} cannot be read (its content is not what was written); {fix}")


def _digest(path: Path, header: bytes, place: re.Match[bytes]) -> bytes:
    """Hex digits of all that is in a file but the seal."""
    digest = blake2b(header[: place.start(1)] + header[place.end(1) :], digest_size=SIZE)
    for block in _blocks(path, len(header)):
        digest.update(block)
    return digest.hexdigest().encode()


def _header(path: Path) -> bytes:
    """The header with its length in front; less where the file is cut, or is none of safetensors."""
    with path.open("rb") as file:
        length = file.read(8)
        return length + file.read(min(int.from_bytes(length, "little"), _LONGEST))


def _blocks(path: Path, start: int) -> Iterator[bytes]:
    with path.open("rb") as file:
        file.seek(start)
        while block := file.read(_BLOCK):
            yield block
