"""What a student is trained to do: cross-entropy alone, or with knowledge from the memory bank."""

from collections.abc import Callable
from typing import NamedTuple, Protocol, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...models.evaluate import embed
from ...models.tracing.trace import evaluating
from ..bank.bank import MemoryBank
from ..bank.negatives import Negatives, hard_negatives, random_negatives, write_index
from ..losses import gated_transfer, info_nce, kl, open_gates

NEGATIVES = 64  # keys of other classes for each image


class StudentBatch(NamedTuple):
    """What the student made of one batch; ``fixed``: the numbers of its views, where they are not new.

    ``bfloat16``: it ran in autocast.

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
Choice: TypeAlias = Callable[[MemoryBank, Tensor], Negatives]  # of a bank and the labels (N,)
DistillationLoss: TypeAlias = Callable[[Tensor, Tensor, Tensor], Tensor]  # of teacher, student, labels → (V, B)


class Objective(Protocol):
    """A loss over batches. ``views``: how often each image is seen a step; ``module`` owns what it trains itself."""

    views: int
    module: nn.Module

    def __call__(self, seen: StudentBatch) -> Tensor:
        """The loss to minimise. Shape: → ()"""

    def gates(self) -> list[float]:
        """The share of steps that each teacher was listened to, best first; empty without teachers."""


def label_loss(seen: StudentBatch) -> Tensor:
    """Cross-entropy with the labels, the mean over views. Shape: → ()"""
    views, batch, classes = seen.logits.shape
    return F.cross_entropy(seen.logits.reshape(views * batch, classes), seen.labels.repeat(views))


class CrossEntropy:
    """The labels alone: the control of every comparison."""

    def __init__(self, views: int = 1) -> None:
        self.views, self.module = views, nn.Module()

    def __call__(self, seen: StudentBatch) -> Tensor:
        """Cross-entropy."""
        return label_loss(seen)

    def gates(self) -> list[float]:
        """It has no teachers."""
        return []


class Distillation:
    """Cross-entropy, and one teacher who says its logits of every view.

    L = ``own`` · CE + mean over views and images of ``loss``(teacher, student, labels). KD (Hinton et al. 2015) has
    0.1 and 0.9 · T² KL, as the line of RepDistiller that it is compared by; DKD has 1 and ``decoupled``.
    """

    def __init__(self, teacher: TeacherLogits, loss: DistillationLoss, label_weight: float) -> None:
        self.views, self.module = 1, nn.Module()
        self.teacher, self.loss, self.label_weight = teacher, loss, label_weight

    def __call__(self, seen: StudentBatch) -> Tensor:
        """Cross-entropy and what the teacher says."""
        with torch.no_grad():
            told = self.teacher(seen)
        labels = seen.labels.expand(seen.logits.shape[:2])
        return self.label_weight * label_loss(seen) + self.loss(told, seen.logits, labels).mean()

    def gates(self) -> list[float]:
        """Its one teacher is always heard."""
        return []


def teacher_forward(dense: nn.Module, head: str | None, seen: StudentBatch) -> tuple[Tensor, Tensor]:
    """The dense network's logits and embeddings of the very views that the student sees, in its precision.

    Shape: → (V, B, C), (V, B, D)
    """
    shape = *seen.images.shape[:2], -1
    kind = torch.autocast(seen.images.device.type, torch.bfloat16, enabled=seen.bfloat16)
    with evaluating(dense), torch.no_grad(), kind:
        logits, embeddings = embed(dense, head, seen.images.flatten(0, 1))
    return logits.float().reshape(shape), embeddings.float().reshape(shape)


def online_teacher(dense: nn.Module) -> TeacherLogits:
    """The dense network on the very views that the student sees: a forward pass each step."""
    return lambda seen: teacher_forward(dense, None, seen)[0]


def bank_logits(bank: MemoryBank, seen: StudentBatch) -> Tensor:
    """What the teachers of a bank say: of the very views that the student sees where those are fixed, else of the
    images as they are.

    Shape: → (V, B, K, C)
    """
    if not seen.fixed:
        return bank.full_logits(seen.indices, seen.logits)
    each = zip(seen.fixed, seen.logits, strict=True)
    return torch.stack([bank.fixed[view].full_logits(seen.indices, student) for view, student in each])


def bank_teacher(bank: MemoryBank) -> TeacherLogits:
    """The widest teacher of the bank, the dense network, as it spoke when the bank was filled: no forward pass."""
    widest = max(range(len(bank.teachers)), key=lambda k: bank.teachers[k].macs)
    return lambda seen: bank_logits(bank, seen)[:, :, widest]


def kd_loss(teacher: Tensor, student: Tensor, labels: Tensor) -> Tensor:
    """0.9 · T² KL; the labels have no say. Shape: (..., C), (..., C), (...,) → (...,)"""
    return 0.9 * kl(teacher, student)


def hard_bank_negatives(bank: MemoryBank, labels: Tensor) -> Negatives:
    """The keys of other classes that look most like an image's own; found once, since keys are static."""
    path = bank.folder / "index.faiss"
    write_index(bank.keys(), path)
    hard = hard_negatives(path, labels, NEGATIVES)
    return lambda indices: hard[indices]


