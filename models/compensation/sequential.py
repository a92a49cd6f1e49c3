"""Closed-form compensation in sequence: each layer is refitted to what it reads in the slimmed network itself."""

from collections import Counter
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.weak import WeakIdKeyDictionary

from ..evaluate import batch_statistics, device_of
from ..split import Split
from ..subnetwork import Subnetwork
from ..supernet import Supernet
from ..surgery.slim import kept_places
from ..tracing.op_call import aten
from ..tracing.trace import evaluating
from ..tracing.weight_reads import NORMS, Reading, Readings, as_matrix, at_rows, wide, write
from .gram import CHUNK, IMAGES, Gram, block_widths, moment, sample_rows, with_ones
from .ridge import RIDGE, refit, solve

PIXELS = 2**24  # of the images in the one batch: 330 of 224 px
FAINT = 1e-2  # of the largest: batch norm with a weight below it can't be inverted

Joined: TypeAlias = Callable[[str, int, Tensor], None]


class Norm(NamedTuple):
    """A batch norm as it was called. Shape: (made,) each; epsilon a number"""

    weight: Tensor | None
    bias: Tensor | None
    mean: Tensor | None
    variance: Tensor | None
    epsilon: float


class Steps(Readings):  # type: ignore[no-untyped-call]  # torch leaves it untyped
    """Numbers the operations of a forward pass, keeps the results that ``hold`` asks for, and hears of sums.

    ``joined`` gets the name of a weight whose output, or what batch norm made of it, is a summand; the number of
    the operation that made the other summand; and the sum. ``norms``: weight → its batch norm.
    """

    def __init__(
        self,
        model: nn.Module,
        before: Callable[[Reading], None] | None = None,
        after: Callable[[Reading, Tensor], None] | None = None,
        joined: Joined | None = None,
        hold: Mapping[int, Any] | None = None,
    ) -> None:
        super().__init__(model, before, after)
        self.joined, self.hold = joined, hold or {}
        self.operations: list[Any] = []
        self.held: dict[int, Tensor] = {}
        self.numbers: MutableMapping[Tensor, int] = WeakIdKeyDictionary()
        self.norms: dict[str, Norm] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        results = super().__torch_dispatch__(func, types, args, kwargs)
        operation = NORMS[0] if func.overloadpacket in NORMS else func.overloadpacket
        result = results[0] if isinstance(results, (tuple, list)) else results
        if operation is NORMS[0] and args[0] in self.makers:
            self.makers[result] = self.makers[args[0]]
            self.norms[self.makers[result]] = Norm(args[1], args[2], args[3], args[4], args[7])
        if operation in (aten.add, aten.add_) and self.joined and not kwargs:
            self._sums(args[0], args[1], result)
        if isinstance(result, Tensor):
            number = len(self.operations)
            self.numbers[result] = number
            if self.hold.get(number) is operation:
                self.held[number] = result
        self.operations.append(operation)
        return results

    def _sums(self, a: object, b: object, total: Tensor) -> None:
        if isinstance(a, Tensor) and isinstance(b, Tensor) and a.shape == b.shape and self.joined:
            for one, other in ((a, b), (b, a)):
                if one in self.makers and other in self.numbers:
                    self.joined(self.makers[one], self.numbers[other], total)


@dataclass(frozen=True, eq=False)
class Target:
    """What a weight shall make: the dense network's ``output`` at rows drawn from its one call, kept channels alone.

    Where that is added to something, ``total`` is the dense sum there, and ``other`` the number of the operation
    that made the other summand. ``norm``: the batch norm that the output goes into.

    Shape: positions (n,), kept (made,) places, output and total (n, made)
    """

    positions: Tensor
    kept: Tensor
    output: Tensor
    total: Tensor | None = None
    summand_op: int = -1
    norm: Norm | None = None


