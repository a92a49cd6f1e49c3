"""The methods of fine-tuning, by name: what each trains a student to do."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from torch import Tensor, nn

from ..errors import SecateurError
from ..models.subnetwork import Subnetwork
from ..models.supernet import Supernet
from ..models.tasks.classification import Classification
from ..models.tasks.task import Task
from .bank.bank import TEACHERS, MemoryBank
from .losses import dkd_loss
from .objectives.aligned import ALIGNED, AlignedConfig, AlignedTransfer, KeptFeatures
from .objectives.base import (
    LABEL_WEIGHT,
    TEACHER_WEIGHT,
    CrossEntropy,
    Distillation,
    Objective,
    OnlineTeacher,
    bank_teacher,
    online_teacher,
    require_divergence,
)
from .objectives.contrastive import ContrastiveConfig, ContrastiveTransfer
from .objectives.contrastive_queue import QueuedTransfer
from .objectives.crd import RepresentationDistillation


@dataclass(frozen=True, eq=False)
class MethodContext:
    """What an objective may be made from. A method of fine-tuning is a function of it that returns an ``Objective``.

    Args:
        net: The dense network with its structure.
        filled: The memory bank, where there is one; ``bank`` is for methods that need it.
        labels: The class of every training image; None where the task has no classes. Shape: (N,) int64
        classes: The number of classes, or of channels that the network returns.
        width: The width of the student's embeddings.
        seed: Of what the objective draws at random.
        task: What outputs are judged and compared by.
        teacher: A network that teaches instead of the dense one, for the methods that take one.
        student: The channels that the student keeps; None: not known, and no method that matches channels will do.

    >>> import torch
    >>> model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))
    >>> net = Supernet.of(model.eval(), torch.zeros(1, 3, 8, 8))
    >>> context = MethodContext(net, None, torch.arange(4), classes=4, width=6, seed=0)
    >>> context.widths
    (6, 8)
    >>> from secateur.transfer.losses import kd_loss
    >>> def soft_targets(context):  # a method of one's own
    ...     return Distillation(online_teacher(context.net.model), kd_loss, label_weight=0.0, teacher_weight=1.0)
    >>> soft_targets(context).views
    1
    """

    net: Supernet
    filled: MemoryBank | None
    labels: Tensor | None
    classes: int
    width: int
    seed: int
    task: Task = field(default_factory=Classification)
    teacher: nn.Module | None = None
    student: Subnetwork | None = None

    @property
    def bank(self) -> MemoryBank:
        """The memory bank; SecateurError where there is none."""
        if self.filled is None:
            names = ", ".join(name for name, method in METHODS.items() if not method.bank_teachers)
            raise SecateurError(
                f"this method learns from a memory bank, and there is none; pass one, or one of {names}"
            )
        return self.filled

    @property
    def known_labels(self) -> Tensor:
        """The class of every training image; SecateurError where the task has none. Shape: → (N,) int64"""
        if self.labels is None:
            raise SecateurError(
                "this method contrasts images of different classes, and the task has none; pass kd or ce"
            )
        return self.labels

    @property
    def widths(self) -> tuple[int, int]:
        """The embedding widths of student and dense network."""
        return self.width, embedding_width(self.net.model, self.net.head, self.classes)

    @property
    def teaching(self) -> nn.Module:
        """The teacher, by default the dense network."""
        return self.net.model if self.teacher is None else self.teacher

    @property
    def kept(self) -> Subnetwork:
        """The channels that the student keeps; SecateurError where they are not known."""
        if self.student is None:
            raise SecateurError("this method matches channels, and the student's are not known; pass student=")
        return self.student

    @property
    def dense(self) -> OnlineTeacher:
        """The dense network as a teacher that runs along."""
        return OnlineTeacher(self.net.model, self.net.head)


def ckt(context: MethodContext) -> Objective:
    """Cross-entropy, gated teachers and InfoNCE against the bank, weighted as KD weighs its terms."""
    require_divergence(context.task)
    if context.bank.source and context.task.negatives:
        raise SecateurError('ckt contrasts embeddings, and this bank holds logits; pass method="ckt" to sc.find, too')
    return ContrastiveTransfer(context.bank, context.labels, context.width, seed=context.seed)


def ckt_kl(context: MethodContext) -> Objective:
    """Cross-entropy and gated teachers only."""
    require_divergence(context.task)
    config = ContrastiveConfig(contrast_weight=0.0)
    return ContrastiveTransfer(context.bank, context.labels, context.width, config, seed=context.seed)


def ce(context: MethodContext) -> Objective:
    """Cross-entropy alone."""
    return CrossEntropy()


def kd(context: MethodContext) -> Objective:
    """The teacher, or the dense network, on the student's own views: one forward pass of it each step."""
    require_divergence(context.task)
    return Distillation(online_teacher(context.teaching), None, LABEL_WEIGHT, TEACHER_WEIGHT)


