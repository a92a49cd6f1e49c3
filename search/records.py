"""Interim subnetworks: what a search has evaluated, kept so that nothing is evaluated twice."""

import hashlib
import json
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from math import inf
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
import torch

from ..digests import sealed, unsealed
from ..errors import SecateurError, in_a_line
from ..files import alone, append_json, append_line, whole_lines
from ..models.compensation.gram import Gram
from ..models.compensation.ridge import refit
from ..models.evaluate import batch_statistics, device_of
from ..models.inputs import tensors
from ..models.score import Score
from ..models.split import Split
from ..models.subnetwork import Subnetwork
from ..models.supernet import Supernet
from ..models.tasks.metric import mean
from ..models.tracing.atoms import FloatArray
from .evaluation import Evaluation, name_of, score, task_loss

FORMAT = "secateur/records/2"
NO_LOSSES = np.empty(0)
TARGETS = 1000  # that stand for all of a split, where they are no classes


@dataclass(frozen=True)
class Interim:
    """A subnetwork with its costs and its score on ``n`` holdout images (batch statistics, no training step).

    ``accuracy`` is that of classification; another task has its ``metric``, by name. ``losses``: of each image,
    float16, as bytes.
    """

    subnetwork: Subnetwork
    source: str
    loss: float
    accuracy: float | None
    n: int
    macs: int
    parameters: int
    losses: bytes = field(default=b"", repr=False)
    metric: dict[str, float] | None = None

    @property
    def image_losses(self) -> FloatArray:
        """The loss of each image, in the split's fixed order; empty where it was not kept. Shape: (n,)"""
        return np.frombuffer(self.losses, np.float16).astype(np.float64)

    @property
    def score(self) -> Score:
        """What it reaches on the images that scored it."""
        return Score(self.loss, self.accuracy, self.n, self.metric)

    @property
    def sort_loss(self) -> float:
        """The loss as a key to sort by: infinite where it is NaN."""
        return self.loss if self.loss == self.loss else inf

    @property
    def rank(self) -> tuple[float, tuple[tuple[int, ...], ...]]:
        """The key that sorts by loss, NaN last; ties by the channels, so that every process agrees."""
        return self.sort_loss, self.subnetwork.kept

    def to_dict(self) -> dict[str, object]:
        """Every field that is set but the channels and the losses of the images, as plain values."""
        plain = (each.name for each in fields(self) if each.name not in ("subnetwork", "losses"))
        return {name: value for name in plain if (value := getattr(self, name)) is not None}

    def to_json(self) -> str:
        """One line; ``from_json`` reads it back."""
        long = {"subnetwork": self.subnetwork.kept, "losses": b64encode(self.losses).decode()}
        return json.dumps(sealed({**self.to_dict(), **long}), separators=(",", ":"))

    @classmethod
    def from_json(cls, line: str) -> "Interim":
        """The interim subnetwork that ``to_json`` wrote. Raises SecateurError on any other text."""
        try:
            read = msgspec.convert(unsealed(json.loads(line)), _Line)
            subnetwork = Subnetwork(tuple(map(tuple, read.subnetwork)))
            losses = b64decode(read.losses, validate=True)
        except (ValueError, TypeError, RecursionError) as error:  # msgspec's and b64decode's are ValueErrors, too
            raise SecateurError(f"it is no evaluation ({in_a_line(error)[:120]})") from error
        if len(losses) not in (0, 2 * read.n):
            raise SecateurError(f"it has {len(losses)} bytes of losses for {read.n} images")
        costs = read.macs, read.parameters
        return cls(subnetwork, read.source, read.loss, read.accuracy, read.n, *costs, losses, read.metric)


class _Line(msgspec.Struct, frozen=True):
    """An interim subnetwork as it is written; losses as base64."""

    source: str
    loss: float
    n: Annotated[int, msgspec.Meta(ge=1)]
    macs: Annotated[int, msgspec.Meta(ge=0)]
    parameters: Annotated[int, msgspec.Meta(ge=0)]
    subnetwork: list[list[int]]
    losses: str
    accuracy: float | None = None
    metric: dict[str, float] | None = None


