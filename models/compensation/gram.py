"""Second moments of the inputs of a dense network's layers, gathered in one pass over a split."""

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from ..evaluate import BATCH, device_of
from ..inputs import call, moved
from ..split import Split
from ..supernet import Supernet
from ..tracing.modules import evaluating
from ..tracing.weight_reads import MatrixRead, WeightRead, WeightReadRecorder

IMAGES = 1000
ROWS = 32  # rows for each column of a matrix
CHUNK = 8192  # rows in memory at once
WIDEST = 4608  # columns of a block: 512 channels under a 3x3 kernel


@dataclass(frozen=True, eq=False)
class Gram:
    """E[p pᵀ] of a weight's input: p is a row of it, and a one behind it.

    ``order`` and ``groups`` are those of its ``MatrixRead``; ``bias`` names the vector that is added to its output,
    ``normed``: the output goes into batch norm. A matrix of more than ``WIDEST`` columns is
    cut into blocks of columns, and products between blocks are left out: memory grows with the
    columns, not with their square.

    Shape: blocks (groups, d + 1, d + 1) each; their d add up to the columns of the weight's matrix
    """

    order: tuple[int, ...]
    groups: int
    bias: str | None
    normed: bool
    blocks: tuple[Tensor, ...]

    @property
    def widths(self) -> list[int]:
        """How many columns each block has."""
        return [block.shape[-1] - 1 for block in self.blocks]

    @property
    def frees_means(self) -> bool:
        """Whether something behind the weight takes up a change of its output's mean."""
        return self.normed or self.bias is not None


Way: TypeAlias = tuple[tuple[int, ...], int]  # the order and the groups that a weight is read in


@dataclass
class _Sums:
    """Of one weight: in which ways it is read, with which biases, over how many rows, and the sums so far."""

    ways: set[Way] = field(default_factory=set)
    biases: set[str | None] = field(default_factory=set)
    rows: int = 0
    blocks: list[Tensor] = field(default_factory=list)

    def add(self, read: MatrixRead, positions: Tensor) -> None:
        self.ways.add((read.order, read.groups))
        self.biases.add(read.bias)
        if len(self.ways) > 1:
            return
        widths = block_widths(read.columns, read.read)
        for some in torch.split(positions, CHUNK):
            parts = [moment(with_ones(part)) for part in torch.split(read.rows(some), widths, -1)]
            self.blocks = [a + b for a, b in zip(self.blocks, parts, strict=True)] if self.blocks else parts
        self.rows += len(positions)

    def mean(self, normed: bool) -> Gram:
        ((order, groups),) = self.ways
        bias = next(iter(self.biases)) if len(self.biases) == 1 else None
        return Gram(order, groups, bias, normed, tuple(block / self.rows for block in self.blocks))


@torch.no_grad()
def grams(net: Supernet, split: Split, images: int = IMAGES, seed: int = 0) -> dict[str, Gram]:
    """The Gram of every parameter that reads a group of ``net``, by name, as far as it has a matrix form.

    Of the dense network with its running statistics, on ``images`` of the split as they are; at most ``ROWS``
    rows a column, at places drawn by ``seed``, which bounds the cost to a few forward passes. A weight that is
    read in several ways (as a matrix and as its transpose) has none.
    """
    images = min(images, len(split))
    generator = torch.Generator().manual_seed(seed)
    wanted = {member.tensor for group in net.groups for member in group.members if member.reads}
    sums: dict[str, _Sums] = defaultdict(_Sums)

    def add(read: WeightRead) -> None:
        if isinstance(read, MatrixRead) and read.name in wanted:
            sums[read.name].add(read, sample_rows(read, len(batch.indices) / images, generator))

    recorder = WeightReadRecorder(dict(net.model.named_parameters()), before=add)
    with evaluating(net.model):
        for batch in split.batches(BATCH, images):
            with recorder:
                call(net.model, moved(batch.images, device_of(net.model)))
    return {name: each.mean(name in recorder.norms) for name, each in sums.items() if len(each.ways) == 1}


def sample_rows(read: MatrixRead, share: float, generator: torch.Generator) -> Tensor:
    """The positions of all rows of a call or, where they are fewer, of its ``share`` of ``ROWS`` a column.

    Shape: → (n,)
    """
    wanted = int(ROWS * read.columns * share) + 1
    device = read.windows.device
    if read.count <= wanted:
        return torch.arange(read.count, device=device)
    return torch.randint(read.count, (wanted,), generator=generator).to(device)


def block_widths(columns: int, read: int) -> list[int]:
    """How many columns each block has: whole places of the kernel, as many as ``WIDEST`` holds."""
    widest = WIDEST // read * read or WIDEST
    return [min(widest, columns - start) for start in range(0, columns, widest)]


def with_ones(rows: Tensor) -> Tensor:
    """A one behind each row. Shape: (groups, n, d) → (groups, n, d + 1)"""
    return F.pad(rows, (0, 1), value=1)


def moment(rows: Tensor) -> Tensor:
    """Σ p pᵀ. Shape: (groups, n, d) → (groups, d, d)"""
    return rows.transpose(1, 2) @ rows
