"""Progress on stderr: bars with the time left on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars
from rich.progress import TimeRemainingColumn as TimeLeft

from ..models.score import PERCENT
from ..progress import Epoch, Evaluation, Observer

LINE_EVERY = 10.0  # seconds between plain lines, where there is no terminal


@contextmanager
def bars(quiet: bool, heading: str = "") -> Iterator[Observer]:
    """An observer that shows bars on a terminal, plain lines elsewhere, nothing if ``quiet``.

    The ``heading`` comes first, where there is one.
    """
    if heading and not quiet:
        print(heading, file=sys.stderr, flush=True)
    if quiet:
        yield Observer()
    elif sys.stderr.isatty():
        yield from _on_terminal()
    else:
        lines = _Lines()
        yield Observer(lines, lines.epoch, lines.evaluation, _print)


def epoch_line(epoch: Epoch) -> str:
    """What an epoch came to, in a line.

    >>> epoch_line(Epoch(epoch=3, epochs=10, step=9, steps=30, loss=0.51, learning_rate=0.04, seconds=1.0, holdout=0.9))
    'epoch 3/10: loss 0.5100, lr 0.04, holdout 90.00%'
    """
    said = f"epoch {epoch.epoch}/{epoch.epochs}: loss {epoch.loss:.4f}, lr {epoch.learning_rate:.3g}"
    if epoch.holdout is None:
        return said
    return f"{said}, holdout {epoch.holdout:.2%}" if epoch.metric in PERCENT else f"{said}, holdout {_value(epoch)}"


def _value(epoch: Epoch) -> str:
    return f"{epoch.holdout:.4g} {epoch.metric}"


def _best(evaluation: Evaluation) -> str:
    """The best loss so far, behind the name of the search."""
    return "" if evaluation.best is None else f", best loss {evaluation.best:.4f}"


def _on_terminal() -> Iterator[Observer]:
    columns = (TextColumn("{task.description:<28}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeLeft())
    tasks: dict[str, TaskID] = {}
    with Bars(*columns, console=Console(stderr=True)) as progress:

        def show(what: str, done: int, total: int) -> None:
            if what not in tasks:
                for other in tasks.values():
                    progress.stop_task(other)  # its clock, too
                tasks[what] = progress.add_task(what, total=total)
            progress.update(tasks[what], completed=done)

        def say(text: str) -> None:
            progress.console.print(text, markup=False, highlight=False, soft_wrap=True)

        def rename(evaluation: Evaluation) -> None:
            progress.update(tasks[evaluation.search], description=evaluation.search + _best(evaluation))

        yield Observer(show, lambda epoch: say(epoch_line(epoch)), rename, say)


class _Lines:
    """A line when something begins or ends, and every ten seconds between, with the time left."""

    def __init__(self) -> None:
        self._what, self._start, self._said, self._from = "", 0.0, 0.0, 0
        self._note = ""

    def __call__(self, what: str, done: int, total: int) -> None:
        now = time.perf_counter()
        if what != self._what:
            self._what, self._start, self._said, self._from = what, now, now, done
            self._note = ""
        elif done < total and now - self._said < LINE_EVERY:
            return
        self._said = now
        done_here = done - self._from
        left = f", {(now - self._start) / done_here * (total - done):.0f} s left" if done_here and done < total else ""
        _print(f"{what}: {done}/{total}{self._note}{left}")

    def epoch(self, epoch: Epoch) -> None:
        """A line of its own."""
        _print(epoch_line(epoch))

    def evaluation(self, evaluation: Evaluation) -> None:
        """The best so far stands in the next line."""
        self._note = _best(evaluation)


def _print(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