@torch.no_grad()
def refit_sequentially(
    net: Supernet,
    subnetwork: Subnetwork,
    grams: Mapping[str, Gram],
    split: Split,
    images: int = IMAGES,
    seed: int = 0,
    ridge: float = RIDGE,
) -> nn.Module:
    """``slim``, with every weight that is read once refitted to what it reads in the slimmed network itself.

    The target is the dense layer's output, though the layers before have changed the input; where the layer is
    the last summand of a residual sum, it is the dense sum less the slimmed network's other summand, so that each
    block mends what those before it lost. Two forward passes, the dense one and the slimmed one: a weight is
    refitted just before it is used, and all that follows sees it. They hold one batch of ``images``, or as
    many as ``PIXELS`` allow. A weight that is read more than once gets what ``compensated`` gives it. Batch norm
    uses its batch: recalibrate before use.
    """
    pixels = next(split.batches(1, 1)).images[0, 0].numel()
    images = max(1, min(images, PIXELS // pixels))
    batch = next(split.batches(images, images)).images.to(device_of(net.model))
    targets, operations = _targets(net, subnetwork, batch, seed)
    model = refit(net, subnetwork, {n: gram for n, gram in grams.items() if n not in targets}, ridge)
    tensors = dict(model.named_parameters())
    dense = {id(parameter): name for name, parameter in net.model.named_parameters()}

    def refit_weight(reading: Reading) -> None:
        target = targets.get(reading.name)
        if target:
            rest = residual_target(target, steps.held.get(target.summand_op))
            if rest is not None and target.norm:
                tensors[dense[id(target.norm.bias)]].copy_(rest.mean(0))
                rest = _before_norm(target, target.norm, rest)
            awaited[target.summand_op] -= 1
            if not awaited[target.summand_op]:
                steps.held.pop(target.summand_op, None)
            _refit(reading, target, target.output if rest is None else rest, tensors, ridge)

    awaited = Counter(target.summand_op for target in targets.values() if target.summand_op >= 0)
    steps = Steps(model, before=refit_weight, hold={number: operations[number] for number in awaited})
    with batch_statistics(model), steps:
        model(batch)
    return model


def _targets(net: Supernet, subnetwork: Subnetwork, batch: Tensor, seed: int) -> tuple[dict[str, Target], list[Any]]:
    """The targets of the weights that the dense network reads once, and all its operations."""
    generator, calls = torch.Generator().manual_seed(seed), Counter[str]()
    places = kept_places(net, subnetwork)
    targets: dict[str, Target] = {}

    def record(reading: Reading, output: Tensor) -> None:
        calls[reading.name] += 1
        kept = places.get(reading.name, {}).get(reading.order[0], np.arange(output.shape[1]))
        positions, at = sample_rows(reading, 1.0, generator), torch.from_numpy(kept).to(output.device)
        targets[reading.name] = Target(positions, at, at_rows(output, positions)[:, at])

    def joined(name: str, other: int, total: Tensor) -> None:
        target = targets[name]
        targets[name] = replace(target, total=at_rows(total, target.positions)[:, target.kept], summand_op=other)

    steps = Steps(net.model, after=record, joined=joined)
    with evaluating(net.model), steps:
        net.model(batch)
    once = {name: replace(target, norm=steps.norms.get(name)) for name, target in targets.items() if calls[name] == 1}
    return once, steps.operations


def residual_target(target: Target, other: Tensor | None) -> Tensor | None:
    """The dense sum less the slimmed network's other summand; None where there is no sum that can be met.

    That is where the other summand comes later, or batch norm without weights stands in between.

    Shape: other (N, made, space...) → (n, made)
    """
    if target.total is None or other is None or other.shape[1] != len(target.kept):
        return None
    if target.norm and any(each is None for each in target.norm):
        return None
    return target.total - at_rows(other, target.positions)


def _before_norm(target: Target, norm: Norm, rest: Tensor) -> Tensor:
    """What the dense network's batch norm would have to get to make ``rest``. Shape: (n, made) → (n, made)"""
    vectors = [vector for vector in norm[:4] if isinstance(vector, Tensor)]
    weight, bias, mean, variance = (wide(vector[target.kept]) for vector in vectors)
    faint = weight.abs() < FAINT * weight.abs().max()
    wanted = (rest - bias) / weight * (variance + norm.epsilon).sqrt() + mean
    return torch.where(faint, target.output, wanted)


def _refit(reading: Reading, target: Target, wanted: Tensor, tensors: Mapping[str, Tensor], ridge: float) -> None:
    """Fit a weight, in place, to what it does not make of ``wanted`` yet; one block of columns after the other.

    Shape: wanted (n, made)
    """
    weight, bias = tensors[reading.name], tensors[reading.bias] if reading.bias else None
    matrix = as_matrix(weight, reading.order, reading.groups).to(wanted.dtype, copy=True)
    shift = matrix.new_zeros(matrix.shape[:2])
    if bias is not None:
        shift += bias.view(shift.shape)
    takes_means, start = bias is not None or target.norm is not None, 0
    for width in block_widths(reading.columns, reading.read):
        part, size = slice(start, start + width), width + takes_means
        across, among = matrix.new_zeros(*shift.shape, size), matrix.new_zeros(len(matrix), size, size)
        for some, outputs in zip(torch.split(target.positions, CHUNK), torch.split(wanted, CHUNK), strict=True):
            rows = reading.rows(some)
            missing = outputs.T.reshape(*shift.shape, -1) - shift[..., None] - matrix @ rows.mT
            known = with_ones(rows[..., part])[..., :size]
            across += missing @ known / len(wanted)
            among += moment(known) / len(wanted)
        change = solve(across, among, width, ridge)
        matrix[..., part] += change[..., :width]
        shift += change[..., width:].sum(-1)
        start += width
    write(weight, reading.order, matrix)
    if bias is not None:
        bias.copy_(shift.flatten())
