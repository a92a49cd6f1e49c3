"""Outputs of any structure as one row of numbers a sample, and back."""

import math
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten

from ..errors import SecateurError
from .inputs import each_tensor, tensors


@dataclass(frozen=True, eq=False)
class _Rows:
    """A tensor of the output with one part for each sample: the shape of a part, and the numbers' type."""

    shape: tuple[int, ...]
    dtype: torch.dtype


@dataclass(frozen=True, eq=False)
class _Constant:
    """A leaf that is the same for all samples: an anchor grid, a number, None."""

    value: Any


_Leaf: TypeAlias = _Rows | _Constant


@dataclass(frozen=True, eq=False)
class OutputForm:
    """The structure of an output, and the shape of each tensor in it for one sample.

    >>> output = {"boxes": torch.zeros(2, 4, 3), "logits": torch.ones(2, 5), "stride": 8}
    >>> form = OutputForm.of(output, samples=2)
    >>> form.pack(output).shape, form.numbers
    (torch.Size([2, 17]), 17)
    >>> back = form.unpack(form.pack(output))
    >>> back["boxes"].shape, back["stride"]
    (torch.Size([2, 4, 3]), 8)
    """

    spec: TreeSpec
    leaves: tuple[_Leaf, ...]

    @classmethod
    def of(cls, output: Any, samples: int) -> "OutputForm":
        """The form of an output for this number of samples; SecateurError where no tensor has a part for each."""
        leaves, spec = tree_flatten(output)
        found = cls(spec, tuple(_form_of(leaf, samples) for leaf in leaves))
        if not any(isinstance(leaf, _Rows) for leaf in found.leaves):
            shapes = [tuple(each.shape) for each in tensors(output)]
            raise SecateurError(
                f"the network returns tensors of {shapes} for {samples} samples, none with a part for each; "
                "pass one whose outputs have the samples in their first dimension"
            )
        return found

    @property
    def numbers(self) -> int:
        """How many numbers a sample has."""
        return sum(self._sizes)

    def pack(self, output: Any) -> Tensor:
        """One row a sample, float32. Shape: leaves (B, ...) → (B, P)"""
        leaves, _ = tree_flatten(output)
        pairs = zip(leaves, self.leaves, strict=True)
        rows = [leaf.float().reshape(len(leaf), -1) for leaf, form in pairs if isinstance(form, _Rows)]
        return rows[0] if len(rows) == 1 else torch.cat(rows, 1)

    def unpack(self, rows: Tensor) -> Any:
        """The output that has these rows; leading dimensions become one. Shape: (..., P) → leaves (B, ...)"""
        parts = iter(torch.split(rows.reshape(-1, rows.shape[-1]), self._sizes, 1))
        leaves = [_restored(leaf, parts) for leaf in self.leaves]
        return tree_unflatten(leaves, self.spec)

    @property
    def _sizes(self) -> list[int]:
        return [math.prod(leaf.shape) for leaf in self.leaves if isinstance(leaf, _Rows)]


def in_float32(output: Any) -> Any:
    """The same output, its numbers in float32: autocast may have left them in bfloat16."""
    return each_tensor(lambda leaf: leaf.float() if leaf.is_floating_point() else leaf, output)


def _form_of(leaf: Any, samples: int) -> _Leaf:
    if isinstance(leaf, Tensor) and leaf.shape[:1] == (samples,):
        return _Rows(tuple(leaf.shape[1:]), leaf.dtype)
    return _Constant(leaf)


def _restored(leaf: _Leaf, parts: Any) -> Any:
    if isinstance(leaf, _Constant):
        return leaf.value
    part = next(parts).reshape(-1, *leaf.shape)
    return part if leaf.dtype.is_floating_point else part.to(leaf.dtype)
