"""What a run left in its directory, read back to be shown."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any, TypeAlias

from ..errors import SecateurError
from .config import RunConfig
from .manifest import Outcome, config_of, read_manifest

Record: TypeAlias = Mapping[str, Any]  # plain JSON values
TRAININGS = {"dense": "dense", "teacher": "teacher", "learning": "learn", "fine-tuning": "transfer"}
EVALUATION = "evaluation.json"  # in the run directory: what `evaluate` measured


@dataclass(frozen=True)
class Dot:
    """A network on a plot: its MACs, what it reached there, and what else there is to say of it."""

    macs: int
    value: float
    note: str


@dataclass(frozen=True)
class Arm:
    """A row of the answer: a network, its figures of each split that it was scored on, and its file of weights."""

    name: str
    figures: Record
    weights: Path | None = None


@dataclass(frozen=True)
class Results:
    """A run directory that holds a front at least.

    ``front`` is front.json; ``records`` are the evaluations of the search, in order, ``steps`` the metrics of every
    training by its name, ``evaluation`` what `evaluate` measured, if it was called.
    """

    folder: Path
    ask: RunConfig
    versions: Mapping[str, str]
    stages: Mapping[str, Outcome]
    front: Record
    records: Sequence[Record]
    steps: Mapping[str, Sequence[Record]]
    evaluation: Record | None

    @classmethod
    def of(cls, folder: Path | str) -> "Results":
        """Read a run directory. Raises SecateurError where it is none, or has no front yet."""
        folder = Path(folder)
        ask, noted = config_of(folder), read_manifest(folder)
        if not (folder / "front.json").exists():
            raise SecateurError(
                f"{folder} has no front yet; finish it: secateur search {ask.command_line} --out {folder}"
            )
        trainings = {name: folder / place for name, place in TRAININGS.items()}
        steps = {name: list(_lines(place / "metrics.jsonl")) for name, place in trainings.items()}
        records = list(_lines(folder / "bank" / "records.jsonl"))[1:]
        front, measured = _whole(folder / "front.json"), folder / EVALUATION
        evaluation = _whole(measured) if measured.exists() else None
        found = {name: lines for name, lines in steps.items() if lines}
        return cls(folder, ask, noted["versions"], noted["stages"], front, records, found, evaluation)

    @property
    def title(self) -> str:
        """What was asked, in words."""
        return f"{self.ask.model} on {self.ask.data} {'by' if self.ask.learns_widths else 'at'} {self.ask.goal}"

    @property
    def command(self) -> str:
        """The line that does it again."""
        verb = "run" if "test" in self.stages else "search"
        return f"secateur {verb} {self.ask.command_line} --out {self.folder}"

    @property
    def untrained(self) -> bool:
        """Whether the dense network is a student that starts anew under another teacher."""
        return untrained(self.stages)

    @property
    def dense(self) -> Record:
        """The dense network as the search scored it."""
        return next(each for each in self.records if each["source"] == "dense")

    @property
    def trials(self) -> list[Record]:
        """The evaluations in order, on the search's sample or stopped before its end; without the finalists' second."""
        return [each for each in self.records if each["n"] <= self.dense["n"]]

    @property
    def whole(self) -> list[Record]:
        """The trials that saw all of the sample."""
        return [each for each in self.trials if each["n"] == self.dense["n"]]

    @property
    def lost(self) -> int:
        """How many trials gave a loss that is no number."""
        return sum(not isfinite(each["loss"]) for each in self.trials)

    @property
    def arms(self) -> list[Arm]:
        """The dense network and what became of it, as far as the run went."""
        kept, dense = self.folder / "best" / "weights.safetensors", self._dense_weights
        if "test" not in self.stages:
            winner = self.front["winner"]
            return [Arm("dense", _scored(self.dense)), Arm("pruned", {**winner["costs"]["kept"], **winner["figures"]})]
        names, test = {"dense": dense, "pruned": None, "tuned": kept, "teacher": None}, self.stages["test"]
        arms = [Arm(name, test[name], weights) for name, weights in names.items() if name in test]
        return arms + list(self._points())

    def dots(self, measure: str) -> list[Dot]:
        """The front by holdout ``loss`` or ``accuracy``, before fine-tuning; or by ``test``, what was fine-tuned."""
        if measure == "test":
            tuned = [
                arm for arm in self.arms if arm.name not in ("dense", "pruned", "teacher") and "test" in arm.figures
            ]
            return [_dot(arm.figures, arm.figures["test"]["accuracy"], arm.name) for arm in tuned]
        points = ((point["costs"]["kept"], point["figures"]["holdout"], point) for point in self.front["points"])
        return [_dot(costs, holdout[measure], point["provenance"]["source"]) for costs, holdout, point in points]

    def level(self, measure: str) -> float | None:
        """The same of the dense network; None where it was not tested."""
        if measure == "test":
            return self.stages["test"]["dense"]["test"]["accuracy"] if "test" in self.stages else None
        return float(self.dense[measure])

    @property
    def _dense_weights(self) -> Path | None:
        trained = Path(self.ask.weights) if self.ask.weights else self.folder / "dense" / "weights.safetensors"
        return trained if trained.exists() else None

    def _points(self) -> Iterator[Arm]:
        """The points that `transfer` fine-tuned."""
        for path in sorted((self.folder / "points").glob("*/architecture.json")):
            if figures := json.loads(path.read_text()).get("figures"):
                yield Arm(path.parent.name, figures["tuned"], path.with_name("weights.safetensors"))


def untrained(stages: Mapping[str, Outcome]) -> bool:
    """Whether the dense network of a run had no weights and was not trained."""
    return bool(stages.get("dense", {}).get("weights") == "none")


def paying(divisor: int) -> str:
    """Whether multiples of widths pay, in words."""
    return f"--divisor {divisor} pays" if divisor > 1 else "no --divisor pays"


def _scored(record: Record) -> Record:
    score = {name: record[name] for name in ("loss", "accuracy", "n")}
    return {"macs": record["macs"], "parameters": record["parameters"], "holdout": score}


def _dot(costs: Record, value: float, what: str) -> Dot:
    return Dot(costs["macs"], value, f"{what}: {costs['macs'] / 1e6:.4g}M MACs, {costs['parameters'] / 1e6:.4g}M par.")


def _whole(path: Path) -> Record:
    try:
        found: Record = json.loads(path.read_text())
    except ValueError as error:
        raise SecateurError(f"{path} is no whole JSON ({error}); take it from a copy, or do the run anew") from error
    return found


def _lines(path: Path) -> Iterator[Record]:
    """The whole lines of a JSON-lines file; none where there is no file."""
    for line in path.read_text().splitlines(keepends=True) if path.exists() else ():
        if line.endswith("\n"):
            yield json.loads(line)
