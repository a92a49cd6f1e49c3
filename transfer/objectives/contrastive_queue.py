"""A queue of embeddings in place of the memory bank: for data of no fixed length, or of too many images."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..losses import info_nce_from_similarities, kl
from .base import StudentBatch, label_loss, projection, teacher_forward

SIZE = 4096  # embeddings that are held


class QueuedTransfer:
    """CKT without a bank: cross-entropy, the dense network's logits, and InfoNCE against its latest embeddings.

    L = ``own`` · CE + ``pull`` · mean over views and images of T²·KL(dense || student) + ``contrast`` · InfoNCE. The
    dense network runs along on the student's own view. Its embeddings are the keys: they enter a queue that holds the
    latest ``size`` of them (MoCo, He et al. 2020, https://arxiv.org/abs/1911.05722; here what makes the keys is frozen,
    so that none goes stale), are standardised by what the queue holds, as those of the bank are by all of it, and serve
    as negatives of other classes. No image is asked for its position, so that any stream of them will do.
    """

    def __init__(
        self,
        dense: nn.Module,
        head: str | None,
        widths: tuple[int, int],
        *,
        size: int = SIZE,
        own: float = 0.1,
        pull: float = 0.9,
        contrast: float = 0.1,
        seed: int,
    ):
        self.views, self.dense, self.head = 1, dense, head
        self.own, self.pull, self.contrast = own, pull, contrast
        self.queue, self.projection = Queue(size, widths[1]), projection(*widths, seed)
        self.module: nn.Module = nn.ModuleDict({"queue": self.queue, "projection": self.projection})

    def __call__(self, seen: StudentBatch) -> Tensor:
        """Cross-entropy and both terms; the queue moves on."""
        logits, embeddings = teacher_forward(self.dense, self.head, seen)
        self.queue.push(embeddings.flatten(0, 1), seen.labels.repeat(len(embeddings)))
        keys, others = self.queue.standardised(embeddings), self.queue.standardised(self.queue.rows)
        queries = F.normalize(self.projection(seen.embeddings), dim=-1)
        positive = (queries * keys).sum(-1, keepdim=True)  # (V, B, 1)
        negative = (queries @ others.T).masked_fill(self.queue.not_negative(seen.labels), -torch.inf)  # (V, B, size)
        pull = kl(logits, seen.logits).mean()
        return (
            self.own * label_loss(seen)
            + self.pull * pull
            + self.contrast * info_nce_from_similarities(positive, negative)
        )

    def gates(self) -> list[float]:
        """Its one teacher is always heard."""
        return []


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
        self.register_buffer("entered", torch.zeros((), dtype=torch.int64))  # how many ever were

    @torch.no_grad()
    def push(self, rows: Tensor, labels: Tensor) -> None:
        """Take these in, in place of the oldest. Shape: (B, D), (B,)"""
        rows, labels = rows[-len(self.rows) :], labels[-len(self.rows) :]
        places = (self.entered + torch.arange(len(rows), device=self.rows.device)) % len(self.rows)
        self.rows[places], self.labels[places] = rows.detach().to(self.rows), labels.to(self.labels)
        self.entered += len(rows)

    def standardised(self, embeddings: Tensor) -> Tensor:
        """These, by mean and deviation of what is held, of unit length. Shape: (..., D) → (..., D)"""
        held = self.rows[self.labels >= 0]
        return F.normalize((embeddings - held.mean(0)) / held.std(0).clamp_min(1e-6), dim=-1)

    def not_negative(self, labels: Tensor) -> Tensor:
        """Which rows are no negatives: those of the same class, and places never filled. Shape: (B,) → (B, size)"""
        return (self.labels == labels[:, None].to(self.labels)) | (self.labels < 0)
