"""Interim subnetworks: what a search has evaluated, kept so that nothing is evaluated twice."""

import hashlib
import json
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock

from ..errors import SecateurError
from ..models.compensation.gram import Gram
from ..models.compensation.ridge import refit
from ..models.evaluate import batch_statistics, device_of, image_losses
from ..models.split import Split
from ..models.subnetwork import Subnetwork
from ..models.supernet import Supernet
from ..models.tracing.atoms import FloatArray
from .early_stopping import LOOK, significantly_worse

FORMAT = "secateur/records/2"


@dataclass(frozen=True)
class Interim:
    """A subnetwork with its costs and its score on ``n`` holdout images (batch statistics, no training step).

    ``losses``: of each image, float16, as bytes.
    """

    subnetwork: Subnetwork
    source: str
    loss: float
    accuracy: float
    n: int
    macs: int
    parameters: int
    losses: bytes = field(default=b"", repr=False)

    @property
    def image_losses(self) -> FloatArray:
        """The loss of each image, in the split's fixed order; empty where it was not kept. Shape: (n,)"""
        return np.frombuffer(self.losses, np.float16).astype(np.float64)

    @property
    def sort_loss(self) -> float:
        """The loss as something to sort by: infinite where it is no number."""
        return self.loss if self.loss == self.loss else float("inf")

    def to_dict(self) -> dict[str, object]:
        """Everything but the channels and the single losses, as plain values."""
        return {name: value for name, value in asdict(self).items() if name not in ("subnetwork", "losses")}

    def to_json(self) -> str:
        """One line; ``from_json`` reads it back."""
        long = {"subnetwork": self.subnetwork.kept, "losses": b64encode(self.losses).decode()}
        return json.dumps({**self.to_dict(), **long}, separators=(",", ":"))

    @classmethod
    def from_json(cls, line: str) -> "Interim":
        """The interim subnetwork that ``to_json`` wrote."""
        fields = json.loads(line)
        kept = tuple(tuple(channels) for channels in fields.pop("subnetwork"))
        return cls(Subnetwork(kept), **{**fields, "losses": b64decode(fields["losses"])})


class Records:
    """Every evaluation of a search, appended to a JSON-lines file as it ends (or held in memory only).

    With ``grams`` what is evaluated is the compensated subnetwork: its score says more of what it can become.
    ``bfloat16``: evaluations run in autocast. ``mark`` tells searches of different networks or data apart.
    """

    def __init__(
        self,
        net: Supernet,
        split: Split,
        path: Path | None = None,
        grams: Mapping[str, Gram] | None = None,
        bfloat16: bool = False,
    ) -> None:
        self.net, self.split, self.path, self.grams, self.bfloat16 = net, split, path, grams or {}, bfloat16
        self.fingerprint = _fingerprint(net, split, self.grams)
        self._known: dict[tuple[Subnetwork, int], Interim] = {}
        if path:
            mine = json.dumps({"format": FORMAT, "of": self.fingerprint})
            with FileLock(f"{path}.lock"):  # other processes may work on the same search
                head, *lines = _whole_lines(path, mine)
            if head != mine:
                raise SecateurError(f"{path} holds evaluations of other weights or other data; give another folder")
            for line in lines:
                self.add(Interim.from_json(line))

    @property
    def all(self) -> list[Interim]:
        """Every evaluation so far, in order."""
        return list(self._known.values())

    def evaluate(self, subnetwork: Subnetwork, source: str, images: int, rival: Interim | None = None) -> Interim:
        """Score on the first ``images`` of the holdout's fixed order; known ones are not evaluated again.

        With a ``rival`` it ends as soon as it is surely worse, and is an interim subnetwork of fewer images.
        """
        n = min(images, len(self.split))
        known = self._known.get((subnetwork, n)) or (self._stopped(subnetwork, n) if rival else None)
        if known is None:
            known = self._scored(subnetwork, source, n, rival)
            self.add(known)
            if self.path:
                with FileLock(f"{self.path}.lock"), self.path.open("a") as file:
                    file.write(known.to_json() + "\n")
        return known

    def add(self, interim: Interim) -> None:
        """Know an evaluation, perhaps of another process."""
        self._known.setdefault((interim.subnetwork, interim.n), interim)

    def _scored(self, subnetwork: Subnetwork, source: str, n: int, rival: Interim | None) -> Interim:
        model = refit(self.net, subnetwork, self.grams)
        losses, hits = torch.empty(0), 0
        kind = torch.autocast(device_of(model).type, torch.bfloat16, enabled=self.bfloat16)
        with batch_statistics(model), kind:
            for some, right in image_losses(model, self.split, n, LOOK):
                losses, hits = torch.cat([losses, some.float().cpu()]), hits + int(right.sum())
                if rival and significantly_worse(losses.double().numpy(), rival.image_losses):
                    break
        seen, each = len(losses), losses.half().numpy().tobytes()
        costs = self.net.macs(subnetwork), self.net.parameters(subnetwork)
        return Interim(subnetwork, source, float(losses.double().mean()), hits / seen, seen, *costs, each)

    def _stopped(self, subnetwork: Subnetwork, n: int) -> Interim | None:
        """What a stopped evaluation of fewer than ``n`` images left, if there was one."""
        return next((i for (s, m), i in self._known.items() if s == subnetwork and m < n), None)


def pareto_front(interims: Iterable[Interim]) -> list[Interim]:
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
    for point in pareto_front(points):
        area += max(0.0, macs - point.macs) * max(0.0, before - point.loss)
        before = min(before, point.loss)
    return area / (macs * loss)


def _fingerprint(net: Supernet, split: Split, grams: Mapping[str, Gram]) -> str:
    """16 hex digits of the dense weights, the holdout's labels, what is compensated, and the widths there are."""
    digest = hashlib.sha256(split.labels.numpy().tobytes())
    widths = [net.space.min_widths.tolist(), net.space.dense.tolist(), net.space.divisor]
    digest.update(json.dumps([sorted(grams), [group.name for group in net.groups], widths]).encode())
    for name, tensor in net.model.state_dict().items():
        digest.update(name.encode() + tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def _whole_lines(path: Path, head: str) -> list[str]:
    """The lines of a file, begun with ``head`` where it is not there; one that a kill cut short is cut away."""
    text = path.read_text() if path.exists() else ""
    whole = text[: text.rfind("\n") + 1] or f"{head}\n"
    if whole != text:
        path.write_text(whole)
    return whole.splitlines()
