"""Progress on stderr: bars with the time left on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars
from rich.progress import TimeRemainingColumn as TimeLeft

from ..progress import Progress, silent

LINE_EVERY = 10.0  # seconds between plain lines, where there is no terminal


@contextmanager
def bars(quiet: bool, heading: str = "") -> Iterator[Progress]:
    """A callback (what, done, total): bars on a terminal, plain lines elsewhere, nothing if ``quiet``.

    The ``heading`` comes first, where there is one.
    """
    if heading and not quiet:
        print(heading, file=sys.stderr, flush=True)
    if quiet:
        yield silent
    elif sys.stderr.isatty():
        yield from _on_terminal()
    else:
        yield _Lines()


def _on_terminal() -> Iterator[Progress]:
    columns = (TextColumn("{task.description:<28}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeLeft())
    tasks: dict[str, TaskID] = {}
    with Bars(*columns, console=Console(stderr=True)) as progress:

        def show(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(what, total=total)
            progress.update(tasks[what], completed=done)

        yield show


class _Lines:
    """A line when something begins or ends, and every ten seconds between, with the time left."""

    def __init__(self) -> None:
        self._what, self._start, self._said, self._from = "", 0.0, 0.0, 0

    def __call__(self, what: str, done: int, total: int) -> None:
        now = time.perf_counter()
        if what != self._what:
            self._what, self._start, self._said, self._from = what, now, now, done
        elif done < total and now - self._said < LINE_EVERY:
            return
        self._said = now
        done_here = done - self._from
        left = f", {(now - self._start) / done_here * (total - done):.0f} s left" if done_here and done < total else ""
        print(f"{what}: {done}/{total}{left}", file=sys.stderr, flush=True)
