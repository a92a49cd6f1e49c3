"""What a disk, a kill or an enemy may make of a file: functions from its content to another, None where it is gone."""

from collections.abc import Callable

Damage = Callable[[bytes], bytes | None]


def cut_to_nothing(content: bytes) -> bytes:
    """No byte is left."""
    return b""


def cut_in_half(content: bytes) -> bytes:
    """The first half is left."""
    return content[: len(content) // 2]


def cut_by_a_byte(content: bytes) -> bytes:
    """The last byte is lost."""
    return content[:-1]


def cut_by_a_line(content: bytes) -> bytes:
    """The last line is lost, and its end with it; of a file that is no text, what follows the last such byte."""
    return content[: content[:-1].rfind(b"\n") + 1]


def flipped(content: bytes) -> bytes:
    """One bit in the middle is another one."""
    return flipped_at(len(content) // 2, content)


def zeroed(content: bytes) -> bytes:
    """A stretch in the middle is zeros."""
    third = len(content) // 3
    return content[:third] + bytes(third) + content[2 * third :]


def inserted(content: bytes) -> bytes:
    """A byte more in the middle."""
    place = len(content) // 2
    return content[:place] + b"x" + content[place:]


def garbage(content: bytes) -> bytes:
    """Other bytes, as many."""
    return bytes((31 * place + 7) % 251 for place in range(len(content)))


def gone(content: bytes) -> None:
    """Deleted."""


def of_another_type(content: bytes) -> bytes:
    """JSON, and no record."""
    return b"[[1, null]]\n"


def deep(content: bytes) -> bytes:
    """JSON nested deeper than Python's stack."""
    return b"[" * 100_000 + b"]" * 100_000 + b"\n"


def huge(content: bytes) -> bytes:
    """A number of more digits than Python reads."""
    return b'{"format": ' + b"9" * 5_000 + b"}\n"


def in_another_encoding(content: bytes) -> bytes:
    """UTF-16, as an editor may save it."""
    return content.decode("latin-1").encode("utf-16")


def flipped_at(place: int, content: bytes) -> bytes:
    """One bit of the byte at this place is another one."""
    return content[:place] + bytes([content[place] ^ 1 << place % 8]) + content[place + 1 :]


DAMAGES: tuple[Damage, ...] = (
    cut_to_nothing,
    cut_in_half,
    cut_by_a_byte,
    cut_by_a_line,
    flipped,
    zeroed,
    inserted,
    garbage,
    gone,
    of_another_type,
    deep,
    huge,
    in_another_encoding,
)
