"""Logits of many classes, as those of the most likely ones and one for the rest."""

import torch
from torch import Tensor

from ..losses import TEMPERATURE


def top_k_logits(logits: Tensor, classes: Tensor, temperature: float = TEMPERATURE) -> Tensor:
    """The logits of these classes, and one with the probability of all others together at this temperature.

    z_rest = T·log Σ_c∉classes exp(z_c/T). Shape: logits (..., C), classes (..., k) → (..., k + 1)
    """
    others = logits.scatter(-1, classes, -torch.inf)
    rest = temperature * (others / temperature).logsumexp(-1, keepdim=True)
    return torch.cat([logits.gather(-1, classes), rest], -1)


def restore_logits(stored: Tensor, classes: Tensor, student: Tensor, temperature: float = TEMPERATURE) -> Tensor:
    """Logits of all classes again: a teacher's rest is divided among its classes as the student divides its own.

    So the KL from these logits to the student's is that over the k classes and the rest, in value and in gradient:
    within the rest it is 0.

    Shape: stored (..., k + 1), classes (..., k), student (..., C) → (..., C); leading sizes are broadcast
    """
    leading = (each.shape[:-1] for each in (stored, classes, student))
    size = torch.broadcast_shapes(*leading)  # type: ignore[no-untyped-call]
    stored, classes, student = (each.expand(*size, each.shape[-1]) for each in (stored, classes, student))
    rest = top_k_logits(student, classes, temperature)[..., -1:]
    return (student + stored[..., -1:] - rest).scatter(-1, classes, stored[..., :-1])
