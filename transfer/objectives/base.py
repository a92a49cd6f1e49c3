"""What a student is trained to do: the interface of every objective, cross-entropy, and distillation from a teacher."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...models.evaluate import embed
from ...models.tracing.modules import evaluating
from ..bank.bank import MemoryBank

LABEL_WEIGHT, TEACHER_WEIGHT = 0.1, 0.9  # of cross-entropy and T² KL in KD: RepDistiller's line, -r 0.1 -a 0.9


class StudentBatch(NamedTuple):
    """A batch with the student's outputs for it: ``V`` views of each of ``B`` images.

    ``fixed``: the numbers of the fixed views that these are; empty where they are new. ``bfloat16``: the student ran in
    autocast; its outputs here are float32.

    Shape: logits (V, B, C), embeddings (V, B, D), labels (B,), indices (B,), images (V, B, channels, size...)
    """

    logits: Tensor
    embeddings: Tensor
    labels: Tensor
    indices: Tensor
    images: Tensor
    fixed: tuple[int, ...] = ()
    bfloat16: bool = False


TeacherLogits: TypeAlias = Callable[[StudentBatch], Tensor]  # → logits (V, B, C)
DistillationLoss: TypeAlias = Callable[[Tensor, Tensor, Tensor], Tensor]  # of teacher, student, labels → (V, B)


class Objective(ABC):
    """A loss over batches: subclass it to train a student by an objective of your own.

    ``views``: how many views of each image a step shows. ``module`` owns what the objective trains itself, and the
    buffers that a checkpoint must carry; it is moved to the student's device and trained along with the student.

    Args:
        views: Views of each image a step.
        module: An ``nn.Module`` of the objective's own parameters and buffers; None: it has none.

    >>> class LabelSmoothing(Objective):
    ...     def __call__(self, batch):
    ...         views, images, classes = batch.logits.shape
    ...         logits, labels = batch.logits.reshape(-1, classes), batch.labels.repeat(views)
    ...         return F.cross_entropy(logits, labels, label_smoothing=0.1)
    >>> batch = StudentBatch(torch.zeros(1, 2, 4), torch.zeros(1, 2, 8), torch.tensor([0, 3]), torch.arange(2),
    ...                      torch.zeros(1, 2, 3, 8, 8))
    >>> round(float(LabelSmoothing()(batch)), 4)  # log 4
    1.3863
    """

    def __init__(self, views: int = 1, module: nn.Module | None = None) -> None:
        self.views, self.module = views, nn.Module() if module is None else module

    @abstractmethod
    def __call__(self, batch: StudentBatch) -> Tensor:
        """The loss to minimise, a mean over the images. Shape: → ()"""

    def metrics(self) -> dict[str, Any]:
        """Statistics of the training so far, as plain values for a record; none unless a subclass has some."""
        return {}


def label_loss(batch: StudentBatch) -> Tensor:
    """Cross-entropy with the labels, the mean over views. Shape: → ()"""
    views, images, classes = batch.logits.shape
    return F.cross_entropy(batch.logits.reshape(views * images, classes), batch.labels.repeat(views))


class CrossEntropy(Objective):
    """The labels alone: the control of every comparison."""

    def __call__(self, batch: StudentBatch) -> Tensor:
        """Cross-entropy."""
        return label_loss(batch)


class Distillation(Objective):
    """Cross-entropy, and the logits of one teacher for every view.

    L = ``label_weight`` · CE + ``teacher_weight`` · mean over views and images of ``loss``(teacher, student, labels).
    KD (Hinton et al. 2015, https://arxiv.org/abs/1503.02531) has 0.1, 0.9 and ``kd_loss``; DKD has 1, 1 and
    ``dkd_loss``.
    """

    def __init__(
        self,
        teacher: TeacherLogits,
        loss: DistillationLoss,
        label_weight: float = LABEL_WEIGHT,
        teacher_weight: float = TEACHER_WEIGHT,
    ) -> None:
        super().__init__()
        self.teacher, self.loss = teacher, loss
        self.label_weight, self.teacher_weight = label_weight, teacher_weight

    def __call__(self, batch: StudentBatch) -> Tensor:
        """The weighted sum of both terms."""
        with torch.no_grad():
            teacher_logits = self.teacher(batch)
        labels = batch.labels.expand(batch.logits.shape[:2])
        teacher_loss = (self.teacher_weight * self.loss(teacher_logits, batch.logits, labels)).mean()
        return self.label_weight * label_loss(batch) + teacher_loss


@dataclass(frozen=True, eq=False)
class OnlineTeacher:
    """A network that runs on the very views that the student sees, in the student's precision, in evaluation mode.

    ``head``: the name of its last layer, whose input is the embedding; None: the logits stand for it.
    """

    model: nn.Module
    head: str | None = None

    def __call__(self, batch: StudentBatch) -> tuple[Tensor, Tensor]:
        """Its logits and embeddings. Shape: → (V, B, C), (V, B, D) float32"""
        shape = *batch.images.shape[:2], -1
        autocast = torch.autocast(batch.images.device.type, torch.bfloat16, enabled=batch.bfloat16)
        with evaluating(self.model), torch.no_grad(), autocast:
            logits, embeddings = embed(self.model, self.head, batch.images.flatten(0, 1))
        return logits.float().reshape(shape), embeddings.float().reshape(shape)


def online_teacher(model: nn.Module) -> TeacherLogits:
    """The logits of a network for the very views that the student sees: one forward pass each step."""
    teacher = OnlineTeacher(model)
    return lambda batch: teacher(batch)[0]


def bank_logits(bank: MemoryBank, batch: StudentBatch) -> Tensor:
    """The logits of all teachers of a bank, for the views that the student sees if those are fixed, else for the
    images without augmentation.

    Shape: → (V, B, K, C)
    """
    if not batch.fixed:
        return bank.full_logits(batch.indices, batch.logits)
    views = zip(batch.fixed, batch.logits, strict=True)
    return torch.stack([bank.fixed[view].full_logits(batch.indices, student) for view, student in views])


def bank_teacher(bank: MemoryBank) -> TeacherLogits:
    """The stored logits of the widest teacher of a bank, the dense network: no forward pass."""
    widest = max(range(len(bank.teachers)), key=lambda k: bank.teachers[k].macs)
    return lambda batch: bank_logits(bank, batch)[:, :, widest]
