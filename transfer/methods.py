"""The methods of fine-tuning, by the words of --method: what each trains a student to do."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from torch import Tensor, nn

from ..errors import SecateurError
from ..models.supernet import Supernet
from .bank.bank import TEACHERS, MemoryBank
from .losses import dkd_loss
from .objectives.base import (
    ContrastiveTransfer,
    CrossEntropy,
    Distillation,
    Objective,
    bank_teacher,
    kd_loss,
    online_teacher,
)
from .objectives.contrastive_queue import QueuedTransfer
from .objectives.crd import RepresentationDistillation


@dataclass(frozen=True, eq=False)
class MethodContext:
    """What a method of fine-tuning may use: the dense network, the bank, the labels; the student's embedding width.

    Shape: labels (N,) int64
    """

    net: Supernet
    filled: MemoryBank | None
    labels: Tensor
    classes: int
    width: int
    seed: int

    @property
    def bank(self) -> MemoryBank:
        """The bank; SecateurError where none was given."""
        if self.filled is None:
            raise SecateurError("this method learns from a memory bank, and none is given; give kd, dkd, crd or ce")
        return self.filled

    @property
    def widths(self) -> tuple[int, int]:
        """The embedding widths of student and dense network."""
        return self.width, embedding_width(self.net.model, self.net.head, self.classes)


def ckt(lesson: MethodContext) -> Objective:
    """Cross-entropy, gated teachers and InfoNCE against the bank, weighed as KD weighs its own."""
    return ContrastiveTransfer(lesson.bank, lesson.labels, lesson.width, seed=lesson.seed)


def ckt_kl(lesson: MethodContext) -> Objective:
    """Cross-entropy and gated teachers only."""
    return ContrastiveTransfer(lesson.bank, lesson.labels, lesson.width, contrast=0.0, seed=lesson.seed)


def ce(lesson: MethodContext) -> Objective:
    """Cross-entropy alone."""
    return CrossEntropy()


def kd(lesson: MethodContext) -> Objective:
    """The dense network as the teacher, on the student's own views: a forward pass of it each step."""
    return Distillation(online_teacher(lesson.net.model), kd_loss, 0.1)


def kdft(lesson: MethodContext) -> Objective:
    """The dense network as the teacher, from the bank: its logits of the images as they are."""
    return Distillation(bank_teacher(lesson.bank), kd_loss, 0.1)


def dkd(lesson: MethodContext) -> Objective:
    """As ``kd``, the labelled class and the others weighted apart."""
    return Distillation(online_teacher(lesson.net.model), dkd_loss, 1.0)


def crd(lesson: MethodContext) -> Objective:
    """Contrastive representation distillation: the dense network along, and two memories of embeddings."""
    net, labels = lesson.net, lesson.labels
    return RepresentationDistillation(net.model, net.head, labels, lesson.widths, seed=lesson.seed)


def ckt_queue(lesson: MethodContext) -> Objective:
    """As ``ckt`` without the bank: the dense network along, and a queue of its latest embeddings."""
    net = lesson.net
    return QueuedTransfer(net.model, net.head, lesson.widths, seed=lesson.seed)


METHODS: dict[str, Callable[[MethodContext], Objective]] = {
    "ckt": ckt,
    "ckt-kl": ckt_kl,
    "ckt-queue": ckt_queue,
    "kdft": kdft,
    "kd": kd,
    "dkd": dkd,
    "crd": crd,
    "ce": ce,
}

# Those that learn from what the bank holds, and from how many of its teachers.
BANKED = {"ckt": TEACHERS, "ckt-kl": TEACHERS, "kdft": 1}


def require_method(method: str, others: Iterable[str] = ()) -> None:
    """Raise SecateurError where no method of fine-tuning is called so, nor one of the ``others``."""
    if method not in (known := (*METHODS, *others)):
        raise SecateurError(f"no method is called {method!r}; give {', '.join(known)}")


def embedding_width(model: nn.Module, head: str | None, classes: int) -> int:
    """How many numbers ``head`` reads of an image, or how many logits there are, where there is no head."""
    return model.get_parameter(f"{head}.weight").shape[1] if head else classes
