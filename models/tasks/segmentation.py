"""Semantic segmentation: one class a pixel."""

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ...errors import SecateurError
from ...signatures import checked
from .classification import kl
from .metric import Metric, first_of
from .task import Task


class Segmentation(Task):
    """One class a pixel: the mean cross-entropy of an image's pixels, and the mean intersection over union (mIoU).

    The network returns logits (B, classes, H, W), or a dictionary or tuple whose first tensor is that, as torchvision's
    ``{"out": ...}``; targets are maps (B, H, W) or (B, 1, H, W) of class numbers.

    Args:
        classes: The number of classes.
        ignore: The class number of pixels that don't count.

    >>> task = Segmentation(classes=2)
    >>> logits, masks = torch.tensor([[[[3.0, 3.0]], [[0.0, 0.0]]]]), torch.tensor([[[0, 255]]])
    >>> task.loss({"out": logits}, masks)
    tensor([0.0486])
    >>> task.metric.tally(logits, masks).tolist()  # a row of intersections, a row of unions
    [[[1, 0], [1, 0]]]
    """

    classes: int  # type: ignore[misc]  # each value has its own
    ignore: int  # type: ignore[misc]

    @checked
    def __init__(self, classes: int, ignore: int = 255) -> None:
        if classes < 2:
            raise SecateurError(f"classes={classes}; pass 2 or more, one of them for the background")
        loss = partial(pixel_cross_entropy, ignore=ignore)
        tally = partial(intersections_and_unions, classes=classes, ignore=ignore)
        chance = partial(pixel_entropy, classes=classes, ignore=ignore)
        super().__init__(loss, Metric("mIoU", tally, mean_iou, by_class=class_iou), pixel_kl, chance=chance)
        object.__setattr__(self, "classes", classes)  # the fields of a task are frozen
        object.__setattr__(self, "ignore", ignore)

    def check(self, output: Any, target: Any, samples: int) -> None:
        """Raise SecateurError unless the network has a logit for each class, and targets are maps of class numbers."""
        logits = first_of(output)
        if logits.ndim < 3 or logits.shape[1] != self.classes:
            raise SecateurError(
                f"the network returns {tuple(logits.shape[1:])} for an image, and the task has {self.classes} classes; "
                f"pass one that returns ({self.classes}, height, width)"
            )
        if not isinstance(target, Tensor) or target.is_floating_point():
            raise SecateurError("the targets are no maps of class numbers; let each be an integer tensor (H, W)")
        super().check(output, target, samples)


def pixel_cross_entropy(output: Any, target: Tensor, *, ignore: int) -> Tensor:
    """The mean cross-entropy over the pixels that count, nats; 0 where none does. Shape: → (B,)"""
    wanted = class_map(target)
    losses = F.cross_entropy(first_of(output), wanted, reduction="none", ignore_index=ignore)
    counted = (wanted != ignore).flatten(1).sum(1).clamp(min=1)
    return losses.flatten(1).sum(1) / counted


def intersections_and_unions(output: Any, target: Tensor, *, classes: int, ignore: int) -> Tensor:
    """The pixels of each class on which prediction and target agree, and those that either has. Shape: → (B, 2, C)"""
    wanted = class_map(target).flatten(1)
    predicted, counted = first_of(output).argmax(1).flatten(1), wanted != ignore
    images = torch.arange(len(wanted), device=wanted.device)[:, None].expand_as(wanted)
    pairs = ((images * classes + wanted) * classes + predicted)[counted]
    confusion = pairs.bincount(minlength=len(wanted) * classes**2).view(-1, classes, classes)
    agreed = confusion.diagonal(0, 1, 2)
    return torch.stack([agreed, confusion.sum(1) + confusion.sum(2) - agreed], 1)


def mean_iou(total: Tensor, n: int) -> float:
    """The mean over the classes that occur. Shape: total (2, C)"""
    del n
    shares = class_iou(total)
    return float(shares[~shares.isnan()].mean())


def class_iou(total: Tensor) -> Tensor:
    """The intersection over union of each class, NaN for one that does not occur. Shape: total (2, C) → (C,)"""
    agreed, either = total.double()
    shares: Tensor = agreed / either
    return shares


def pixel_kl(teacher: Any, student: Any) -> Tensor:
    """T² · KL between the softened class distributions, the mean over pixels. Shape: → (B,)"""
    wanted, found = (first_of(output).movedim(1, -1) for output in (teacher, student))
    return kl(wanted, found).flatten(1).mean(1)


def pixel_entropy(target: Tensor, *, classes: int, ignore: int) -> float:
    """The cross-entropy of the shares that classes have of all pixels, nats. Shape: target (N, H, W)"""
    counts = target[target != ignore].long().bincount(minlength=classes).double()
    return float(torch.special.entr(counts / counts.sum()).sum())


def class_map(target: Tensor) -> Tensor:
    """Maps of class numbers without a dimension of channels. Shape: (B, H, W) or (B, 1, H, W) → (B, H, W) int64"""
    return (target.squeeze(1) if target.ndim > 3 else target).long()
