"""Contrastive representation distillation: the published control of every contrastive method."""

from math import sqrt

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..bank.negatives import random_negatives
from ..losses import crd_nce
from .base import Objective, OnlineTeacher, StudentBatch, label_loss

SIZE = 128  # dimensions of the space that student and teacher are projected to
NEGATIVES = 1024  # the paper has 16,384
MOMENTUM = 0.5  # of a memory's rows
TEMPERATURE = 0.07
CONTRAST_WEIGHT = 0.8


class RepresentationDistillation(Objective):
    """CRD: cross-entropy, and telling an image's embeddings from those of other classes in two memories.

    L = CE + ``weight`` · (NCE of the student against the teacher's memory + NCE of the teacher against the student's).
    Both are projected linearly to 128 dimensions, and the projections are trained; the dense network runs on the
    student's own view, one forward pass each step. A memory holds a row of unit length for every image, a moving
    average of its embeddings so far; no gradient reaches it. Tian et al. 2020, https://arxiv.org/abs/1910.10699, with
    the weight, temperature and memories of its code; negatives here are drawn with replacement.

    ``widths``: the embedding widths of student and dense network. Shape: labels (N,)
    """

    def __init__(
        self,
        dense: OnlineTeacher,
        labels: Tensor,
        widths: tuple[int, int],
        *,
        negatives: int = NEGATIVES,
        weight: float = CONTRAST_WEIGHT,
        seed: int,
    ) -> None:
        self.dense, self.weight = dense, weight
        self.negatives = random_negatives(labels, negatives)
        generator = torch.Generator().manual_seed(seed)
        self.student, self.teacher = (_Side(width, len(labels), generator) for width in widths)
        super().__init__(module=nn.ModuleDict({"student": self.student, "teacher": self.teacher}))

    def __call__(self, batch: StudentBatch) -> Tensor:
        """Cross-entropy and both directions of the contrast; the memories are updated."""
        _, embeddings = self.dense(batch)
        rows = torch.cat([batch.indices[:, None], self.negatives(batch.indices)], 1)  # (B, 1 + M), its own first
        student, teacher = self.student(batch.embeddings.flatten(0, 1)), self.teacher(embeddings.flatten(0, 1))
        contrast = self.teacher.nce_loss(student, rows) + self.student.nce_loss(teacher, rows)
        self.student.update_memory(batch.indices, student)
        self.teacher.update_memory(batch.indices, teacher)
        return label_loss(batch) + self.weight * contrast


class _Side(nn.Module):
    """The projection of one of the two, and its memory. Shape: ``memory`` (N, 128), rows of unit length"""

    memory: Tensor
    normaliser: Tensor

    def __init__(self, width: int, images: int, generator: torch.Generator) -> None:
        super().__init__()
        self.project = nn.Linear(width, SIZE)
        bound = 1 / sqrt(width)
        for parameter in self.project.parameters():
            nn.init.uniform_(parameter, -bound, bound, generator=generator)
        rows = torch.empty(images, SIZE).uniform_(-1, 1, generator=generator)
        self.register_buffer("memory", F.normalize(rows, dim=1))
        self.register_buffer("normaliser", torch.zeros(()))

    def forward(self, embeddings: Tensor) -> Tensor:
        """Projected, of unit length. Shape: (B, D) → (B, 128)"""
        return F.normalize(self.project(embeddings), dim=1)

    def nce_loss(self, anchors: Tensor, rows: Tensor) -> Tensor:
        """NCE of anchors against rows, their own first; the first batch sets Z. Shape: (B, 128), (B, 1 + M) → ()"""
        similar = torch.einsum("bd,bmd->bm", anchors, self.memory[rows.to(anchors.device)])
        if not self.normaliser:
            self.normaliser.copy_((similar.detach() / TEMPERATURE).exp().mean() * len(self.memory))
        return crd_nce(similar, self.normaliser, len(self.memory), TEMPERATURE)

    @torch.no_grad()
    def update_memory(self, indices: Tensor, projected: Tensor) -> None:
        """Move the rows of these images towards their projected embeddings. Shape: (B,), (B, 128)"""
        places, latest = indices.to(projected.device), projected.detach()
        self.memory[places] = F.normalize(MOMENTUM * self.memory[places] + (1 - MOMENTUM) * latest, dim=1)