def random_bank_negatives(bank: MemoryBank, labels: Tensor) -> Negatives:
    """Any keys of other classes, anew at each step."""
    return random_negatives(labels, NEGATIVES)


class ContrastiveTransfer:
    """CKT: cross-entropy, plus the gated teachers of the bank, plus InfoNCE against its keys.

    L = ``own`` · CE + ``pull`` · CKT-A + ``contrast`` · InfoNCE, over ``views`` of each image; CKT-A is T^``power`` KL.
    The keys are the dense network's standardised embeddings and the student's embeddings reach them through one linear
    projection, trained along and thrown away; ``choose`` says which keys are negatives. A term of weight 0
    is not computed. The papers leave the contrastive term open: this is methods 1.3 d, A plus B. EKG has two views, and
    weights 1, 1 and T · KL, which leaves teachers little say; these are KD's, 0.1 and 0.9 · T² KL, 36 times as much.
    """

    def __init__(
        self,
        bank: MemoryBank,
        labels: Tensor,
        width: int,
        *,
        own: float = 0.1,
        pull: float = 0.9,
        contrast: float = 0.1,
        power: int = 2,
        views: int = 1,
        seed: int,
        choose: Choice = hard_bank_negatives,
    ):
        self.views, self.bank, self.own, self.pull, self.contrast, self.power = views, bank, own, pull, contrast, power
        self.module = nn.Module()
        # of how many steps each gate was open; a buffer, so that a checkpoint carries it
        self.module.register_buffer("opened", torch.zeros(len(bank.teachers) + 1))
        if contrast:
            self.keys = bank.keys()
            self.negatives = choose(bank, labels)
            self.module.add_module("projection", projection(width, self.keys.shape[1], seed))

    def __call__(self, seen: StudentBatch) -> Tensor:
        """Cross-entropy and the two terms of the bank."""
        loss, device = self.own * label_loss(seen), seen.logits.device
        if self.pull:
            teachers = bank_logits(self.bank, seen)
            gates = open_gates(teachers.mean(0), seen.logits.detach().mean(0))
            self.module.get_buffer("opened").add_(torch.cat([gates, gates[:1]]))  # the last counts steps
            loss = loss + self.pull * gated_transfer(teachers, seen.logits, power=self.power)
        if self.contrast:
            queries = F.normalize(self.module.get_submodule("projection")(seen.embeddings), dim=-1)
            keys, others = self.keys[seen.indices], self.keys[self.negatives(seen.indices)]
            loss = loss + self.contrast * info_nce(queries, keys.to(device), others.to(device))
        return loss

    def gates(self) -> list[float]:
        """The share of steps that each teacher's gate was open, best teacher first."""
        *opened, steps = self.module.get_buffer("opened").tolist()
        return [each / steps if steps else 0.0 for each in opened]


def projection(width: int, keys: int, seed: int) -> nn.Linear:
    """What takes a student's embeddings to the space of the keys: linear, orthogonal at first."""
    linear = nn.Linear(width, keys, bias=False)
    nn.init.orthogonal_(linear.weight, generator=torch.Generator().manual_seed(seed))
    return linear
