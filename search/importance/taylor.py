"""Filter importance from the gradient of the loss: the change of the loss, to first order.

J is the summed cross-entropy of a batch, with the dense network's running statistics. Both scores read the first
2,000 images of the split that they are passed (in a search the holdout) in 8 batches of 250.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from ...models.evaluate import device_of
from ...models.inputs import call, moved
from ...models.split import Batch, Split
from ...models.supernet import Supernet
from ...models.surgery.copies import copied
from ...models.tasks.task import Task
from ...models.tracing.atoms import FloatArray
from ...models.tracing.groups import Member
from ...models.tracing.modules import named_tensors
from .scores import Scores, average, makers, readers, sums

AtMember: TypeAlias = Callable[[Tensor, Member, int], FloatArray]  # of W·∂J/∂W, for a group of this width

TAYLOR_IMAGES = 2000
TAYLOR_BATCH = 250


def taylor(net: Supernet, split: Split) -> Scores:
    """|∂J/∂gate_c|, a gate on the channel where a weight reads it: the change of J to first order without it.

    A gate on the input channel of a weight scales that slice of the weight, so the gradient is Σ W·∂J/∂W over
    the slice: one backward pass yields all gates. The absolute value is taken for each batch and each reading
    layer, then summed over batches (EKG's rule, but at the readers: a channel of a residual stage is scored by
    all the layers that read it, not by the sum that it is part of) and averaged over the readers.
    """

    def gate(product: Tensor, member: Member, width: int) -> FloatArray:
        return np.abs(member.per_channel(sums(product, member.dim), width))

    return _scored(net, split, readers(net), gate)


def taylor_weight(net: Supernet, split: Split) -> Scores:
    """Σ_w (w·∂J/∂w)² over the weights w of the filters that make a channel, summed over batches.

    Each weight is scored as if it were removed alone, eq. (8) of Molchanov et al. 2019, https://arxiv.org/abs/1906.10771.
    Averaged over the layers that make a channel.
    """

    def squares(product: Tensor, member: Member, width: int) -> FloatArray:
        return member.per_channel(sums(product**2, member.dim), width)

    return _scored(net, split, makers(net), squares)


def _scored(net: Supernet, split: Split, members: Sequence[Sequence[Member]], score: AtMember) -> Scores:
    """``score`` of W·∂J/∂W at each member, averaged over members and summed over batches."""
    names = sorted({member.tensor for those in members for member in those})
    total = [np.zeros(group.width) for group in net.groups]
    for products in _products(net, split, names):
        found = average(net, members, partial(_at, products, score))
        total = [before + each for before, each in zip(total, found, strict=True)]
    return total


def _at(products: Mapping[str, Tensor], score: AtMember, member: Member, width: int) -> FloatArray:
    return score(products[member.tensor], member, width)


def _products(net: Supernet, split: Split, names: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """W·∂J/∂W of these weights, batch by batch."""
    model = copied(net.model, {}).eval().requires_grad_(False)
    tensors = named_tensors(model)
    weights = {name: tensors[name].requires_grad_(True) for name in names}
    for batch in split.batches(TAYLOR_BATCH, TAYLOR_IMAGES):
        gradients = _gradients(model, batch, split.task, list(weights.values()))
        yield {name: w.detach() * g for (name, w), g in zip(weights.items(), gradients, strict=True)}


def _gradients(model: nn.Module, batch: Batch, task: Task, weights: Sequence[Tensor]) -> Sequence[Tensor]:
    """Of the summed loss; zeros for a weight that it does not depend on."""
    images, labels, _ = moved(batch, device_of(model))
    with torch.enable_grad():
        loss = task.loss(call(model, images), labels).sum()
    found = torch.autograd.grad(loss, weights, allow_unused=True)
    return [torch.zeros_like(w) if g is None else g for w, g in zip(weights, found, strict=True)]
