"""The memory bank: what selected interim subnetworks know of every training image."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..models.atoms import FloatArray
from ..models.batches import Split
from ..models.compensate import compensated
from ..models.errors import SecateurError
from ..models.evaluate import BATCH, device_of, embed, recalibrate
from ..models.gram import Gram
from ..models.slim import kept_places
from ..models.subnetwork import Subnetwork
from ..models.supernet import Supernet
from ..models.trace import evaluating

TEACHERS = 5


@dataclass(frozen=True)
class Teacher:
    """An interim subnetwork that was chosen for the bank, with its holdout loss and cost."""

    subnetwork: Subnetwork
    loss: float
    macs: int


@dataclass(frozen=True, eq=False)
class MemoryBank:
    """What each teacher says of every training image, by the image's position; best teacher first.

    Teachers ran once, with recalibrated batch norm, on the images as they are. Embeddings are what the
    network's last layer reads, at the dense network's width: removed channels are zeros, so that all
    teachers share one space.

    Shape: logits K x (N, C), embeddings K x (N, D), float16, memory-mapped
    """

    folder: Path
    teachers: tuple[Teacher, ...]
    logits: tuple[Tensor, ...]
    embeddings: tuple[Tensor, ...]

    def at(self, indices: Tensor) -> Tensor:
        """All teachers' logits of these images. Shape: indices (B,) → (B, K, C) float32"""
        return torch.stack([logits[indices] for logits in self.logits], 1).float()

    def keys(self) -> Tensor:
        """The best teacher's embeddings, standardised and of unit length. Shape: → (N, D) float32"""
        raw = self.embeddings[0].float()
        return F.normalize((raw - raw.mean(0)) / raw.std(0).clamp_min(1e-6), dim=1)


def teachers_by_loss(losses: FloatArray, dense: float, winner: float, count: int = TEACHERS) -> list[int]:
    """Positions of the interim subnetworks that lie nearest to even steps of loss between dense and winner.

    Targets are dense + (K−k)/K·(winner − dense) for k = K..1, the dense network itself first and the winner left
    out (EKG's poster, eqs. 10-11, read on [dense, winner]: in a search whose candidates all sit at the
    budget the worst of them would otherwise set the scale). Each is taken once; ascending by loss, so
    that the first is the best. Fewer than ``count`` where fewer lie between.

    Shape: losses (M,) → at most ``count`` positions
    """
    left = (losses == dense) | ((losses > dense) & (losses < winner))  # dense even where the winner is better
    chosen: list[int] = []
    for target in np.linspace(dense, winner, count, endpoint=False):
        if left.any():
            nearest = int(np.where(left, np.abs(losses - target), np.inf).argmin())
            left[nearest] = False
            chosen.append(nearest)
    return sorted(chosen, key=lambda i: (losses[i], i))


class Candidate(Protocol):
    """A subnetwork with its holdout loss and cost: what any search can offer as a teacher."""

    @property
    def subnetwork(self) -> Subnetwork:
        """The kept channels."""

    @property
    def loss(self) -> float:
        """Mean holdout cross-entropy, nats."""

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one image."""


def choose_teachers(candidates: Sequence[Candidate], dense: Subnetwork, winner: Subnetwork) -> list[Teacher]:
    """The teachers of a bank, best first, out of candidates that hold the dense network and the winner."""
    losses = {candidate.subnetwork: candidate.loss for candidate in candidates}
    candidates = [c for c in candidates if c.subnetwork == dense or c.subnetwork != winner]
    chosen = teachers_by_loss(np.array([c.loss for c in candidates]), losses[dense], losses[winner])
    return [Teacher(candidates[c].subnetwork, candidates[c].loss, candidates[c].macs) for c in chosen]


def record(
    net: Supernet, teachers: Sequence[Teacher], grams: Mapping[str, Gram], split: Split, folder: Path, data: str
) -> Iterator[int]:
    """Fill the bank in ``folder``, one file a teacher; yields images done, over all teachers.

    Teachers are compensated by ``grams``, as they were when the search scored them. One that is already there
    is not run again. ``data`` is the data set's fingerprint.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / "bank.json").exists():
        _plan(folder, data)  # the teachers that are there must be of the same data
    plan = [{"kept": t.subnetwork.kept, "loss": t.loss, "macs": t.macs} for t in teachers]
    _write_json(folder / "bank.json", {"format": "secateur/bank/1", "data": data, "teachers": plan})
    done = 0
    for teacher in teachers:
        path = folder / _file(teacher)
        if path.exists():
            done += len(split)
            yield done
            continue
        for count in _record(net, teacher.subnetwork, grams, split, path):
            yield done + count
        done += len(split)


def _record(
    net: Supernet, subnetwork: Subnetwork, grams: Mapping[str, Gram], split: Split, path: Path
) -> Iterator[int]:
    model = compensated(net, subnetwork, grams)
    recalibrate(model, split)
    kept = kept_places(net, subnetwork).get(f"{net.head}.weight", {}).get(1)
    logits, embeddings, done = torch.empty(0), torch.empty(0), 0
    for images, _, indices in split.batches(BATCH):
        with evaluating(model), torch.no_grad():
            z, e = (x.cpu() for x in embed(model, net.head, images.to(device_of(model))))
        if kept is not None:
            e = torch.zeros(len(e), net.shapes[f"{net.head}.weight"][1]).index_copy(1, torch.from_numpy(kept), e)
        if not done:
            logits = torch.empty(len(split), z.shape[1], dtype=torch.float16)
            embeddings = torch.empty(len(split), e.shape[1], dtype=torch.float16)
        logits[indices], embeddings[indices] = z.half(), e.half()
        done += len(indices)
        yield done
    partial = path.with_suffix(".partial")
    save_file({"logits": logits, "embeddings": embeddings}, partial)
    partial.replace(path)


def open_bank(folder: Path, images: int, data: str) -> MemoryBank:
    """The bank that ``record`` filled. Raises SecateurError where it is of other data, or broken."""
    plan = _plan(folder, data)
    teachers = tuple(Teacher(Subnetwork(tuple(map(tuple, t["kept"]))), t["loss"], t["macs"]) for t in plan["teachers"])
    logits, embeddings = zip(*(_open(folder / _file(t), images) for t in teachers), strict=True)
    return MemoryBank(folder, teachers, logits, embeddings)


def _plan(folder: Path, data: str) -> dict[str, Any]:
    try:
        plan: dict[str, Any] = json.loads((folder / "bank.json").read_text())
    except (OSError, ValueError) as error:
        raise SecateurError(f"no memory bank in {folder} ({error}); run secateur search first") from error
    if plan["data"] != data:
        raise SecateurError(f"the bank in {folder} is of other data ({plan['data']}, not {data}); give another --out")
    return plan


def _open(path: Path, images: int) -> tuple[Tensor, Tensor]:
    try:
        with safe_open(path, "pt") as file:
            logits, embeddings = file.get_tensor("logits"), file.get_tensor("embeddings")
    except (OSError, SafetensorError) as error:
        raise SecateurError(f"{path} cannot be read ({error}); delete it and run again") from error
    if len(logits) != images:
        raise SecateurError(f"{path} holds {len(logits)} images, the training data {images}; delete it and run again")
    return logits, embeddings


def _file(teacher: Teacher) -> str:
    return f"teacher-{hashlib.sha256(teacher.subnetwork.to_json().encode()).hexdigest()[:12]}.safetensors"


def _write_json(path: Path, value: object) -> None:
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(value))
    partial.replace(path)
