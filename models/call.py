"""One operation as torch ran it, which is what rules read."""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from .atoms import Atoms, Labels

aten = torch.ops.aten


class Call(NamedTuple):
    """One operation as it ran: what was called, with what, and what came out."""

    func: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    results: list[Any]

    @property
    def tensors(self) -> list[Tensor]:
        """All tensors among the arguments."""
        return [x for x in tree_leaves((self.args, self.kwargs)) if isinstance(x, Tensor)]

    @property
    def name(self) -> str:
        """What torch calls the operation."""
        return str(self.func.overloadpacket)


Rule: TypeAlias = Callable[[Atoms, Call], list[Labels]]  # -> the labels of each result
