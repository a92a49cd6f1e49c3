"""The memory bank: what selected interim subnetworks know of every training image."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ...errors import SecateurError
from ...models.subnetwork import Subnetwork
from ...models.tracing.atoms import FloatArray
from .top_k import restore_logits

TEACHERS = 5
MANIFEST = "bank.json"  # of the winner's bank; other points of the front have their own beside it


@dataclass(frozen=True)
class Teacher:
    """An interim subnetwork that was chosen for the bank, with its holdout loss and cost."""

    subnetwork: Subnetwork
    loss: float
    macs: int


@dataclass(frozen=True, eq=False)
class MemoryBank:
    """What each teacher says of every training image, by the image's position; best teacher first.

    Teachers ran once, on the images as they are, and on ``fixed`` views of them: a bank for each, of logits alone. All
    but the dense network did so with recalibrated batch norm. Embeddings are what the network's last layer reads, at
    the dense network's width: removed channels are zeros, so that all teachers share one space. Where classes are many,
    logits are ``condensed`` to the ``classes`` that the first teacher finds likely; embeddings are that one's alone.

    Shape: logits K x (N, C), embeddings K x (N, D), float16, memory-mapped; condensed: logits K x (N, k + 1),
    classes (N, k) int16, embeddings 1 x (N, D)
    """

    folder: Path
    teachers: tuple[Teacher, ...]
    logits: tuple[Tensor, ...]
    embeddings: tuple[Tensor, ...]
    classes: Tensor | None = None
    fixed: "tuple[MemoryBank, ...]" = ()

    def stored_logits(self, indices: Tensor) -> Tensor:
        """All teachers' logits of these images, as they are stored. Shape: indices (B,) → (B, K, C) float32"""
        return torch.stack([logits[indices] for logits in self.logits], 1).float()

    def full_logits(self, indices: Tensor, student: Tensor) -> Tensor:
        """All teachers' logits of these images, of all classes; what is not known of them is as the student has it.

        Shape: indices (B,), student (..., B, C) → (..., B, K, C) float32
        """
        stored = self.stored_logits(indices).to(student.device)
        if self.classes is None:
            return stored.expand(*student.shape[:-2], *stored.shape)
        classes = self.classes[indices].long().to(student.device)
        return restore_logits(stored, classes[:, None], student.detach()[..., None, :])

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


class TeacherCandidate(Protocol):
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


def choose_teachers(candidates: Sequence[TeacherCandidate], dense: Subnetwork, winner: Subnetwork) -> list[Teacher]:
    """The teachers of a bank, best first, out of candidates that hold the dense network and the winner."""
    losses = {candidate.subnetwork: candidate.loss for candidate in candidates}
    candidates = [c for c in candidates if c.subnetwork == dense or c.subnetwork != winner]
    chosen = teachers_by_loss(np.array([c.loss for c in candidates]), losses[dense], losses[winner])
    return [Teacher(candidates[c].subnetwork, candidates[c].loss, candidates[c].macs) for c in chosen]


def open_bank(folder: Path, images: int, data: str, plan: str = MANIFEST) -> MemoryBank:
    """The bank that ``record`` filled. Raises SecateurError where it is of other data, or broken."""
    said = read_bank_manifest(folder / plan, data)
    teachers = tuple(Teacher(Subnetwork(tuple(map(tuple, t["kept"]))), t["loss"], t["macs"]) for t in said["teachers"])
    whole, *fixed = (_opened(folder, teachers, view, images) for view in (None, *range(_views(folder, teachers))))
    return replace(whole, fixed=tuple(fixed))


def _views(folder: Path, teachers: Sequence[Teacher]) -> int:
    """How many fixed views all teachers have spoken of."""
    return min(
        (len(list(folder.glob(f"{Path(teacher_file(each)).stem}-view-*.safetensors"))) for each in teachers), default=0
    )


def _opened(folder: Path, teachers: tuple[Teacher, ...], view: int | None, images: int) -> MemoryBank:
    tensors = [read_teacher(folder / teacher_file(teacher, view), images) for teacher in teachers]
    embeddings = tuple(each["embeddings"] for each in tensors if "embeddings" in each)
    logits = tuple(each["logits"] for each in tensors)
    return MemoryBank(folder, teachers, logits, embeddings, tensors[0].get("classes"))


def read_bank_manifest(path: Path, data: str) -> dict[str, Any]:
    """Which teachers a bank has, of these data; SecateurError where it is of others, or not there."""
    try:
        plan: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise SecateurError(f"no memory bank in {path.parent} ({error}); run secateur search first") from error
    if plan["data"] != data:
        here = f"the bank in {path.parent} is of other data"
        raise SecateurError(f"{here} ({plan['data']}, not {data}); give another --out")
    return plan


def read_teacher(path: Path, images: int) -> dict[str, Tensor]:
    """What one teacher says of all images, memory-mapped; SecateurError where it is not whole."""
    try:
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise SecateurError(f"{path} cannot be read ({error}); delete it and run again") from error
    if (held := len(tensors["logits"])) != images:
        raise SecateurError(f"{path} holds {held} images, the training data {images}; delete it and run again")
    return tensors


def manifest_name(student: Subnetwork, winner: Subnetwork) -> str:
    """The name of the file that lists a student's teachers."""
    return MANIFEST if student == winner else f"bank-{student.digest}.json"


def teacher_file(teacher: Teacher, view: int | None = None) -> str:
    """The name of the file that holds what a teacher says of the images as they are, or of a fixed view of them."""
    name = f"teacher-{teacher.subnetwork.digest}"
    return f"{name}.safetensors" if view is None else f"{name}-view-{view}.safetensors"
