"""A figure of merit over a split, as tallies of its samples that add up."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from torch import Tensor

from ...errors import SecateurError
from ...signatures import require_fields

Tally: TypeAlias = Callable[[Any, Any], Tensor]  # of output and targets → (B, ...), what adds up over a split
ByClass: TypeAlias = Callable[[Tensor], Tensor]  # of the sum of the tallies → (C,), a value for each class


def mean(total: Tensor, n: int) -> float:
    """The mean of a tally that is one number a sample. Shape: total ()"""
    return float(total) / n


@dataclass(frozen=True)
class Metric:
    """A figure of merit over a split: tallies of its samples, added up, and the value of their sum.

    ``tally`` returns a row for each sample, (B, ...); ``value`` makes the figure of the rows' sum (...) and the number
    of samples, by default their mean. Higher values are better unless ``higher_is_better`` is false.

    Args:
        name: As reports call it.
        tally: A function of the network's output and the targets.
        value: A function of the sum of the tallies and the number of samples.
        higher_is_better: The direction.
        by_class: A function of the sum of the tallies: the value of each class, NaN for one that does not occur. None:
            the tallies have no classes.

    >>> import torch
    >>> error = Metric("MAE", lambda output, target: (output - target).abs().mean(1), higher_is_better=False)
    >>> rows = error.tally(torch.tensor([[1.0, 2.0], [3.0, 5.0]]), torch.zeros(2, 2))
    >>> error.value(rows.sum(0), len(rows))
    2.75
    """

    name: str
    tally: Tally
    value: Callable[[Tensor, int], float] = mean
    higher_is_better: bool = True
    by_class: ByClass | None = None

    def __post_init__(self) -> None:
        require_fields(self)


def first_of(output: Any) -> Tensor:
    """The tensor of an output, or the first in a dictionary or sequence: torchvision's ``{"out": ..., "aux": ...}``.

    >>> import torch
    >>> first_of({"out": torch.zeros(1, 5), "aux": torch.zeros(1, 2)}).shape
    torch.Size([1, 5])
    """
    while not isinstance(output, Tensor):
        parts = list(output.values()) if isinstance(output, dict) else output
        if not isinstance(parts, (list, tuple)) or not parts:
            raise SecateurError(f"the network returns a {type(output).__name__}; pass sc.Task(loss=, metric=) for it")
        output = parts[0]
    return output
