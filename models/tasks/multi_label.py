"""Multi-label classification: any number of labels a sample, one logit a label."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .classification import TEMPERATURE
from .metric import Metric, first_of
from .task import Task


class MultiLabel(Task):
    """Any number of labels a sample: binary cross-entropy, and macro F1 at a probability of one half.

    The network returns logits (B, labels) or maps of them (B, labels, H, W); targets are 0 or 1, or shares between, of
    the same shape. With one label it is binary classification, or segmentation, by one logit.

    >>> task = MultiLabel()
    >>> task.loss(torch.tensor([[4.0, -4.0]]), torch.tensor([[1, 0]]))
    tensor([0.0181])
    >>> task.metric.tally(torch.tensor([[4.0, -4.0]]), torch.tensor([[1, 1]])).tolist()  # found, made up, missed
    [[[1, 0], [0, 0], [0, 1]]]
    """

    def __init__(self) -> None:
        super().__init__(
            binary_cross_entropy, Metric("F1", counts, macro_f1, by_class=label_f1), binary_kl, chance=label_entropy
        )


def binary_cross_entropy(output: Any, target: Tensor) -> Tensor:
    """The mean binary cross-entropy over the labels, nats. Shape: (B, L), (B, L) → (B,)"""
    logits = first_of(output)
    return F.binary_cross_entropy_with_logits(logits, target.to(logits), reduction="none").flatten(1).mean(1)


def counts(output: Any, target: Tensor) -> Tensor:
    """Of each label: found rightly, found wrongly, missed. Shape: (B, L, ...), (B, L, ...) → (B, 3, L)"""
    found, there = (each[..., None].flatten(2) for each in (first_of(output) > 0, target > 0.5))
    return torch.stack([(found & there).sum(2), (found & ~there).sum(2), (~found & there).sum(2)], 1)


def macro_f1(total: Tensor, n: int) -> float:
    """The mean F1 over the labels that occur or are found. Shape: total (3, L)"""
    del n
    shares = label_f1(total)
    return float(shares[~shares.isnan()].mean())


def label_f1(total: Tensor) -> Tensor:
    """2·TP / (2·TP + FP + FN) of each label, NaN for one that is never there nor found. Shape: total (3, L) → (L,)"""
    right, wrong, missed = total.double()
    shares: Tensor = 2 * right / (2 * right + wrong + missed)
    return shares


def binary_kl(teacher: Any, student: Any) -> Tensor:
    """T² · KL between the softened Bernoulli distributions of each label, the mean over labels. Shape: → (B,)"""
    wanted, logits = (first_of(output) / TEMPERATURE for output in (teacher, student))
    share = wanted.sigmoid()
    across = F.binary_cross_entropy_with_logits(logits, share, reduction="none")
    own = F.binary_cross_entropy_with_logits(wanted, share, reduction="none")
    return TEMPERATURE**2 * (across - own).flatten(1).mean(1)


def label_entropy(target: Tensor) -> float:
    """The binary cross-entropy of each label's share of all samples, the mean over labels, nats. Shape: (N, L)"""
    share = target.double().mean(0)
    return float((torch.special.entr(share) + torch.special.entr(1 - share)).mean())
