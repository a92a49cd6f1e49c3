"""What a student is trained to do: the interface of every objective, cross-entropy, and distillation from a teacher."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn

from ...errors import SecateurError
from ...models.evaluate import embed
from ...models.inputs import Inputs, each_tensor, flattened, repeated
from ...models.outputs import OutputForm
from ...models.tasks.classification import Classification
from ...models.tasks.task import Divergence, Task
from ...models.tracing.modules import evaluating
from ..bank.bank import MemoryBank

LABEL_WEIGHT, TEACHER_WEIGHT = 0.1, 0.9  # of cross-entropy and T² KL in KD: RepDistiller's line, -r 0.1 -a 0.9


class StudentBatch(NamedTuple):
    """A batch with the student's outputs for it: ``V`` views of each of ``B`` images.

    ``fixed``: the numbers of the fixed views that these are; empty where they are new. ``epoch``: the number of the
    epoch, from 0. ``bfloat16``: the student ran in
    autocast; its outputs here are float32. Of other tasks than classification, ``logits`` holds the numbers of each
    output in one row, and ``form`` says how they make the network's output again; ``targets`` are those of each view,
    where augmentation changes them. ``features``: the outputs of the student's modules that the objective asks for.

    Shape: logits (V, B, C), embeddings (V, B, D), labels (B,), indices (B,), images (V, B, channels, size...)
    """

    logits: Tensor
    embeddings: Tensor
    labels: Any
    indices: Tensor
    images: Inputs
    fixed: tuple[int, ...] = ()
    bfloat16: bool = False
    task: Task = Classification()
    form: OutputForm | None = None
    targets: Any = None
    features: Mapping[str, Tensor] = MappingProxyType({})
    epoch: int = 0

    @property
    def output(self) -> Any:
        """What the network returned, the images of all views one after the other. Shape: leaves (V·B, ...)"""
        return self.form.unpack(self.logits) if self.form else self.logits.flatten(0, 1)

    @property
    def classes(self) -> Tensor:
        """The class of each image, for contrastive terms. Shape: → (B,) int64"""
        if self.task.negatives is None:
            raise SecateurError("this task has no classes to contrast; pass method kd or ce")
        return self.task.negatives(self.labels)

    def divergence(self, teacher: Tensor, student: Tensor) -> Tensor:
        """The task's divergence of outputs that are rows as ``logits`` are. Shape: (..., C), (..., C) → (...,)"""
        compare = require_divergence(self.task)
        if self.form is None:
            return compare(teacher, student)
        size = torch.broadcast_shapes(teacher.shape, student.shape)  # type: ignore[no-untyped-call]
        pair = (self.form.unpack(rows.expand(size)) for rows in (teacher, student))
        return compare(*pair).view(size[:-1])


TeacherLogits: TypeAlias = Callable[[StudentBatch], Tensor]  # → logits (V, B, C)
DistillationLoss: TypeAlias = Callable[[Tensor, Tensor, Tensor], Tensor]  # of teacher, student, labels → (V, B)


class Objective(ABC):
    """A loss over batches: subclass it to train a student by an objective of your own.

    ``views``: how many views of each image a step shows. ``module`` owns what the objective trains itself, and the
    buffers that a checkpoint must carry; it is moved to the student's device and trained along with the student.
    ``features``: the names of the student's modules whose outputs it needs in ``StudentBatch.features``.

    Args:
        views: Views of each image a step.
        module: An ``nn.Module`` of the objective's own parameters and buffers; None: it has none.

    >>> import torch.nn.functional as F
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

    features: Sequence[str] = ()

    def __init__(self, views: int = 1, module: nn.Module | None = None) -> None:
        self.views = views
        self.module = nn.Module() if module is None else module

    @abstractmethod
    def __call__(self, batch: StudentBatch) -> Tensor:
        """The loss to minimise, a mean over the images. Shape: → ()"""

    def metrics(self) -> dict[str, Any]:
        """Statistics of the training so far, as plain values for a record; none unless a subclass has some."""
        return {}


def label_loss(batch: StudentBatch) -> Tensor:
    """The task's loss, of classification cross-entropy with the labels; the mean over views. Shape: → ()"""
    views = len(batch.logits)
    targets = repeated(batch.labels, views) if batch.targets is None else flattened(batch.targets)
    return batch.task.mean_loss(batch.output, targets)


