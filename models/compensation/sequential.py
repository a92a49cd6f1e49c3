"""Closed-form compensation in sequence: each layer is refitted to its input in the slimmed network itself.

Two forward passes over one batch. The dense one records a ``Target`` for every weight. The slimmed one stops before
each weight that is read, refits it to its target, and continues with the new weight, so that all layers behind see it.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..evaluate import batch_statistics, device_of
from ..inputs import Inputs, call, moved, tensors
from ..split import Split
from ..subnetwork import Subnetwork
from ..supernet import Supernet
from ..tracing.op_call import Call
from ..tracing.weight_reads import MatrixRead, WeightRead, WeightReadRecorder, as_matrix, write_matrix
from .gram import CHUNK, IMAGES, Gram, block_widths, moment, with_ones
from .ridge import RIDGE, refit, solve
from .targets import Step, Steps, Target, before_norm, dense_targets, residual_target

PIXELS = 2**24  # of the images in the one batch: 330 of 224 px


@torch.no_grad()
def refit_sequentially(
    net: Supernet,
    subnetwork: Subnetwork,
    grams: Mapping[str, Gram],
    split: Split,
    *,
    images: int = IMAGES,
    ridge: float = RIDGE,
) -> nn.Module:
    """``slim``, with every weight that is read once refitted to its input in the slimmed network itself.

    The target is the dense layer's output, though the layers before have changed the input; where the layer is
    the last summand of a residual sum, it is the dense sum less the slimmed network's other summand, so that each
    block makes up for what those before it lost. Both passes run on one batch of ``images``, or as many as
    ``PIXELS`` allow. A weight that is read more than once is refitted by its Gram (``refit``). Batch norm uses the
    statistics of the batch: recalibrate before use.
    """
    batch = _one_batch(net, split, images)
    targets = dense_targets(net, subnetwork, batch)
    model = refit(net, subnetwork, {name: gram for name, gram in grams.items() if name not in targets}, ridge)
    with batch_statistics(model), _SlimPass(model, targets, ridge).recorder:
        call(model, batch)
    return model


def _one_batch(net: Supernet, split: Split, images: int) -> Inputs:
    """The first images of a split, on the network's device."""
    pixels = max(x[:, :1].numel() for x in tensors(next(split.batches(1, 1)).images))
    count = max(1, min(images, PIXELS // pixels))
    return moved(next(split.batches(count, count)).images, device_of(net.model))


class _SlimPass:
    """A pass of the slimmed network that refits each weight just before it is read.

    ``held``: the results that weights still to come are summed with; ``waiting``: how many weights wait for each.
    """

    def __init__(self, model: nn.Module, targets: Mapping[str, Target], ridge: float) -> None:
        self.tensors = dict(model.named_parameters())
        self.targets, self.ridge = targets, ridge
        self.steps = Steps()
        self.waiting = Counter(target.summand for target in targets.values() if target.summand)
        self.held: dict[Step, Tensor] = {}
        self.recorder = WeightReadRecorder(self.tensors, before=self._refit, each=self._hold)

    def _hold(self, call: Call) -> None:
        step = self.steps.add(call)
        if self.waiting[step] > 0:
            self.held[step] = call.results[0]

    def _take(self, summand: Step | None) -> Tensor | None:
        """The result of a step for one of the weights that wait for it; let go when none is left."""
        if summand is None:
            return None
        self.waiting[summand] -= 1
        return self.held.get(summand) if self.waiting[summand] else self.held.pop(summand, None)

    def _refit(self, read: WeightRead) -> None:
        target = self.targets.get(read.name)
        if target is None or not isinstance(read, MatrixRead):
            return
        wanted = residual_target(target, self._take(target.summand))
        if wanted is not None and target.norm and target.norm_bias:
            self.tensors[target.norm_bias].copy_(wanted.mean(0))
            wanted = before_norm(target, target.norm, wanted)
        self._fit(_Examples(read, target.positions, target.output if wanted is None else wanted), target)

    def _fit(self, examples: "_Examples", target: Target) -> None:
        """Fit a weight and its bias, in place, one block of columns after the other."""
        read = examples.read
        weight, bias = self.tensors[read.name], self.tensors[read.bias] if read.bias else None
        matrix = as_matrix(weight, read.order, read.groups).to(examples.wanted.dtype, copy=True)
        shift = matrix.new_zeros(matrix.shape[:2])
        if bias is not None:
            shift += bias.view(shift.shape)
        takes_means, start = bias is not None or target.norm is not None, 0
        for width in block_widths(read.columns, read.read):
            part = slice(start, start + width)
            across, among = _moments(examples, matrix, shift, part, takes_means=takes_means)
            change = solve(across, among, width, self.ridge)
            matrix[..., part] += change[..., :width]
            shift += change[..., width:].sum(-1)
            start += width
        write_matrix(weight, read.order, matrix)
        if bias is not None:
            bias.copy_(shift.flatten())


@dataclass(frozen=True, eq=False)
class _Examples:
    """Rows of a read, and the outputs ``wanted`` of them. Shape: positions (n,), wanted (n, made)"""

    read: MatrixRead
    positions: Tensor
    wanted: Tensor

    def chunks(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Inputs and outputs, a part at a time. Yields (groups, n, columns), (groups, made, n)"""
        groups = self.read.groups
        for some, wanted in zip(torch.split(self.positions, CHUNK), torch.split(self.wanted, CHUNK), strict=True):
            yield self.read.rows(some), wanted.T.reshape(groups, -1, len(wanted))


def _moments(
    examples: _Examples, matrix: Tensor, shift: Tensor, part: slice, *, takes_means: bool
) -> tuple[Tensor, Tensor]:
    """E[(y - W x - b) pᵀ] and E[p pᵀ], with p the ``part`` of the columns of x, and a one if means are free.

    Shape: matrix W (groups, made, columns), shift b (groups, made) → (groups, made, d), (groups, d, d)
    """
    size = part.stop - part.start + takes_means
    across, among = matrix.new_zeros(*shift.shape, size), matrix.new_zeros(len(matrix), size, size)
    for rows, wanted in examples.chunks():
        missing = wanted - shift[..., None] - matrix @ rows.mT
        known = with_ones(rows[..., part])[..., :size]
        across += missing @ known / len(examples.wanted)
        among += moment(known) / len(examples.wanted)
    return across, among