class Records:
    """Every evaluation of a search, appended to a JSON lines file as it ends (or held in memory only).

    Args:
        net: the network that is searched.
        split: the holdout.
        path: the file; a search that was interrupted is resumed from it.
        grams: with them the compensated subnetwork is evaluated, which predicts the fine-tuned one better.
        bfloat16: evaluations run in autocast.
        evaluation: what is minimised; the mean of the task's loss where nothing else is passed.
    """

    def __init__(
        self,
        net: Supernet,
        split: Split,
        path: Path | None = None,
        *,
        grams: Mapping[str, Gram] | None = None,
        bfloat16: bool = False,
        evaluation: Evaluation = task_loss,
    ) -> None:
        self.net, self.split, self.path = net, split, path
        self.grams: Mapping[str, Gram] = grams or {}
        self.bfloat16, self.evaluation = bfloat16, evaluation
        self.fingerprint = _fingerprint(net, split, self.grams, evaluation)
        self._known: dict[tuple[Subnetwork, int], Interim] = {}
        self._unseen: dict[tuple[Subnetwork, int], Interim] = {}
        if path:
            self._load(path)

    @property
    def all(self) -> list[Interim]:
        """Every evaluation so far, in order."""
        return list(self._known.values())

    @cached_property
    def chance_loss(self) -> float | None:
        """The loss of the same answer for every image, log C of a guess among C classes.

        None where it is not known, or 0, or something else than the task's loss is minimised.
        """
        chance = self.split.task.chance
        if chance is None or self.evaluation is not task_loss:
            return None
        targets = _targets(self.split)
        return (chance(targets) or None) if isinstance(targets, torch.Tensor) else None

    def evaluate(self, subnetwork: Subnetwork, source: str, images: int, rival: Interim | None = None) -> Interim:
        """Score on the first ``images`` of the holdout's fixed order; known ones are not evaluated again.

        With a ``rival`` it ends as soon as it is significantly worse, and is an interim subnetwork of fewer images.
        """
        n = min(images, len(self.split))
        known = self._known.get((subnetwork, n)) or (self._stopped(subnetwork, n) if rival else None)
        if known is None and (known := self._replayed(subnetwork, n, rival)) is None:
            known = self._scored(subnetwork, source, n, rival)
            if self.path:
                with alone(Path(f"{self.path}.lock")):
                    append_line(self.path, known.to_json())
        self.add(known)
        return known

    def rewind(self) -> None:
        """Leave every evaluation out of ``all`` until it is asked for again.

        A search that is replayed from its first trial then knows at each what it knew the first time.
        """
        self._unseen, self._known = {**self._unseen, **self._known}, {}

    def add(self, interim: Interim) -> None:
        """Keep an evaluation, for instance of another process, unless its subnetwork is known."""
        self._known.setdefault((interim.subnetwork, interim.n), interim)

    def _load(self, path: Path) -> None:
        """Read the file, or begin it. Raises SecateurError where it is of other weights, data or evaluation."""
        mine = {"format": FORMAT, "of": self.fingerprint, "images": self.split.content}
        with alone(Path(f"{path}.lock")):  # other processes may work on the same search
            if not whole_lines(path):
                append_json(path, mine)
            head, *lines = whole_lines(path)
        found = {**mine, "format": "", "of": "", **_head(head, path)}  # an earlier version wrote nothing of images
        if found != mine:
            sides = f"of {' '.join(map(str, found.values()))}, not {' '.join(mine.values())}"
            raise SecateurError(
                f"{path} ({sides}) holds evaluations of other weights or other data; pass a different folder"
            )
        for number, line in enumerate(lines, 2):
            self.add(self._read(line, f"{path} line {number}"))

    def _read(self, line: str, place: str) -> Interim:
        """The evaluation in a line. Raises SecateurError, naming the place, where it is none of this network."""
        try:
            interim = Interim.from_json(line)
            self.net.check(interim.subnetwork)
        except SecateurError as error:
            raise SecateurError(f"{place} is damaged: {error}; delete the line, and it is evaluated again") from error
        return interim

    def _scored(self, subnetwork: Subnetwork, source: str, n: int, rival: Interim | None) -> Interim:
        model = refit(self.net, subnetwork, self.grams)
        autocast = torch.autocast(device_of(model).type, torch.bfloat16, enabled=self.bfloat16)
        with torch.no_grad(), batch_statistics(model), autocast:
            evaluated, metric = self.evaluation(model, self.split, n), self.split.task.metric
            value = metric.value if self.evaluation is task_loss else mean
            found = score(evaluated, n, rival.image_losses if rival else NO_LOSSES, value)
        reached = Score.of(metric.name, found.metric, loss=found.loss, n=found.n)
        costs = self.net.macs(subnetwork), self.net.parameters(subnetwork)
        return Interim(subnetwork, source, found.loss, reached.accuracy, found.n, *costs, found.losses, reached.metric)

    def _replayed(self, subnetwork: Subnetwork, n: int, rival: Interim | None) -> Interim | None:
        """What the same request returned before ``rewind``: the first evaluation that answers it."""
        same = (i for (s, m), i in self._unseen.items() if s == subnetwork and (m == n or (rival and m < n)))
        return next(same, None)

    def _stopped(self, subnetwork: Subnetwork, n: int) -> Interim | None:
        """What a stopped evaluation of fewer than ``n`` images left, if there was one."""
        return next((i for (s, m), i in self._known.items() if s == subnetwork and m < n), None)


def _head(line: str, path: Path) -> dict[str, str]:
    """What the first line says: of what the evaluations are."""
    try:
        return msgspec.convert(unsealed(json.loads(line)), dict[str, str])
    except (ValueError, RecursionError) as error:  # msgspec's is a ValueError, too
        raise SecateurError(f"{path} is damaged ({in_a_line(error)}); delete it to evaluate again") from error


def _fingerprint(net: Supernet, split: Split, grams: Mapping[str, Gram], evaluation: Evaluation) -> str:
    """16 hex digits of the dense weights, the holdout's targets, the Grams' names, all widths, and the evaluation."""
    digest = hashlib.sha256(b"".join(x.cpu().numpy().tobytes() for x in tensors(_targets(split))))
    widths = [net.space.min_widths.tolist(), net.space.dense.tolist(), net.space.divisor]
    digest.update(json.dumps([sorted(grams), [group.name for group in net.groups], widths]).encode())
    for name, tensor in net.model.state_dict().items():
        digest.update(name.encode() + tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    if evaluation is not task_loss:
        digest.update(name_of(evaluation).encode())
    if (metric := split.task.metric.name) != "accuracy":
        digest.update(metric.encode())
    return digest.hexdigest()[:16]


def _targets(split: Split) -> Any:
    """The class of every image; of another task the targets of the first images of the fixed order."""
    return next(split.batches(TARGETS, TARGETS)).labels if split.labels is None else split.labels
