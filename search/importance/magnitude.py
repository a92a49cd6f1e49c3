"""Filter importance from the weights alone, which reads no image; and random scores, the control.

W_c are all weights of the filters that make channel c in one layer: several filters where a grouped convolution
keeps its groups equal. A batch norm that follows is not folded in. Scores are averaged over the layers that make
a channel (a residual stage has many).
"""

import numpy as np
import torch
from torch.nn.modules.batchnorm import _BatchNorm

from ...errors import SecateurError
from ...models.split import Split
from ...models.supernet import Supernet
from ...models.tracing.atoms import FloatArray
from ...models.tracing.groups import Member
from ...models.tracing.modules import named_tensors
from .scores import Scores, average, makers, per_place, sums


def l1(net: Supernet, split: Split | None = None) -> Scores:
    """Σ|W_c|; data-free. Li et al. 2017, https://arxiv.org/abs/1608.08710."""
    del split
    weights = named_tensors(net.model)
    return average(net, makers(net), lambda m, width: m.per_channel(sums(weights[m.tensor].abs(), m.dim), width))


def l2(net: Supernet, split: Split) -> Scores:
    """√Σ W_c²; data-free. As soft filter pruning ranks, He et al. 2018, https://arxiv.org/abs/1808.06866."""
    del split
    weights = named_tensors(net.model)

    def norm(member: Member, width: int) -> FloatArray:
        squares = sums(weights[member.tensor].detach().double() ** 2, member.dim)
        root: FloatArray = np.sqrt(member.per_channel(squares, width))
        return root

    return average(net, makers(net), norm)


def fpgm(net: Supernet, split: Split) -> Scores:
    """Σ_j ‖W_c − W_j‖₂ over all filters j of the layer; data-free.

    The filters with the smallest sum lie nearest to the layer's geometric median, so the others can replace
    them. He et al. 2019, https://arxiv.org/abs/1811.00250; no small filters are dropped beforehand. Filters of
    other groups in the same layer count among the j.
    """
    del split
    weights = named_tensors(net.model)

    def distance(member: Member, width: int) -> FloatArray:
        rows = per_place(weights[member.tensor], member.dim)
        apart = torch.cdist(rows, rows, compute_mode="donot_use_mm_for_euclid_dist").sum(1)
        return member.per_channel(apart.cpu().numpy(), width)

    return average(net, makers(net), distance)


def bn_scale(net: Supernet, split: Split) -> Scores:
    """|γ_c| of batch norm, averaged over the batch norms of a channel; data-free.

    Network slimming, Liu et al. 2017, https://arxiv.org/abs/1708.06519. Meant for networks trained with an L1
    penalty on γ; weak on others. Channels without a batch norm pass unscaled, so they count as γ = 1. Raises
    SecateurError where no channel has one.
    """
    del split
    weights = named_tensors(net.model)
    norms = {f"{name}.weight" for name, module in net.model.named_modules() if isinstance(module, _BatchNorm)}
    members = [[m for m in group.members if m.tensor in norms] for group in net.groups]
    if not any(members):
        raise SecateurError("bn_scale needs batch norm with weights, and this network has none; use l2")

    def scale(member: Member, width: int) -> FloatArray:
        scales = sums(weights[member.tensor].abs(), member.dim)
        return member.per_channel(scales, width) * (width / len(member.places))

    pairs = zip(net.groups, members, strict=True)
    return [np.mean([scale(m, g.width) for m in those] or [np.ones(g.width)], axis=0) for g, those in pairs]


def random_scores(net: Supernet, split: Split, seed: int = 0) -> Scores:
    """Uniform in [0, 1), the control that every score has to beat; data-free."""
    del split
    generator = np.random.default_rng(seed)
    return [generator.random(group.width) for group in net.groups]
