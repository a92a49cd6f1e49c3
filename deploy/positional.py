"""A network of any inputs and outputs as one that takes tensors by position and returns tensors in order."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_unflatten

from ..models.inputs import Inputs, call, tensors


@dataclass(frozen=True, eq=False)
class Positional:
    """``network`` takes as many tensors as ``example`` holds, and returns one, or a tuple of several.

    ``names``: of inputs and outputs; those of a dictionary are its keys.
    """

    network: nn.Module
    example: tuple[Tensor, ...]
    names: tuple[tuple[str, ...], tuple[str, ...]]
    is_single: bool

    @classmethod
    @torch.no_grad()
    def of(cls, model: nn.Module, inputs: Inputs) -> "Positional":
        """The network itself where it takes and returns one tensor.

        >>> class Sum(nn.Module):
        ...     def forward(self, left, right):
        ...         return {"sum": left + right, "difference": left - right}
        >>> plain = Positional.of(Sum(), {"left": torch.ones(1, 2), "right": torch.ones(1, 2)})
        >>> plain.names
        (('left', 'right'), ('sum', 'difference'))
        >>> plain.network(torch.ones(1, 2), torch.ones(1, 2))
        (tensor([[2., 2.]]), tensor([[0., 0.]]))
        """
        output, example = call(model, inputs), tuple(tensors(inputs))
        single = isinstance(inputs, Tensor) and isinstance(output, Tensor)
        names = _names(inputs, "images", len(example)), _names(output, "output", len(tensors(output)))
        return cls(model if single else _Flat(model, inputs).eval(), example, names, single)

    def samples(self, count: int) -> tuple[Tensor, ...]:
        """Random inputs of so many samples; zeros of those that are whole numbers."""
        random = torch.Generator().manual_seed(count)
        return tuple(
            torch.randn(count, *x.shape[1:], generator=random).to(x)
            if x.is_floating_point()
            else x[:1].expand(count, *x.shape[1:]).contiguous()
            for x in self.example
        )


class _Flat(nn.Module):
    """The network between tensors in order."""

    def __init__(self, model: nn.Module, inputs: Inputs) -> None:
        super().__init__()
        self.model = model
        self.leaves, self.form = tree_flatten(inputs)

    def forward(self, *inputs: Tensor) -> Any:
        left = iter(inputs)
        leaves = [next(left) if isinstance(leaf, Tensor) else leaf for leaf in self.leaves]
        found = tuple(tensors(call(self.model, tree_unflatten(leaves, self.form))))
        return found[0] if len(found) == 1 else found


def _names(tree: Any, usual: str, count: int) -> tuple[str, ...]:
    """The keys of a dictionary of tensors; others are numbered."""
    if isinstance(tree, dict) and all(isinstance(each, Tensor) for each in tree.values()):
        return tuple(map(str, tree))
    return (usual,) if count == 1 else tuple(f"{usual}_{number}" for number in range(count))
