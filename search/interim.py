"""Interim subnetworks: what a search has evaluated, kept so that nothing is evaluated twice."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from ..models.batches import Split
from ..models.compensate import compensated
from ..models.errors import SecateurError
from ..models.evaluate import batch_statistics, score
from ..models.gram import Gram
from ..models.subnetwork import Subnetwork
from ..models.supernet import Supernet

FORMAT = "secateur/records/1"


@dataclass(frozen=True)
class Interim:
    """A subnetwork with its costs and its score on ``n`` holdout images (batch statistics, no training step)."""

    subnetwork: Subnetwork
    source: str
    loss: float
    accuracy: float
    n: int
    macs: int
    parameters: int

    def about(self) -> dict[str, object]:
        """Everything but the channels, as plain values."""
        return {name: value for name, value in asdict(self).items() if name != "subnetwork"}

    def to_json(self) -> str:
        """One line; ``from_json`` reads it back."""
        return json.dumps({**self.about(), "subnetwork": self.subnetwork.kept}, separators=(",", ":"))

    @classmethod
    def from_json(cls, line: str) -> "Interim":
        """The interim subnetwork that ``to_json`` wrote."""
        fields = json.loads(line)
        kept = tuple(tuple(channels) for channels in fields.pop("subnetwork"))
        return cls(Subnetwork(kept), **fields)


class Records:
    """Every evaluation of a search, appended to a JSON-lines file as it ends (or held in memory only).

    With ``grams`` what is evaluated is the compensated subnetwork: its score says more of what it can become.
    """

    def __init__(
        self, net: Supernet, split: Split, path: Path | None = None, grams: Mapping[str, Gram] | None = None
    ) -> None:
        self.net, self.split, self.path, self.grams = net, split, path, grams or {}
        self._known: dict[tuple[Subnetwork, int], Interim] = {}
        head, *lines = _whole_lines(path) or [""]
        mine = json.dumps({"format": FORMAT, "of": _fingerprint(net, split, self.grams)})
        if not head and path:
            path.write_text(mine + "\n")
        elif path and head != mine:
            raise SecateurError(f"{path} holds evaluations of other weights or other data; give another folder")
        for line in lines:
            interim = Interim.from_json(line)
            self._known[interim.subnetwork, interim.n] = interim

    @property
    def all(self) -> list[Interim]:
        """Every evaluation so far, in order."""
        return list(self._known.values())

    def evaluate(self, subnetwork: Subnetwork, source: str, images: int) -> Interim:
        """Score on the first ``images`` of the holdout's fixed order; known ones are not evaluated again."""
        n = min(images, len(self.split))
        if (subnetwork, n) not in self._known:
            model = compensated(self.net, subnetwork, self.grams)
            with batch_statistics(model):
                result = score(model, self.split, n)
            interim = Interim(
                subnetwork,
                source,
                result.loss,
                result.accuracy,
                n,
                self.net.macs(subnetwork),
                self.net.parameters(subnetwork),
            )
            self._known[subnetwork, n] = interim
            if self.path:
                with self.path.open("a") as file:
                    file.write(interim.to_json() + "\n")
        return self._known[subnetwork, n]


def front(interims: Iterable[Interim]) -> list[Interim]:
    """Those that no other beats in both MACs and holdout loss, by ascending MACs."""
    best: list[Interim] = []
    numbers = (i for i in interims if i.loss == i.loss)  # a NaN loss is on no front, and sorts nowhere
    for each in sorted(numbers, key=lambda i: (i.macs, i.loss)):
        if not best or each.loss < best[-1].loss:
            best.append(each)
    return best


def hypervolume(points: Iterable[Interim], macs: float, loss: float) -> float:
    """The area that a front dominates, up to the reference point (``macs``, ``loss``), as a share of all of it.

    Costs and losses count from 0; a point beyond the reference adds nothing.
    """
    area, before = 0.0, loss
    for point in front(points):
        area += max(0.0, macs - point.macs) * max(0.0, before - point.loss)
        before = min(before, point.loss)
    return area / (macs * loss)


def _fingerprint(net: Supernet, split: Split, grams: Mapping[str, Gram]) -> str:
    """16 hex digits of the dense weights, the holdout's labels and what is compensated: what a score depends on."""
    digest = hashlib.sha256(split.labels.numpy().tobytes())
    digest.update(json.dumps(sorted(grams)).encode())
    for name, tensor in net.model.state_dict().items():
        digest.update(name.encode() + tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def _whole_lines(path: Path | None) -> list[str]:
    """The lines of a file; one that a kill cut short is cut away."""
    if path is None or not path.exists():
        return []
    text = path.read_text()
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        path.write_text(whole)
    return whole.splitlines()
