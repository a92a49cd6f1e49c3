"""How long work says how far it is: it yields updates, and whoever runs it reports them."""

from collections.abc import Callable, Generator
from typing import NamedTuple, TypeAlias, TypeVar

Result = TypeVar("Result")

Progress: TypeAlias = Callable[[str, int, int], None]  # what is being done, how much of it is done, of how much


class Update(NamedTuple):
    """How far a piece of work is: ``done`` of ``total``."""

    what: str
    done: int
    total: int


def silent(what: str, done: int, total: int) -> None:
    """Report nothing."""


def follow(work: Generator[Update, None, Result], progress: Progress) -> Result:
    """Run ``work`` to its end, report each of its updates, and return what it returns.

    >>> def counting():
    ...     yield Update("counting", 1, 2)
    ...     yield Update("counting", 2, 2)
    ...     return "done"
    >>> follow(counting(), lambda what, done, total: print(f"{what}: {done}/{total}"))
    counting: 1/2
    counting: 2/2
    'done'
    """
    results: list[Result] = []

    def kept() -> Generator[Update, None, None]:
        results.append((yield from work))

    for update in kept():
        progress(*update)
    return results[0]
