"""Filter importance: how much each channel of each group matters; low scores go first."""

import copy
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
import torch
import torch.nn.functional as F

from ..models.atoms import FloatArray
from ..models.batches import Split
from ..models.evaluate import device_of
from ..models.groups import ChannelGroup
from ..models.supernet import Supernet
from ..models.trace import evaluating

Scores: TypeAlias = list[FloatArray]  # one array (width of the group,) for each group
Importance: TypeAlias = Callable[[Supernet, Split], Scores]

TAYLOR_IMAGES = 2000
TAYLOR_BATCH = 250


def l1(net: Supernet, split: Split) -> Scores:
    """Σ|W_c| of the filters that make a channel, averaged over the layers that make it; needs no data.

    A group of many layers gets no more than one of few. Li et al. 2017, https://arxiv.org/abs/1608.08710.
    """
    del split
    tensors = dict(net.model.named_parameters())

    def filters(group: ChannelGroup) -> FloatArray:
        makers = [m for m in group.members if not m.reads and m.tensor in tensors and tensors[m.tensor].ndim > 1]
        total = np.zeros(group.width)
        for member in makers:
            total += member.per_channel(_sums(tensors[member.tensor].abs(), member.dim), group.width)
        return total / max(1, len(makers))

    return [filters(group) for group in net.groups]


def taylor(net: Supernet, split: Split) -> Scores:
    """|∂J/∂gate_c|, a gate on the channel where a weight reads it: what J loses to first order without it.

    A gate on the input channel of a weight scales that slice of the weight, so the gradient is Σ W·∂J/∂W over
    the slice: one backward pass gives all gates. The absolute value is taken for each batch and each reading
    layer, then summed (EKG's rule, but at the readers: a channel of a residual stage is judged by all the
    layers that read it, not by the sum it is passed on in). J is the cross-entropy, on 2,000 images of
    ``split`` (give the holdout) in batches of 250, with the dense network's running statistics.
    """
    model = copy.deepcopy(net.model)
    readers = sorted({m.tensor for group in net.groups for m in group.members if m.reads})
    weights = [model.get_parameter(name).requires_grad_(True) for name in readers]
    dims = {(m.tensor, m.dim) for group in net.groups for m in group.members if m.reads}
    scores = [np.zeros(group.width) for group in net.groups]
    with evaluating(model), torch.enable_grad():
        for images, labels, _ in split.batches(TAYLOR_BATCH, TAYLOR_IMAGES):
            device = device_of(model)
            loss = F.cross_entropy(model(images.to(device)), labels.to(device), reduction="sum")
            gradients = dict(zip(readers, torch.autograd.grad(loss, weights), strict=True))
            slices = {(name, dim): _sums(gradients[name] * model.get_parameter(name), dim) for name, dim in dims}
            for group, total in zip(net.groups, scores, strict=True):
                for member in group.members:
                    if member.reads:
                        total += np.abs(member.per_channel(slices[member.tensor, member.dim], group.width))
    return scores


def per_group(scores: Sequence[FloatArray]) -> Scores:
    """Each group's scores divided by their mean: scales of layers differ by orders of magnitude.

    Shape: (width of the group,) each → the same
    """
    return [score / max(float(score.mean()), 1e-30) for score in scores]


def _sums(tensor: torch.Tensor, dim: int) -> FloatArray:
    """Sum over every dimension but one, as float64."""
    total: FloatArray = tensor.detach().double().transpose(0, dim).flatten(1).sum(1).cpu().numpy()
    return total
