"""Contrastive knowledge transfer from the memory bank: gated teachers, and InfoNCE against stored embeddings."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..bank.bank import MemoryBank
from ..bank.negatives import Negatives, hard_negatives, random_negatives, write_index
from ..losses import gated_transfer, info_nce, open_gates
from .base import LABEL_WEIGHT, TEACHER_WEIGHT, Objective, StudentBatch, bank_logits, label_loss

NEGATIVES = 64  # keys of other classes for each image
CONTRAST_WEIGHT = 0.1

NegativeChoice: TypeAlias = Callable[[MemoryBank, Tensor], Negatives]  # of a bank and the labels (N,)


@dataclass(frozen=True)
class ContrastiveConfig:
    """Weights of the terms, the power of the temperature, and the views of each image a step.

    The defaults weigh teachers as KD does: 0.1 · CE + 0.9 · T² KL. EKG (https://arxiv.org/abs/2203.02651) has two
    views, weights 1 and 1, and T · KL, which leaves teachers little influence: a 36th of that here.

    Args:
        label_weight: Of cross-entropy.
        teacher_weight: Of the KL from the teachers.
        contrast_weight: Of InfoNCE.
        power: Power of the temperature that the KL is multiplied by.
        views: Views of each image a step.
    """

    label_weight: float = LABEL_WEIGHT
    teacher_weight: float = TEACHER_WEIGHT
    contrast_weight: float = CONTRAST_WEIGHT
    power: int = 2
    views: int = 1


DEFAULT = ContrastiveConfig()


def hard_bank_negatives(bank: MemoryBank, labels: Tensor) -> Negatives:
    """The keys of other classes that are most similar to an image's own; found once, since keys are static."""
    path = bank.folder / "index.faiss"
    write_index(bank.keys(), path)
    hard = hard_negatives(path, labels, NEGATIVES)
    return lambda indices: hard[indices]


def random_bank_negatives(bank: MemoryBank, labels: Tensor) -> Negatives:
    """Any keys of other classes, drawn again at each step."""
    return random_negatives(labels, NEGATIVES)


class ContrastiveTransfer(Objective):
    """CKT: cross-entropy, plus the gated teachers of the bank, plus InfoNCE against its keys.

    L = ``label_weight`` · CE + ``teacher_weight`` · CKT-A + ``contrast_weight`` · InfoNCE; CKT-A is T^``power`` KL. The
    keys are the dense network's standardised embeddings. One linear projection, trained along and dropped at the end,
    maps the student's embeddings to them; ``choose`` picks the keys that are negatives. A term of weight 0 is not
    computed. The papers leave the contrastive term open: this is methods 1.3 d, A plus B.

    Shape: labels (N,), None where there are no classes: then the contrast is left out; ``width``: of the student's
    embeddings
    """

    def __init__(
        self,
        bank: MemoryBank,
        labels: Tensor | None,
        width: int,
        config: ContrastiveConfig = DEFAULT,
        *,
        seed: int,
        choose: NegativeChoice = hard_bank_negatives,
    ) -> None:
        super().__init__(config.views)
        config = config if labels is not None else replace(config, contrast_weight=0.0)
        self.bank, self.config = bank, config
        # Steps in which each gate was open, and all steps; a buffer, so that a checkpoint carries it.
        self.module.register_buffer("opened", torch.zeros(len(bank.teachers) + 1))
        if config.contrast_weight and labels is not None:
            self.keys = bank.keys()
            self.negatives = choose(bank, labels)
            self.module.add_module("projection", projection(width, self.keys.shape[1], seed))

    def __call__(self, batch: StudentBatch) -> Tensor:
        """The weighted sum of the terms."""
        loss = self.config.label_weight * label_loss(batch)
        if self.config.teacher_weight:
            loss = loss + self.config.teacher_weight * self._teacher_loss(batch)
        if self.config.contrast_weight:
            loss = loss + self.config.contrast_weight * self._contrast(batch)
        return loss

    def metrics(self) -> dict[str, Any]:
        """``gates_open``: the share of steps in which each teacher's gate was open, best teacher first."""
        *opened, steps = self.module.get_buffer("opened").tolist()
        return {"gates_open": [each / steps if steps else 0.0 for each in opened]}

    def _teacher_loss(self, batch: StudentBatch) -> Tensor:
        teachers = bank_logits(self.bank, batch)
        gates = open_gates(teachers.mean(0), batch.logits.detach().mean(0), batch.divergence)
        self.module.get_buffer("opened").add_(torch.cat([gates, gates[:1]]))  # the first is open at every step
        divergence = batch.divergence if batch.form else None
        return gated_transfer(teachers, batch.logits, power=self.config.power, divergence=divergence)

    def _contrast(self, batch: StudentBatch) -> Tensor:
        queries = F.normalize(self.module.get_submodule("projection")(batch.embeddings), dim=-1)
        keys, others = self.keys[batch.indices], self.keys[self.negatives(batch.indices)]
        return info_nce(queries, keys.to(queries.device), others.to(queries.device))


def projection(width: int, keys: int, seed: int) -> nn.Linear:
    """A linear map from a student's embeddings to the space of the keys, orthogonal at first."""
    linear = nn.Linear(width, keys, bias=False)
    nn.init.orthogonal_(linear.weight, generator=torch.Generator().manual_seed(seed))
    return linear
