"""A queue of embeddings instead of the memory bank: for data of no fixed length, or of too many images."""

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..losses import info_nce_from_similarities, kl
from .base import Objective, OnlineTeacher, StudentBatch, label_loss
from .contrastive import DEFAULT, ContrastiveConfig, projection

SIZE = 4096  # embeddings in the queue


class QueuedTransfer(Objective):
    """CKT without a bank: cross-entropy, the dense network's logits, and InfoNCE against its latest embeddings.

    L = ``label_weight`` · CE + ``teacher_weight`` · mean over views and images of T^``power`` · KL(dense || student) +
    ``contrast_weight`` · InfoNCE. The dense network runs on the student's own views. Its embeddings are the keys: they
    enter a queue of the latest ``size`` (MoCo, He et al. 2020, https://arxiv.org/abs/1911.05722; here the network that
    makes the keys is frozen, so that none is stale), are standardised by the queue's mean and deviation, as those of
    the bank are by the whole bank's, and serve as negatives of other classes. No image needs a position, so that any
    stream of images will do.

    ``widths``: the embedding widths of student and dense network.
    """

    def __init__(
        self,
        dense: OnlineTeacher,
        widths: tuple[int, int],
        config: ContrastiveConfig = DEFAULT,
        *,
        size: int = SIZE,
        seed: int,
    ) -> None:
        self.dense, self.config = dense, config
        self.queue, self.projection = Queue(size, widths[1]), projection(*widths, seed)
        super().__init__(config.views, nn.ModuleDict({"queue": self.queue, "projection": self.projection}))

    def __call__(self, batch: StudentBatch) -> Tensor:
        """The weighted sum of the terms; the batch enters the queue first."""
        logits, embeddings = self.dense(batch)
        divergence = batch.divergence if batch.form else partial(kl, power=self.config.power)
        teacher_loss = divergence(logits, batch.logits).mean()
        loss = self.config.label_weight * label_loss(batch) + self.config.teacher_weight * teacher_loss
        if not self.config.contrast_weight:
            return loss
        self.queue.push(embeddings.flatten(0, 1), batch.classes.repeat(len(embeddings)))
        return loss + self.config.contrast_weight * self._contrast(batch, embeddings)

    def _contrast(self, batch: StudentBatch, embeddings: Tensor) -> Tensor:
        keys, others = self.queue.standardised(embeddings), self.queue.standardised(self.queue.rows)
        queries = F.normalize(self.projection(batch.embeddings), dim=-1)
        positive = (queries * keys).sum(-1, keepdim=True)  # (V, B, 1)
        negative = (queries @ others.T).masked_fill(self.queue.not_negative(batch.classes), -torch.inf)  # (V, B, size)
        return info_nce_from_similarities(positive, negative)


class Queue(nn.Module):
    """The latest ``size`` embeddings and their labels; a place that was never filled has label -1.

    Shape: rows (size, D), labels (size,) int64
    """

    rows: Tensor
    labels: Tensor
    entered: Tensor

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.register_buffer("rows", torch.zeros(size, width))
        self.register_buffer("labels", torch.full((size,), -1))
        self.register_buffer("entered", torch.zeros((), dtype=torch.int64))  # over all time

    @torch.no_grad()
    def push(self, rows: Tensor, labels: Tensor) -> None:
        """Put these in the places of the oldest. Shape: (B, D), (B,)"""
        rows, labels = rows[-len(self.rows) :], labels[-len(self.rows) :]
        places = (self.entered + torch.arange(len(rows), device=self.rows.device)) % len(self.rows)
        self.rows[places], self.labels[places] = rows.detach().to(self.rows), labels.to(self.labels)
        self.entered += len(rows)

    def standardised(self, embeddings: Tensor) -> Tensor:
        """Embeddings by mean and deviation of the queue, of unit length. Shape: (..., D) → (..., D)"""
        held = self.rows[self.labels >= 0]
        return F.normalize((embeddings - held.mean(0)) / held.std(0).clamp_min(1e-6), dim=-1)

    def not_negative(self, labels: Tensor) -> Tensor:
        """Which rows are no negatives: those of the same class, and places never filled. Shape: (B,) → (B, size)"""
        return (self.labels == labels[:, None].to(self.labels)) | (self.labels < 0)
