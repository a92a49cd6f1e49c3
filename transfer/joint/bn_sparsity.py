"""Sparsity of batch-norm scales, weighted by what a channel costs: the regulariser that learns a structure."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ...models.costs.cost import Bilinear
from ...models.patterns import value_for
from ...models.subnetwork import Subnetwork
from ...models.supernet import Supernet
from ...models.surgery.slim import slim
from ...models.tracing.atoms import FloatArray
from .learner import channels_above

ALIVE = 1e-2  # a channel whose scale lies above stays: MorphNet's threshold


class Scales:
    """The batch-norm scales of each channel group of a student that has the dense network's shape.

    A channel that several layers make has several scales (a residual sum, a depthwise convolution). Its own is their
    root mean square, so that they fall together and the channel stays while one of them is alive.
    """

    def __init__(self, net: Supernet, student: nn.Module) -> None:
        norms = {f"{name}.weight" for name, module in student.named_modules() if isinstance(module, _BatchNorm)}
        self.net, self.student, self.tensors = net, student, dict(student.named_parameters())
        self.members = [[m for m in group.members if m.tensor in norms] for group in net.groups]

    @property
    def groups(self) -> list[int]:
        """The groups that have scales, and channels that may be pruned."""
        free = self.net.space.min_widths < self.net.space.dense
        return [g for g, members in enumerate(self.members) if members and free[g]]

    @property
    def count(self) -> FloatArray:
        """The number of scales of a channel of each group, on average. Shape: → (G,)"""
        groups = zip(self.net.groups, self.members, strict=True)
        return np.array([sum(len(m.channels) for m in members) / group.width for group, members in groups])

    def of(self, g: int) -> Tensor:
        """The scale of every channel of a group, 0 or more. Shape: → (width,)"""
        total = count = torch.zeros(self.net.groups[g].width, device=self.tensors[self.members[g][0].tensor].device)
        for member in self.members[g]:
            channels, places = (torch.from_numpy(each).to(total.device) for each in (member.channels, member.places))
            total = total.index_add(0, channels, self.tensors[member.tensor][places].square())
            count = count.index_add(0, channels, torch.ones_like(channels, dtype=count.dtype))
        return (total / count + 1e-12).sqrt()  # the root of 0 has no gradient

    def gradient(self) -> Tensor:
        """The root mean square of the loss's gradient at all scales, after a backward pass. Shape: → ()"""
        found = [self.tensors[member.tensor].grad for g in self.groups for member in self.members[g]]
        return torch.cat([each.flatten() for each in found if each is not None]).square().mean().sqrt()

    @torch.no_grad()
    def multiply(self, g: int, factors: Tensor) -> None:
        """Multiply the scales of each channel of a group; where the factor is 0 the shift becomes 0, too.

        Shape: factors (width,)
        """
        for member in self.members[g]:
            channels, places = (torch.from_numpy(each).to(factors.device) for each in (member.channels, member.places))
            factor = factors[channels]
            self.tensors[member.tensor][places] *= factor
            shift = self.tensors.get(member.tensor.removesuffix("weight") + "bias")
            if shift is not None:
                shift[places] *= factor > 0

    def subnetwork(self) -> Subnetwork:
        """The channels that are alive, and all of the other groups."""
        scores: list[FloatArray] = [np.full(group.width, np.inf) for group in self.net.groups]
        with torch.no_grad():
            for g in self.groups:
                scores[g] = self.of(g).double().cpu().numpy()
        return channels_above(self.net, scores, ALIVE)

    def slimmed(self) -> nn.Module:
        """The student's alive channels as a plain network."""
        return slim(replace(self.net, model=self.student), self.subnetwork())


class BnSparsity:
    """Σ_g strength_g · cost_g · Σ_c scale_gc, where cost_g is what one more channel of a group costs at present.

    With R = Σ_l c_l · alive_in · alive_out the cost of the layers, cost_g = ∂R/∂alive_g, which is MorphNet's
    c_l (n_in Σ|γ_out| + n_out Σ|γ_in|) for any network whose costs have a closed form. A cost is shared among the
    scales that a channel has; costs are relative to such a share, averaged over the costs of the dense network, so
    that a strength has much the same effect on VGG, whose first channels cost far more than most, as on a ResNet.

    Shape: strengths (G,); → ()
    """

    def __init__(self, scales: Scales, form: Bilinear, strengths: FloatArray) -> None:
        dense, groups = scales.net.space.dense, scales.groups
        self.scales, self.form, self.strengths = scales, form, strengths
        channel_costs = form.gradient(dense)[groups]
        costs, shares = channel_costs * dense[groups], channel_costs / scales.count[groups]
        self.average = float(costs @ shares / costs.sum())

    def __call__(self, groups: Sequence[int] | None = None) -> Tensor:
        """The penalty of these groups, or of all that have scales."""
        widths = self.scales.subnetwork().widths
        weights = self.strengths * self.form.gradient(widths) / self.average
        chosen = self.scales.groups if groups is None else groups
        return torch.stack([float(weights[g]) * self.scales.of(g).sum() for g in chosen]).sum()


def strengths_of(net: Supernet, strength: float, blocks: Mapping[str, float]) -> FloatArray:
    """The strength of each group: ``strength``, times the factor of the first pattern that matches its name.

    SecateurError where a pattern matches no group. Shape: → (G,)
    """
    net.matching(list(blocks))
    return strength * np.array([value_for(group.name, blocks, 1.0) for group in net.groups])
