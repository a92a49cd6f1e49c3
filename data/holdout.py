"""A holdout that is split off the training samples."""

import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset, Subset

from ..errors import SecateurError
from ..seeds import derive_generator

SHARE = 0.1  # of the training samples, where no other is asked for
DRAWN = 3  # the seed of splits that are drawn


def read_share(text: str) -> float | None:
    """``10%`` as a share; None where the text is no percentage, such as the name of a folder.

    >>> read_share("10%"), read_share("val")
    (0.1, None)
    """
    found = re.fullmatch(r"\s*(\d{1,3}(?:\.\d+)?)\s*%\s*", text, re.ASCII)
    if found is None:
        return None
    require_share(share := float(found[1]) / 100)
    return share


def require_share(share: float) -> None:
    """Raise SecateurError unless it is above 0 and below 1."""
    if not 0 < share < 1:
        raise SecateurError(f"a holdout of {100 * share:.4g}% of the training samples; pass more than 0%, below 100%")


def hold_out(train: Any, labels: Tensor, share: float = SHARE, names: Sequence[str] | None = None) -> list[Subset[Any]]:
    """Training samples and holdout, which is the last ``share`` of each class. Shape: labels (N,) int64"""
    held = tail(labels, share, names)
    return [by_class(train, labels, ~held), by_class(train, labels, held)]


def draw_holdout(train: Any, share: float = SHARE) -> list[Subset[Any]]:
    """Training samples and holdout, drawn once for all: for targets that are no classes."""
    count = len(train)
    if count < 2:
        raise SecateurError(f"{count} training sample(s); pass two or more, one is held out")
    order = torch.randperm(count, generator=derive_generator(DRAWN, count)).tolist()
    held = min(count - 1, max(1, round(share * count)))
    return [Subset(train, sorted(order[held:])), Subset(train, sorted(order[:held]))]


def tail(labels: Tensor, share: float, names: Sequence[str] | None = None) -> Tensor:
    """True for the last ``share`` of each class, in the order given, at least one image; (N,) bool."""
    found = torch.zeros(len(labels), dtype=torch.bool)
    for label in range(1 + max(labels.tolist(), default=-1)):
        positions = (labels == label).nonzero().flatten()
        if len(positions) < 2:
            fact = f"class {names[label] if names else label} has {len(positions)} training image(s)"
            raise SecateurError(f"{fact}; it needs two or more, one is held out")
        found[positions[-max(1, round(share * len(positions))) :]] = True
    return found


def by_class(dataset: Dataset[Any], labels: Tensor, chosen: Tensor) -> Subset[Any]:
    """The chosen samples, class by class. Shape: labels (N,) int64, chosen (N,) bool"""
    order = torch.argsort(labels, stable=True)
    return Subset(dataset, order[chosen[order]].tolist())
