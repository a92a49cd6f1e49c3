"""What a run left in its directory, read back to be shown."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any, TypeVar

from ..errors import SecateurError
from ..files import RESTORE, read_json, read_json_lines
from ..models.zoo.names import PYTHON, is_python
from .classes import Classes, read_classes
from .config import RunConfig
from .front import Front
from .manifest import WIDTH_STEPS, config_of, read_manifest
from .measured import EVALUATION, Measured
from .outcomes import (
    Count,
    EvaluationStage,
    Figures,
    InterimRecord,
    NetworkStage,
    Record,
    SpeedStage,
    StageOutcome,
    Stages,
    parse,
)

TRAININGS = {"dense": "dense", "teacher": "teacher", "learning": "learn", "fine-tuning": "transfer"}
Kind = TypeVar("Kind")


class StepRecord(Record, frozen=True, kw_only=True):
    """A line of metrics.jsonl: the epoch that ended at step ``step`` of ``steps``, its mean loss, the holdout score.

    An earlier version wrote the loss of one batch every 50 steps: there are no ``epochs`` then.
    """

    step: Count
    steps: Count
    epoch: Count
    loss: float
    epochs: Count | None = None
    holdout: float | None = None
    metric: str = "accuracy"


@dataclass(frozen=True)
class Dot:
    """A network on a plot: its MACs, what it reached there, and what else there is to say about it."""

    macs: int
    value: float
    note: str


@dataclass(frozen=True)
class Arm:
    """A row of the answer: a network, its costs and scores, and its weights file."""

    name: str
    figures: Figures
    weights: Path | None = None


@dataclass(frozen=True)
class Results:
    """A run directory that holds a front at least.

    ``trials``: the evaluations in order, on the search's sample or stopped early, without the finalists' second ones;
    ``dense``: the dense network as the search scored it; ``steps``: the metrics of every training by its name;
    ``measured``: what `evaluate` measured, if it was called; ``grid``: the multiples of
    widths that were measured to pay; ``classes``: the test metric of each class, if known.
    """

    folder: Path
    config: RunConfig
    versions: Mapping[str, str]
    stages: Stages
    front: Front
    dense: InterimRecord
    trials: Sequence[InterimRecord]
    steps: Mapping[str, Sequence[StepRecord]]
    measured: Measured | None
    began: str | None = None
    grid: str | None = None
    classes: Classes | None = None

    @classmethod
    def of(cls, folder: Path | str) -> "Results":
        """Read a run directory. Raises SecateurError where it is none, or has no front yet."""
        folder = Path(folder)
        config, book = config_of(folder), read_manifest(folder)
        _require_front(folder, config, book.stages)
        alone = book.stages.search if config.search.storage is None else None  # others keep records of their own
        dense, trials = _evaluations(folder / "bank" / "records.jsonl", alone.evaluations if alone else 0)
        found = {name: _training(folder / place, book.stages) for name, place in TRAININGS.items()}
        steps = {name: lines for name, lines in found.items() if lines}
        front = _whole(folder / "front.json", Front)
        measured = _whole(folder / EVALUATION, Measured) if (folder / EVALUATION).exists() else None
        tested = read_classes(folder / "best") if book.stages.test else None
        return cls(
            *(folder, config, book.versions, book.stages, front, dense, trials, steps, measured),
            began=book.began,
            grid=book.fingerprints.get(WIDTH_STEPS),
            classes=tested,
        )

    @property
    def title(self) -> str:
        """What was asked for, in words."""
        config = self.config
        model, data = (name.removeprefix(PYTHON) for name in (config.model, config.images.data))
        return f"{model} on {data} {'by' if config.learns_widths else 'at'} {config.goal}"

    @property
    def command(self) -> str:
        """The command that does it again."""
        config = self.config
        if is_python(config.model):
            how = f"trials={config.search.trials}, seed={config.seed}, out={str(self.folder)!r}"
            return f"sc.find(net, data, {config.goal!r}, {how})"
        verb = "run" if self.stages.test else "search"
        return f"secateur {verb} {config.command_line} --out {self.folder}"

    @property
    def untrained(self) -> bool:
        """Whether the dense network is a student that starts from scratch under another teacher."""
        return untrained(self.stages)

    @property
    def timed(self) -> Measured | SpeedStage | None:
        """The times of the dense and the slim network: those of `evaluate`, else those that the run ended with."""
        return self.measured or self.stages.speed

    @property
    def whole(self) -> list[InterimRecord]:
        """The trials that saw all of the sample."""
        return [each for each in self.trials if each.n == self.dense.n]

    @property
    def lost(self) -> int:
        """How many trials had a loss that is no number."""
        return sum(not isfinite(each.loss) for each in self.trials)

    @property
    def arms(self) -> list[Arm]:
        """The dense network and what became of it, as far as the run went."""
        if self.stages.test is None:
            winner, dense = self.front.winner, self.dense
            scored = Figures(holdout=dense.score, macs=dense.macs, parameters=dense.parameters)
            kept = winner.costs.kept
            pruned = Figures(holdout=winner.score, macs=kept.macs, parameters=kept.parameters)
            return [Arm("dense", scored), Arm("pruned", pruned)]
        return [*_tested(self.stages.test, self._dense_weights, self.folder / "best"), *self._points()]

    def dots(self, measure: str) -> list[Dot]:
        """The front by holdout ``loss`` or ``accuracy``, before fine-tuning; or by ``test``, what was fine-tuned."""
        if measure == "test":
            tuned = [arm for arm in self.arms if arm.name not in ("dense", "pruned", "teacher") and arm.figures.test]
            return [_dot(arm.figures, arm.figures.test.value, arm.name) for arm in tuned if arm.figures.test]
        points = self.front.points
        return [_dot(each.costs.kept, each.score.measured(measure), each.provenance.source) for each in points]

    def level(self, measure: str) -> float | None:
        """The same of the dense network; None where it was not tested."""
        if measure != "test":
            return self.dense.score.measured(measure)
        test = self.stages.test
        return test.dense.test.value if test and test.dense.test else None

    @property
    def _dense_weights(self) -> Path | None:
        given = self.config.weights
        trained = Path(given) if given else self.folder / "dense" / "weights.safetensors"
        return trained if trained.exists() else None

    def _points(self) -> Iterator[Arm]:
        """The points that `transfer` fine-tuned."""
        for path in sorted((self.folder / "points").glob("*/architecture.json")):
            if figures := read_json(path).get("figures"):
                yield Arm(path.parent.name, parse(figures["tuned"], Figures, path), path.with_name(WEIGHTS))


WEIGHTS = "weights.safetensors"


def untrained(stages: Stages) -> bool:
    """Whether the dense network of a run had no weights and was not trained."""
    return bool(stages.dense and stages.dense.weights == "none")


def _tested(test: EvaluationStage, dense: Path | None, best: Path) -> Iterator[Arm]:
    weights = {"dense": dense, "pruned": None, "tuned": best / WEIGHTS, "teacher": None}
    for name, file in weights.items():
        if figures := getattr(test, name):
            yield Arm(name, figures, file)


def _dot(costs: Any, value: float, what: str) -> Dot:
    return Dot(costs.macs, value, f"{what}: {costs.macs / 1e6:.4g}M MACs, {costs.parameters / 1e6:.4g}M par.")


def _require_front(folder: Path, config: RunConfig, stages: Stages) -> None:
    if (folder / "front.json").exists():
        return
    if stages.search or stages.learn:
        raise SecateurError(f"{folder / 'front.json'} is gone; {RESTORE}")
    raise SecateurError(f"{folder} has no front yet; finish it: secateur search {config.command_line} --out {folder}")


def _training(folder: Path, stages: Stages) -> list[StepRecord]:
    """The metrics of a training, a line an epoch. Raises SecateurError where it ended, and some are lost."""
    path = folder / "metrics.jsonl"
    lines = list({line.step: line for line in _lines(path, StepRecord)}.values())  # a kill repeats the last one
    if (missing := _missing(lines)) and _was_trained(getattr(stages, folder.name)):
        raise SecateurError(f"{path} is damaged ({missing}); {RESTORE}")
    return lines


def _was_trained(outcome: StageOutcome | None) -> bool:
    """Whether a stage is done in which a network was trained: one that has weights is not."""
    return outcome is not None and not (isinstance(outcome, NetworkStage) and outcome.epochs is None)


def _missing(lines: Sequence[StepRecord]) -> str:
    """What the metrics of a training lack that has ended; empty where they lack nothing."""
    if not lines:
        return "it has no line"
    last = lines[-1]
    epochs = {*range(1, (last.epochs or 0) + 1)} if all(line.epochs for line in lines) else set()
    if last.step != last.steps:
        return f"it ends at step {last.step}, before the training did"
    lost = epochs - {line.epoch for line in lines}
    return f"epoch {min(lost)} is missing" if lost else ""


def _evaluations(path: Path, count: int) -> tuple[InterimRecord, list[InterimRecord]]:
    """The dense network's evaluation, and all on no more images than that, ``count`` of them at least."""
    records = _lines(path, InterimRecord, skip=1)
    dense = next((each for each in records if each.source == "dense"), None)
    if dense is None:
        raise SecateurError(f"{path} lacks the dense network's evaluation; restore it or start the run again")
    found = [each for each in records if each.n <= dense.n]
    if len(found) < count:
        raise SecateurError(f"{path} is damaged (it has {len(found)} of {count} evaluations); {RESTORE}")
    return dense, found


def _whole(path: Path, kind: type[Kind]) -> Kind:
    return parse(read_json(path), kind, path)


def _lines(path: Path, kind: type[Kind], skip: int = 0) -> list[Kind]:
    """The complete lines of a JSON lines file, behind its head; none where there is no file."""
    return parse(read_json_lines(path)[skip:], list[kind], path)  # type: ignore[valid-type]
