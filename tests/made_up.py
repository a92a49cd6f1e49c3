"""A made-up bank, and batches with made-up outputs of a student."""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from secateur.models.subnetwork import Subnetwork
from secateur.transfer.bank.bank import MemoryBank
from secateur.transfer.bank.manifest import Teacher
from secateur.transfer.objectives.base import (
    StudentBatch,
)

IMAGES, CLASSES, DENSE, WIDTH, TEACHERS = 40, 4, 8, 5, 3
LABELS = torch.arange(IMAGES) % CLASSES


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def made_up(folder: Path) -> MemoryBank:
    """A bank that no network stands behind: whatever is learnt from it, no teacher was run for it."""
    best = 4 * F.one_hot(LABELS, CLASSES) + normal(IMAGES, CLASSES)
    logits = torch.stack([best + k * normal(IMAGES, CLASSES, seed=k) for k in range(TEACHERS)])
    teachers = tuple(Teacher(Subnetwork(((k,),)), float(k), 1) for k in range(TEACHERS))
    return MemoryBank(folder, teachers, tuple(logits.half()), tuple(normal(TEACHERS, IMAGES, DENSE, seed=7).half()))


def seen(batch: int = 6, views: int = 2, seed: int = 0) -> StudentBatch:
    indices = torch.randperm(IMAGES, generator=torch.Generator().manual_seed(seed))[:batch]
    logits, embeddings = normal(views, batch, CLASSES, seed=seed + 1), normal(views, batch, WIDTH, seed=seed + 2)
    images = normal(views, batch, 3, 4, 4, seed=seed + 3)
    return StudentBatch(logits.requires_grad_(), embeddings.requires_grad_(), LABELS[indices], indices, images)
