"""Closed-form compensation in sequence: each layer is refitted to its input in the slimmed network itself.

Two forward passes over each batch. The dense one records a ``Target`` for every weight. The slimmed one stops before
each weight that is read, refits it to its target, and continues with the new weight, so that all layers behind see it.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from math import ceil

import torch
from torch import Tensor, nn

from ..evaluate import batch_statistics, device_of
from ..inputs import call, moved, tensors
from ..split import Split
from ..subnetwork import Subnetwork
from ..supernet import Supernet
from ..surgery.slim import slim
from ..tracing.op_call import Call
from ..tracing.weight_reads import MatrixRead, WeightRead, WeightReadRecorder
from .gram import IMAGES, Gram
from .moments import RIDGES
from .refits import Examples, Refits
from .ridge import refit
from .targets import Step, Steps, Target, before_norm, dense_targets, residual_target

PIXELS = 2**24  # of the images in one batch: 330 of 224 px
HELD = 5  # one image in so many is held out


@torch.no_grad()
def refit_sequentially(
    net: Supernet,
    subnetwork: Subnetwork,
    grams: Mapping[str, Gram],
    split: Split,
    *,
    images: int = IMAGES,
    ridges: Sequence[float] = RIDGES,
) -> nn.Module:
    """``slim``, with every weight that is read once refitted to its input in the slimmed network itself.

    The target is the dense layer's output, though the layers before have changed the input; where the layer is
    the last summand of a residual sum, it is the dense sum less the slimmed network's other summand, so that each
    block makes up for what those before it lost. ``images``, and those held out, come in batches of as many as
    ``PIXELS`` allow; a refit counts the batches before it in. One image in ``HELD`` is held out: these choose the
    ridge, and a refit that is no better on them than the one by Grams (``refit``), or than the inherited weight, gives
    way to it. A weight that is read more than once is refitted by its Gram. Batch norm uses the statistics of the
    batch: recalibrate before use.
    """
    model = refit(net, subnetwork, grams)
    refits = Refits(model, slim(net, subnetwork), ridges)
    sizes = batch_sizes(net, split, ceil(images * HELD / (HELD - 1)))
    for seed, batch in enumerate(split.batches(sizes[0], sum(sizes))):
        size, inputs = len(batch.indices), moved(batch.images, device_of(net.model))
        targets = dense_targets(net, subnetwork, inputs, seed, size / min(images, sum(sizes)))
        with batch_statistics(model), _SlimPass(refits, targets, size).recorder:
            call(model, inputs)
    return model


def batch_sizes(net: Supernet, split: Split, images: int) -> list[int]:
    """The sizes of the batches that ``images`` of a split come in, about the same, and none over ``PIXELS``."""
    pixels = max(x[:, :1].numel() for x in tensors(next(split.batches(1, 1)).images))
    images = min(images, len(split))
    size = ceil(images / ceil(images / max(1, PIXELS // pixels)))
    return [min(size, images - start) for start in range(0, images, size)]


class _SlimPass:
    """A pass of the slimmed network over a batch of ``images`` that refits each weight just before it is read.

    ``held``: the results that weights still to come are summed with; ``waiting``: how many weights wait for each.
    """

    def __init__(self, refits: Refits, targets: Mapping[str, Target], images: int) -> None:
        self.refits, self.targets, self.images = refits, targets, images
        self.steps = Steps()
        self.waiting = Counter(target.summand for target in targets.values() if target.summand)
        self.held: dict[Step, Tensor] = {}
        self.recorder = WeightReadRecorder(refits.tensors, before=self._refit, each=self._hold)

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
            self.refits.set_mean(target.norm_bias, wanted)
            wanted = before_norm(target, target.norm, wanted)
        wanted, held = target.output if wanted is None else wanted, self._held_out(read, target.positions)
        self.refits.refit(Examples(read, target.positions, wanted, held, target.norm is not None))

    def _held_out(self, read: MatrixRead, positions: Tensor) -> Tensor:
        """Which rows are of the last images of the batch, one in ``HELD``; of a single image none.

        Shape: positions (n,) → (n,) bool
        """
        held = ceil(self.images / HELD) if self.images > 1 else 0
        return positions * self.images // read.count >= self.images - held
