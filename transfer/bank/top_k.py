"""Logits of many classes, as those of a few and what the rest come to."""

import torch
from torch import Tensor

from ..losses import TEMPERATURE


def top_k_logits(logits: Tensor, classes: Tensor, temperature: float = TEMPERATURE) -> Tensor:
    """The logits of these classes, and one that has the probability of all others together, at this temperature.

    z_rest = T·log Σ_c∉classes exp(z_c/T). Shape: logits (..., C), classes (..., k) → (..., k + 1)
    """
    others = logits.scatter(-1, classes, -torch.inf)
    rest = temperature * (others / temperature).logsumexp(-1, keepdim=True)
    return torch.cat([logits.gather(-1, classes), rest], -1)


def restore_logits(told: Tensor, classes: Tensor, student: Tensor, temperature: float = TEMPERATURE) -> Tensor:
    """Logits of all classes again: what is not known of a teacher is divided as the student divides its own rest.

    So the KL from these logits to the student's is that over the k classes and the rest, in value and in gradient:
    within the rest it is nothing.

    Shape: told (..., k + 1), classes (..., k), student (..., C) → (..., C); leading sizes are broadcast
    """
    leading = (each.shape[:-1] for each in (told, classes, student))
    size = torch.broadcast_shapes(*leading)  # type: ignore[no-untyped-call]
    told, classes, student = (each.expand(*size, each.shape[-1]) for each in (told, classes, student))
    rest = top_k_logits(student, classes, temperature)[..., -1:]
    return (student + told[..., -1:] - rest).scatter(-1, classes, told[..., :-1])
