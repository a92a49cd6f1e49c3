"""One operation as torch ran it, which is what rules read."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import torch
from torch import Tensor

from .atoms import Atoms, Labels

aten = torch.ops.aten


@dataclass(frozen=True, eq=False)
class Call:
    """One operation as it ran: what was called, with what, and what came out."""

    func: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    results: list[Any]

    @cached_property
    def tensors(self) -> list[Tensor]:
        """All tensors among the arguments."""
        return tensors_among((*self.args, *self.kwargs.values()))

    @property
    def name(self) -> str:
        """What torch calls the operation."""
        return str(self.func.overloadpacket)


def tensors_among(arguments: Sequence[Any]) -> list[Tensor]:
    """The arguments that are tensors, and those that lie in a list."""
    found: list[Tensor] = []
    for each in arguments:
        if isinstance(each, Tensor):
            found.append(each)
        elif isinstance(each, (list, tuple)):
            found += [x for x in each if isinstance(x, Tensor)]
    return found


Rule: TypeAlias = Callable[[Atoms, Call], list[Labels]]  # -> the labels of each result
