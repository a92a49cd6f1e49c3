"""One operation as torch ran it, which is what rules read."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
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
        given = (*self.args, *self.kwargs.values())
        flat = chain.from_iterable(each if isinstance(each, (list, tuple)) else (each,) for each in given)
        return [x for x in flat if isinstance(x, Tensor)]

    @property
    def name(self) -> str:
        """What torch calls the operation."""
        return str(self.func.overloadpacket)


Rule: TypeAlias = Callable[[Atoms, Call], list[Labels]]  # -> the labels of each result