class CrossEntropy(Objective):
    """The labels alone, by the task's loss: the control of every comparison."""

    def __call__(self, batch: StudentBatch) -> Tensor:
        """The task's loss, of classification cross-entropy."""
        return label_loss(batch)


class Distillation(Objective):
    """Cross-entropy, and the logits of one teacher for every view.

    L = ``label_weight`` · CE + ``teacher_weight`` · mean over views and images of ``loss``(teacher, student, labels).
    KD (Hinton et al. 2015, https://arxiv.org/abs/1503.02531) has 0.1, 0.9 and ``kd_loss``; DKD has 1, 1 and
    ``dkd_loss``. Without a ``loss`` it is the divergence of the task, of classification ``kd_loss``; the task's loss
    stands for CE.
    """

    def __init__(
        self,
        teacher: TeacherLogits,
        loss: DistillationLoss | None = None,
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
        teacher_loss = (self.teacher_weight * self._distances(teacher_logits, batch)).mean()
        return self.label_weight * label_loss(batch) + teacher_loss

    def _distances(self, teacher_logits: Tensor, batch: StudentBatch) -> Tensor:
        if self.loss is None:
            return batch.divergence(teacher_logits, batch.logits)
        return self.loss(teacher_logits, batch.logits, batch.labels.expand(batch.logits.shape[:2]))


@dataclass(frozen=True, eq=False)
class OnlineTeacher:
    """A network that runs on the very views that the student sees, in the student's precision, in evaluation mode.

    ``head``: the name of its last layer, whose input is the embedding; None: the logits stand for it.
    """

    model: nn.Module
    head: str | None = None

    def __call__(self, batch: StudentBatch) -> tuple[Tensor, Tensor]:
        """Its logits and embeddings. Shape: → (V, B, C), (V, B, D) float32"""
        shape = *batch.logits.shape[:2], -1
        autocast = torch.autocast(batch.logits.device.type, torch.bfloat16, enabled=batch.bfloat16)
        with evaluating(self.model), torch.no_grad(), autocast:
            output, embeddings = embed(self.model, self.head, flattened(batch.images))
        logits = output if batch.form is None else batch.form.pack(output)
        return logits.float().reshape(shape), embeddings.float().reshape(shape)


def require_divergence(task: Task) -> Divergence:
    """The task's divergence. Raises SecateurError where its outputs can't be compared."""
    if task.divergence is None:
        raise SecateurError(
            "this task does not say how a teacher's output is compared; pass method ce, or a task with divergence="
        )
    return task.divergence


def online_teacher(model: nn.Module) -> TeacherLogits:
    """The logits of a network for the very views that the student sees: one forward pass each step."""
    teacher = OnlineTeacher(model)
    return lambda batch: teacher(batch)[0]


def bank_logits(bank: MemoryBank, batch: StudentBatch) -> Tensor:
    """The logits of all teachers of a bank, for the views that the student sees if those are fixed, else for the
    images without augmentation. A bank that fills itself is filled first.

    Shape: → (V, B, K, C)
    """
    if not batch.fixed:
        return bank.full_logits(batch.indices, batch.logits)
    if bank.source:
        for number, view in enumerate(batch.fixed):
            bank.source.fill(view, _view(batch.images, number), batch.indices)
    views = zip(batch.fixed, batch.logits, strict=True)
    return torch.stack([bank.fixed[view].full_logits(batch.indices, student) for view, student in views])


def _view(images: Inputs, number: int) -> Inputs:
    """One of the views. Shape: (V, B, ...) → (B, ...)"""
    return each_tensor(lambda x: x[number], images)


def bank_teacher(bank: MemoryBank) -> TeacherLogits:
    """The stored logits of a bank's widest teacher, the dense network; of a bank that fills itself, the mean of all."""
    if bank.source:
        return lambda batch: bank_logits(bank, batch).mean(2)
    widest = max(range(len(bank.teachers)), key=lambda k: bank.teachers[k].macs)
    return lambda batch: bank_logits(bank, batch)[:, :, widest]
