"""The refits of a slimmed network's weights, on the rows seen so far."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from ..tracing.weight_reads import MatrixRead, as_matrix, write_matrix
from .gram import CHUNK, block_widths, moment, with_ones
from .moments import Moments, proven_change


@dataclass(frozen=True, eq=False)
class Examples:
    """Rows of a read, the outputs ``wanted`` of them, and which are ``held`` out: a refit is judged by them.

    ``normed``: the output goes into batch norm, which takes up its mean.

    Shape: positions (n,), wanted (n, made), held (n,) bool
    """

    read: MatrixRead
    positions: Tensor
    wanted: Tensor
    held: Tensor
    normed: bool

    @property
    def frees_means(self) -> bool:
        """Whether something behind the weight takes up a change of its output's mean."""
        return self.normed or self.read.bias is not None

    def where(self, some: Tensor) -> "Examples":
        """The examples where ``some`` is true. Shape: some (n,) bool"""
        return replace(self, positions=self.positions[some], wanted=self.wanted[some], held=self.held[some])

    def chunks(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Inputs and outputs, a part at a time. Yields (groups, n, columns), (groups, made, n)"""
        groups = self.read.groups
        for some, wanted in zip(torch.split(self.positions, CHUNK), torch.split(self.wanted, CHUNK), strict=True):
            yield self.read.rows(some), wanted.T.reshape(groups, wanted.shape[1] // groups, len(wanted))

    def moments(self, weight: Tensor, part: slice) -> Moments:
        """Σ (y - W x) pᵀ and Σ p pᵀ, with p the ``part`` of the columns of x, and a one if means are free.

        Shape: weight W (groups, made, columns + 1), the bias behind the columns
        """
        size = part.stop - part.start + self.frees_means
        across, among = weight.new_zeros(*weight.shape[:2], size), weight.new_zeros(len(weight), size, size)
        for rows, wanted in self.chunks():
            missing = wanted - weight[..., -1:] - weight[..., :-1] @ rows.mT
            known = with_ones(rows[..., part])[..., :size]
            across += missing @ known
            among += moment(known)
        return Moments(across, among, len(self.wanted))


class Refits:
    """The weights of ``model``, a slimmed network, refitted in place to the examples seen so far.

    Each call adds its examples to those before. A refit is kept where it proves itself on the rows held out; else the
    weight stays what it is in ``model`` at first, refitted by Grams, or becomes the ``inherited`` one.
    """

    def __init__(self, model: nn.Module, inherited: nn.Module, ridges: Sequence[float]) -> None:
        self.tensors: Mapping[str, Tensor] = dict(model.named_parameters())
        self._by_grams = {name: tensor.detach().clone() for name, tensor in self.tensors.items()}
        self._inherited: Mapping[str, Tensor] = dict(inherited.named_parameters())
        self._ridges = ridges
        self._seen: dict[tuple[str, int], tuple[Moments, Moments]] = {}
        self._outputs: dict[str, tuple[Tensor, int]] = {}

    def set_mean(self, name: str, outputs: Tensor) -> None:
        """Make a batch norm's bias the mean of these outputs and of those before. Shape: outputs (n, made)"""
        total, rows = self._outputs.get(name, (torch.zeros_like(outputs[0]), 0))
        self._outputs[name] = total, rows = total + outputs.sum(0), rows + len(outputs)
        self.tensors[name].copy_(total / rows)

    def refit(self, examples: Examples) -> None:
        """Refit a weight and its bias, one block of columns after the other."""
        read, dtype, start = examples.read, examples.wanted.dtype, 0
        weight = with_bias(read, self._inherited, dtype)
        by_grams = with_bias(read, self._by_grams, dtype) - weight
        for width in block_widths(read.columns, read.read):
            part = slice(start, start + width)
            change = self._change(examples, weight, part, by_grams)
            weight[..., part] += change[..., :width]
            weight[..., -1] += change[..., width:].sum(-1)
            by_grams[..., -1] = 0  # a change of the bias counts once
            start += width
        write_matrix(self.tensors[read.name], read.order, weight[..., :-1])
        if read.bias is not None:
            self.tensors[read.bias].copy_(weight[..., -1].flatten())

    def _change(self, examples: Examples, weight: Tensor, part: slice, by_grams: Tensor) -> Tensor:
        """The change of one block of columns, and of the bias behind it if means are free."""
        fitted, held = self._add(
            (examples.read.name, part.start),
            examples.where(~examples.held).moments(weight, part),
            examples.where(examples.held).moments(weight, part),
        )
        known = torch.cat([by_grams[..., part], by_grams[..., -1:]], -1)[..., : fitted.across.shape[-1]]
        choices, width = [known, torch.zeros_like(known)], part.stop - part.start
        return proven_change(fitted, held, choices, self._ridges, columns=width, normed=examples.normed)

    def _add(self, block: tuple[str, int], fitted: Moments, held: Moments) -> tuple[Moments, Moments]:
        """The moments of a block of a weight's columns, with those before."""
        if block in self._seen:
            before = self._seen[block]
            fitted, held = before[0] + fitted, before[1] + held
        self._seen[block] = fitted, held
        return fitted, held


def with_bias(read: MatrixRead, tensors: Mapping[str, Tensor], dtype: torch.dtype) -> Tensor:
    """A copy of a weight as matrices, its bias as a last column: zeros if it has none.

    Shape: → (groups, made, columns + 1)
    """
    matrix = as_matrix(tensors[read.name], read.order, read.groups).to(dtype)
    bias = tensors[read.bias].to(dtype) if read.bias else matrix.new_zeros(matrix.shape[:2].numel())
    return torch.cat([matrix, bias.view(*matrix.shape[:2], 1)], -1)
