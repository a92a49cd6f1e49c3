"""What each stage of a run comes to, as run.json keeps it: one definition, written, and checked when it is read."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, TypeAlias, TypeVar

import msgspec

from ..errors import SecateurError
from ..files import RESTORE
from ..models.score import Score
from ..models.timing.clock import Timing

Kind = TypeVar("Kind")
Count: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=1 << 62)]  # of anything: what is more is damage


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """Plain values of a fixed form; a field that is None is left out of the file."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        plain: dict[str, Any] = _without_none(msgspec.to_builtins(self))
        return plain


class Costs(Record, frozen=True, kw_only=True):
    """What a network costs for one image."""

    macs: Count
    parameters: Count


class Figures(Record, frozen=True, kw_only=True):
    """What a network costs for one image, and its score on each split that it was evaluated on."""

    holdout: Score | None = None
    test: Score | None = None
    macs: Count
    parameters: Count


class InterimRecord(Record, frozen=True, kw_only=True):
    """An evaluated subnetwork: where it came from, its score on ``n`` holdout images, and its costs."""

    source: str
    loss: float
    accuracy: float | None = None
    n: Count
    macs: Count
    parameters: Count
    metric: dict[str, float] | None = None

    @property
    def score(self) -> Score:
        """What it reached on the images that scored it."""
        return Score(self.loss, self.accuracy, self.n, self.metric)

    @classmethod
    def of(cls, values: Mapping[str, object]) -> "InterimRecord":
        """The record of plain values, such as those of an interim subnetwork."""
        return msgspec.convert(dict(values), cls)


class TeacherRecord(Record, frozen=True, kw_only=True):
    """A teacher of the bank; ``open``: the share of steps in which its gate was open."""

    macs: Count
    loss: float
    open: float | None = None


class CandidateRecord(Record, frozen=True, kw_only=True):
    """A candidate for a teacher: its loss, what it adds to the mix, the error of that, and whether it was taken."""

    macs: Count
    loss: float
    gain: float
    error: float
    taken: bool


class Seconds(Record, frozen=True, kw_only=True):
    """The median of ``n`` passes, and the quartiles."""

    median: float
    low: float
    high: float
    n: int

    @classmethod
    def of(cls, timing: Timing) -> "Seconds":
        """Those of a network that was timed."""
        return cls(**asdict(timing))


class LatencyRow(Record, frozen=True, kw_only=True):
    """Passes of ``batch`` images in one engine, dense and slim in turn."""

    engine: str
    batch: int
    dense: Seconds
    slim: Seconds | None = None
    speedup: float | None = None

    @classmethod
    def of(cls, engine: str, batch: int, times: Mapping[str, Timing]) -> "LatencyRow":
        """What networks took, dense, and slim where there is one."""
        seconds = {name: Seconds.of(each) for name, each in times.items()}
        speedup = times["dense"].median / times["slim"].median if "slim" in times else None
        return cls(engine=engine, batch=batch, **seconds, speedup=speedup)


class StageOutcome(Record, frozen=True, kw_only=True):
    """What every stage has: the seconds it took."""

    seconds: float = 0.0


class NetworkStage(StageOutcome, frozen=True, kw_only=True):
    """The dense network or the teacher: where its ``weights`` are from, or the ``epochs`` it was trained for.

    ``images``: how many there are to train on.
    """

    weights: str | None = None
    classes: Count | None = None
    epochs: Count | None = None
    images: Count | None = None


class SearchStage(StageOutcome, frozen=True, kw_only=True):
    """The search: its winner, the coarse proposal that the fine search began with, and how many were evaluated."""

    winner: InterimRecord
    start: InterimRecord
    evaluations: Count
    stopped: Count


class BankStage(StageOutcome, frozen=True, kw_only=True):
    """The memory bank: its teachers, best first, and how many were wanted but not found.

    ``candidates``: those that were judged for a bank that fills itself.
    """

    teachers: tuple[TeacherRecord, ...]
    missing: Count
    candidates: tuple[CandidateRecord, ...] | None = None


class LearnStage(StageOutcome, frozen=True, kw_only=True):
    """Learned widths: what the method looked at, the widths of all groups after each epoch, and the dense ones."""

    form: str
    widths: tuple[tuple[Count, ...], ...]
    dense: tuple[Count, ...] = ()


class TransferStage(StageOutcome, frozen=True, kw_only=True):
    """Fine-tuning: how it was done, and for how much of it each teacher of a bank was used."""

    method: str
    epochs: Count
    seed: int
    precision: str
    gates_open: tuple[float, ...] = ()
    teachers: tuple[TeacherRecord, ...] | None = None
    form: str | None = None


class EvaluationStage(StageOutcome, frozen=True, kw_only=True):
    """Costs and scores of the dense network, of the pruned one without training, and of the fine-tuned one."""

    dense: Figures
    pruned: Figures
    tuned: Figures
    teacher: Figures | None = None


class SpeedStage(StageOutcome, frozen=True, kw_only=True):
    """The dense and the slim network timed in turn, in the runtime that was asked for; one image, and several."""

    latency: tuple[LatencyRow, ...]
    device: str
    threads: int


class Stages(Record, frozen=True, kw_only=True):
    """The stages that a run has done."""

    dense: NetworkStage | None = None
    teacher: NetworkStage | None = None
    search: SearchStage | None = None
    bank: BankStage | None = None
    learn: LearnStage | None = None
    transfer: TransferStage | None = None
    test: EvaluationStage | None = None
    speed: SpeedStage | None = None

    def done(self) -> dict[str, StageOutcome]:
        """Those that are done, by name, in order."""
        found = ((name, getattr(self, name)) for name in self.__struct_fields__)
        return {name: outcome for name, outcome in found if outcome is not None}


def parse(value: object, kind: type[Kind], path: Path) -> Kind:
    """Plain JSON values as a record. Raises SecateurError, naming the file, where they are not of its form."""
    try:
        return msgspec.convert(value, kind)
    except (msgspec.ValidationError, RecursionError) as error:
        raise SecateurError(f"{path} is damaged ({error}); {RESTORE}") from error


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_none(each) for key, each in value.items() if each is not None}
    return [_without_none(each) for each in value] if isinstance(value, (list, tuple)) else value