def aligned(context: MethodContext, config: AlignedConfig = ALIGNED) -> Objective:
    """As ``kd``, and the dense network's features on the channels that the student keeps; with a bank, see there.

    Where the task can't compare outputs, the features alone beside the labels; where views are new, without a bank.
    """
    if context.task.divergence is None:
        config = replace(config, label_weight=1.0, teacher_weight=0.0)
    bank = context.filled if context.filled and context.filled.fixed else None
    return AlignedTransfer(context.dense, KeptFeatures.of(context.net, context.kept), config, bank)


def kdft(context: MethodContext) -> Objective:
    """The dense network as the teacher, from the bank: its stored logits."""
    require_divergence(context.task)
    return Distillation(bank_teacher(context.bank), None, LABEL_WEIGHT, TEACHER_WEIGHT)


def dkd(context: MethodContext) -> Objective:
    """As ``kd``, with separate weights for the labelled class and the others."""
    if not isinstance(context.task, Classification):
        raise SecateurError("dkd splits the logits of classes, and this is another task; pass kd or ce")
    return Distillation(online_teacher(context.teaching), dkd_loss, label_weight=1.0, teacher_weight=1.0)


def crd(context: MethodContext) -> Objective:
    """Contrastive representation distillation: the dense network runs along, with two memories of embeddings."""
    return RepresentationDistillation(context.dense, context.known_labels, context.widths, seed=context.seed)


def ckt_queue(context: MethodContext) -> Objective:
    """As ``ckt`` without the bank: the dense network runs along, with a queue of its latest embeddings."""
    require_divergence(context.task)
    config = ContrastiveConfig() if context.task.negatives else ContrastiveConfig(contrast_weight=0.0)
    return QueuedTransfer(context.dense, context.widths, config, seed=context.seed)


@dataclass(frozen=True)
class Method:
    """A method of fine-tuning: how its objective is made.

    ``bank_teachers``: how many teachers of the bank it uses; 0: no bank. ``takes_teacher``: whether another network may
    teach instead of the dense one. ``grows``: its bank, of the dense network, fills itself while it trains; others are
    filled before. ``online``: the dense network runs along while views are new, so that without fixed views there is no
    bank. ``compares``: whether the task has to say how outputs are compared.
    """

    objective: Callable[[MethodContext], Objective]
    bank_teachers: int = 0
    takes_teacher: bool = False
    grows: bool = False
    online: bool = False
    compares: bool = True


METHODS: dict[str, Method] = {
    "ckt": Method(ckt, TEACHERS),
    "ckt-kl": Method(ckt_kl, TEACHERS),
    "ckt-queue": Method(ckt_queue),
    "aligned": Method(aligned, 1, grows=True, online=True, compares=False),
    "kdft": Method(kdft, 1, grows=True),
    "kd": Method(kd, takes_teacher=True),
    "dkd": Method(dkd, takes_teacher=True),
    "crd": Method(crd),
    "ce": Method(ce, compares=False),
}


def require_method(method: str, others: Iterable[str] = ()) -> None:
    """Raise SecateurError unless ``method`` is the name of a method of fine-tuning, or one of the ``others``.

    >>> require_method("kd")
    """
    if method not in (names := (*METHODS, *others)):
        raise SecateurError(f"no method is called {method!r}; pass {', '.join(names)}")


def require_teachable(method: str) -> None:
    """Raise SecateurError unless another network than the dense one may teach by this method."""
    if not METHODS[method].takes_teacher:
        names = " and ".join(name for name, each in METHODS.items() if each.takes_teacher)
        raise SecateurError(f"method {method} is taught by the dense network; leave the teacher out, or pass {names}")


def embedding_width(model: nn.Module, head: str | None, classes: int) -> int:
    """The number of inputs of ``head`` for an image; without a head, the number of logits."""
    return model.get_parameter(f"{head}.weight").shape[1] if head else classes
