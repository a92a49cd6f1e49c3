"""How long work says how far it is."""

from collections.abc import Callable
from typing import TypeAlias

Progress: TypeAlias = Callable[[str, int, int], None]  # what is being done, how much of it is done, of how much


def silent(what: str, done: int, total: int) -> None:
    """Report nothing."""
