"""How long work says how far it is: it yields updates, and whoever runs it reports them."""

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias, TypeVar

Result = TypeVar("Result")

Progress: TypeAlias = Callable[[str, int, int], None]  # what is being done, how much of it is done, of how much


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """An epoch of training that has ended.

    Args:
        training: Which training, such as ``fine-tuning (ckt)``.
        epoch: Its number, from 1.
        epochs: Of how many.
        step: Steps of the training so far.
        steps: Of how many.
        loss: The training loss, the mean over the epoch's steps.
        learning_rate: Of the last step.
        seconds: Of the training so far.
        holdout_loss: The loss on the first ``n`` holdout images; None where there is no holdout.
        holdout: The task's metric there, by name in ``metric``.
    """

    training: str = ""
    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    learning_rate: float
    seconds: float
    holdout_loss: float | None = None
    holdout: float | None = None
    metric: str = "accuracy"
    n: int = 0


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """A subnetwork that a search has evaluated.

    Args:
        search: Which part of the search, such as ``fine search``.
        source: What proposed the subnetwork.
        macs: What it costs.
        parameters: Likewise.
        loss: What the search minimises, on ``n`` holdout images.
        value: The task's metric there, by name in ``metric``.
        best: The lowest loss so far that meets the budget; None before there is one.
    """

    search: str
    source: str
    macs: int
    parameters: int
    loss: float
    value: float
    metric: str
    n: int
    best: float | None


def silent(what: str, done: int, total: int) -> None:
    """Report nothing."""


def ignore(values: object) -> None:
    """Do nothing with them."""


@dataclass(frozen=True)
class Observer:
    """What is called while work goes on; where a ``Progress`` is expected, it is one.

    Args:
        progress: Called with (what, done, total).
        on_epoch: Called after every epoch of a training.
        on_evaluation: Called after every evaluation of a search.
        say: Called with a line that is of interest before the work begins.

    >>> observer = Observer(on_epoch=lambda epoch: print(epoch.loss))
    >>> observer.on_epoch(Epoch(epoch=1, epochs=2, step=8, steps=16, loss=0.5, learning_rate=0.1, seconds=3.0))
    0.5
    >>> observer("reading images", 1, 2)
    """

    progress: Progress = silent
    on_epoch: Callable[[Epoch], None] = ignore
    on_evaluation: Callable[[Evaluation], None] = ignore
    say: Callable[[str], None] = ignore

    def __call__(self, what: str, done: int, total: int) -> None:
        """Report how far a piece of work is."""
        self.progress(what, done, total)

    @classmethod
    def of(cls, progress: Progress) -> "Observer":
        """The observer itself, or one that reports progress alone."""
        return progress if isinstance(progress, cls) else cls(progress)


class Update(NamedTuple):
    """How far a piece of work is: ``done`` of ``total``; and what came out just now."""

    what: str
    done: int
    total: int
    epoch: Epoch | None = None
    evaluation: Evaluation | None = None


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

    observer = Observer.of(progress)
    for update in kept():
        observer(update.what, update.done, update.total)
        if update.evaluation:
            observer.on_evaluation(update.evaluation)
        if update.epoch:
            observer.on_epoch(update.epoch)
    return results[0]
