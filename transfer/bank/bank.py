"""The memory bank: the outputs of selected interim subnetworks for every training image."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from ...errors import SecateurError
from ...models.files.tensors import is_damaged, read_tensors
from ...models.inputs import Inputs
from ...models.split import Split
from .manifest import BankLocation, BankManifest, Teacher
from .top_k import restore_logits

TEACHERS = 5
AGAIN = "delete it and run again"


class BankSource(Protocol):
    """What fills a bank while it is used."""

    def fill(self, view: int, images: Inputs, indices: Tensor) -> None:
        """Store what is missing for these images in this view. Shape: images (B, ...), indices (B,)"""

    def store(self, view: int, logits: Tensor, indices: Tensor) -> None:
        """Store what the dense network has output for these images, where it is missing. Shape: logits (B, C)"""

    def fill_all(self, split: Split) -> Iterator[int]:
        """Store all that is missing; yields the number of images done, over all views."""

    def end(self) -> None:
        """Put the files that are complete in their places."""


@dataclass(frozen=True, eq=False, repr=False)
class MemoryBank:
    """Each teacher's outputs for every training image, by the image's position; best teacher first.

    Teachers ran once on the images without augmentation, and on ``fixed`` views of them: a bank for each view, of
    logits alone. All but the dense network ran with recalibrated batch norm. Embeddings are the inputs of the network's
    last layer at the dense network's width: removed channels are zeros, so that all teachers share one space. Where
    classes are many, only the logits of the ``classes`` that the first teacher finds most likely are kept, and one for
    the rest; embeddings then are those of the first teacher alone.

    Outputs of other tasks than classification are rows of all their numbers, in float32. ``source`` fills the fixed
    views of a bank that fills itself.

    Shape: logits K x (N, C), embeddings K x (N, D), float16, memory-mapped; of many classes: logits K x (N, k + 1),
    classes (N, k) int16, embeddings 1 x (N, D)
    """

    folder: Path
    teachers: tuple[Teacher, ...]
    logits: tuple[Tensor, ...]
    embeddings: tuple[Tensor, ...]
    classes: Tensor | None = None
    fixed: "tuple[MemoryBank, ...]" = ()
    source: BankSource | None = None

    def __repr__(self) -> str:
        images = len(self.logits[0]) if self.logits else 0
        return f"MemoryBank(teachers={len(self.teachers)}, images={images}, views={len(self.fixed)})"

    def stored_logits(self, indices: Tensor) -> Tensor:
        """All teachers' logits for these images, as they are stored. Shape: indices (B,) → (B, K, C) float32"""
        return torch.stack([logits[indices] for logits in self.logits], 1).float()

    def full_logits(self, indices: Tensor, student: Tensor) -> Tensor:
        """All teachers' logits for these images over all classes; where they are not stored, as the student has them.

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


def open_bank(location: BankLocation, images: int) -> MemoryBank:
    """The bank that ``fill_bank`` filled. SecateurError where it is of other data or another number of images, or
    broken.
    """
    teachers = BankManifest.read(location).teachers
    views = (None, *range(_views(location.folder, teachers)))
    whole, *fixed = (_opened(location.folder, teachers, view, images) for view in views)
    return replace(whole, fixed=tuple(fixed))


def read_teacher(path: Path, images: int) -> dict[str, Tensor]:
    """One teacher's outputs for all images, memory-mapped; SecateurError where the file is not whole."""
    _, tensors = read_tensors(path, AGAIN)
    if lost := {"logits"} - tensors.keys():
        raise SecateurError(f"{path} is damaged (it lacks {min(lost)!r}); {AGAIN}")
    if (held := len(tensors["logits"])) != images:
        raise SecateurError(f"{path} holds {held} images, the training data {images}; {AGAIN}")
    return tensors


def teacher_file(teacher: Teacher, view: int | None = None) -> str:
    """The name of the file of a teacher's outputs for the images without augmentation, or for a fixed view of them."""
    name = f"teacher-{teacher.subnetwork.digest}"
    return f"{name}.safetensors" if view is None else f"{name}-view-{view}.safetensors"


def damaged_files(folder: Path) -> list[Path]:
    """The files of teachers that are not as they were written; what is deleted is filled again."""
    return [path for path in sorted(folder.glob("teacher-*.safetensors")) if is_damaged(path)]


def remove_leftovers(folder: Path) -> None:
    """Remove the journals of files that are complete: a kill may have come just after they were."""
    for path in folder.glob("teacher-*.journal"):
        if path.with_suffix(".safetensors").exists():
            path.unlink(missing_ok=True)


def _views(folder: Path, teachers: Sequence[Teacher]) -> int:
    """The number of fixed views that all teachers have outputs for."""
    stems = (Path(teacher_file(teacher)).stem for teacher in teachers)
    return min((len(list(folder.glob(f"{stem}-view-*.safetensors"))) for stem in stems), default=0)


def _opened(folder: Path, teachers: tuple[Teacher, ...], view: int | None, images: int) -> MemoryBank:
    tensors = [read_teacher(folder / teacher_file(teacher, view), images) for teacher in teachers]
    embeddings = tuple(each["embeddings"] for each in tensors if "embeddings" in each)
    logits = tuple(each["logits"] for each in tensors)
    return MemoryBank(folder, teachers, logits, embeddings, tensors[0].get("classes"))
