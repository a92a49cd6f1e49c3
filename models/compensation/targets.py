"""Targets that the weights of a slimmed network are refitted to, recorded in one pass of the dense network."""

from collections import Counter
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.weak import WeakIdKeyDictionary

from ..inputs import Inputs, call
from ..subnetwork import Subnetwork
from ..supernet import Supernet
from ..surgery.places import kept_places
from ..tracing.atoms import IntArray
from ..tracing.modules import evaluating
from ..tracing.op_call import BATCH_NORMS, Call, aten
from ..tracing.weight_reads import BatchNorm, MatrixRead, WeightRead, WeightReadRecorder, at_rows, wide
from .gram import sample_rows

FAINT = 1e-2  # of the largest: batch norm with a weight below it can't be inverted


@dataclass(frozen=True)
class Step:
    """One operation of a forward pass: how many ran before it, and its kind.

    A dense network and a slimmed one run the same steps, so that one names the results of the other.
    """

    number: int
    operation: Any


class Steps:
    """The operations of a forward pass so far, and which of them made each tensor that is still alive."""

    def __init__(self) -> None:
        self._count = 0
        self._makers: MutableMapping[Tensor, Step] = WeakIdKeyDictionary()

    def add(self, call: Call) -> Step:
        """The step of an operation that has just run; a tensor that it wrote in place is its result, too."""
        operation = call.func.overloadpacket
        step = Step(self._count, aten.native_batch_norm if operation in BATCH_NORMS else operation)
        self._count += 1
        if isinstance(call.results[0], Tensor):
            self._makers[call.results[0]] = step
        return step

    def maker(self, tensor: Tensor) -> Step | None:
        """The step that made a tensor; None for one that was there before."""
        return self._makers.get(tensor)


@dataclass(frozen=True, eq=False)
class Target:
    """The output that a weight is refitted to: the dense network's, at rows drawn from its one call.

    It has the kept channels only. Where it is a summand, ``total`` is the dense sum and ``summand`` the step that
    made the other summand. ``norm``: the batch norm that the output goes into; ``norm_bias``: the name of its bias.

    Shape: positions (n,), kept (made,) places, output and total (n, made)
    """

    positions: Tensor
    kept: Tensor
    output: Tensor
    total: Tensor | None = None
    summand: Step | None = None
    norm: BatchNorm | None = None
    norm_bias: str | None = None


def dense_targets(
    net: Supernet, subnetwork: Subnetwork, batch: Inputs, seed: int = 0, share: float = 1.0
) -> dict[str, Target]:
    """The target of each weight that the dense network reads exactly once, by name; a ``share`` of their rows."""
    dense = _DensePass(net.model, kept_places(net, subnetwork), torch.Generator().manual_seed(seed), share)
    with evaluating(net.model), dense.recorder:
        call(net.model, batch)
    return dense.targets_of_weights_read_once()


class _DensePass:
    """The targets found in a pass of the dense network so far: outputs of weights, and the sums that they enter."""

    def __init__(
        self,
        model: nn.Module,
        places: Mapping[str, Mapping[int, IntArray]],
        generator: torch.Generator,
        share: float,
    ) -> None:
        self.places, self.generator, self.share = places, generator, share
        self.steps, self.calls = Steps(), Counter[str]()
        self.targets: dict[str, Target] = {}
        self.recorder = WeightReadRecorder(dict(model.named_parameters()), after=self._record, each=self._follow)

    def _record(self, read: WeightRead, output: Tensor) -> None:
        if isinstance(read, MatrixRead):
            self.calls[read.name] += 1
            kept = self.places.get(read.name, {}).get(read.order[0], np.arange(output.shape[1]))
            positions, at = sample_rows(read, self.share, self.generator), torch.from_numpy(kept).to(output.device)
            self.targets[read.name] = Target(positions, at, at_rows(output, positions)[:, at])

    def _follow(self, call: Call) -> None:
        if call.func.overloadpacket in (aten.add, aten.add_) and not call.kwargs:
            one, other = call.args
            if isinstance(one, Tensor) and isinstance(other, Tensor) and one.shape == other.shape:
                self._join(one, other, call.results[0])
                self._join(other, one, call.results[0])
        self.steps.add(call)

    def _join(self, output: Tensor, other: Tensor, total: Tensor) -> None:
        """Note a sum, if ``output`` is a weight's and a step of the pass made the ``other`` summand."""
        name, summand = self.recorder.makers.get(output), self.steps.maker(other)
        if name is not None and summand is not None:
            target = self.targets[name]
            rows = at_rows(total, target.positions)[:, target.kept]
            self.targets[name] = replace(target, total=rows, summand=summand)

    def targets_of_weights_read_once(self) -> dict[str, Target]:
        """The recorded targets, each with the batch norm behind it."""
        norms, names = self.recorder.norms, self.recorder.names
        once = {name: target for name, target in self.targets.items() if self.calls[name] == 1}
        known = {name: norms[name] for name in once if name in norms}
        return once | {
            name: replace(once[name], norm=norm, norm_bias=names.get(id(norm.bias))) for name, norm in known.items()
        }


def residual_target(target: Target, other: Tensor | None) -> Tensor | None:
    """The dense sum less the slimmed network's other summand; None where there is no sum that can be met.

    That is where the other summand comes later, or batch norm without weights stands in between.

    Shape: other (N, made, space...) → (n, made)
    """
    if target.total is None or other is None or other.shape[1] != len(target.kept):
        return None
    if target.norm and (target.norm_bias is None or any(each is None for each in target.norm)):
        return None
    return target.total - at_rows(other, target.positions)


def before_norm(target: Target, norm: BatchNorm, behind: Tensor) -> Tensor:
    """The input from which the dense network's batch norm makes ``behind``; its own output where the norm is faint.

    x = (y - bias) / weight · √(variance + ε) + mean. Shape: behind (n, made) → (n, made)
    """
    vectors = [vector for vector in norm[:4] if isinstance(vector, Tensor)]
    weight, bias, mean, variance = (wide(vector[target.kept]) for vector in vectors)
    faint = weight.abs() < FAINT * weight.abs().max()
    wanted = (behind - bias) / weight * (variance + norm.epsilon).sqrt() + mean
    return torch.where(faint, target.output, wanted)
