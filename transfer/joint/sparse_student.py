"""A student whose batch-norm scales are thresholded, harder and harder, until its live channels meet a budget."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from ...models.costs.budget import Budget, cost_form
from ...models.costs.cost import Bilinear
from ...models.costs.widths import fit_to_budget
from ...models.evaluate import device_of
from ...models.subnetwork import Subnetwork, top_channels
from ...models.supernet import Supernet
from ...models.surgery.slim import slim
from ...models.tracing.atoms import FloatArray, IntArray
from ..training.recipe import MOMENTUM
from .bn_sparsity import Scales
from .student_start import filter_norms

FIRST_PRESSURE, LAST_PRESSURE = 0.1, 1000.0  # times the gradient that holds a scale up
RISE = 0.8  # the share of all displacement over which it rises
MEMORY = 0.9  # of the running mean of that gradient
NOTHING = 2e-6  # the scale of a channel whose scales are all 0 reads as 1e-6, where its gradient needs a root


def pressure(progress: float) -> float:
    """The strength at this share of all displacement: it rises by a constant factor, from 0.1 to 1000.

    >>> [round(pressure(progress), 1) for progress in (0, 0.4, 0.8, 1)]
    [0.1, 10.0, 1000.0, 1000.0]
    """
    return float(FIRST_PRESSURE * (LAST_PRESSURE / FIRST_PRESSURE) ** min(progress / RISE, 1))


class SparseStudent(nn.Module):
    """The proximal form of a penalty Σ_b λ_b Σ_{g in b} cost_g Σ_c |γ_gc|, with λ raised until the budget is met.

    After each step every channel's scales γ_c are soft-thresholded,

        γ_c ← γ_c · max(0, 1 − t_g / ‖γ_c‖),    t_g = pressure · factor_b · cost_g · lr · rms(∂L/∂γ),

    so that a channel is closed, exactly, where the loss holds it up by less than the threshold (a subgradient would
    make it swing about 0). ‖·‖ is the root mean square over a channel's scales. The pressure is measured against the
    gradient that it works against, a running mean over all scales: its range fits VGG, ResNet and MobileNetV2 alike.
    cost_g is what a channel costs at the present widths, relative to the dense average, summed over the limits that
    are not yet met: early blocks go first for MACs, late ones for parameters.

    Once the live channels meet the budget, that is the structure: what is closed stays closed, and the rest is
    thresholded no more. A step that closes too many, as where a whole layer falls together, gives the best of them
    back, until the budget is used up.

    Args:
        net: The dense network with its structure; the student starts as it.
        budget: What the live channels may cost.
        factors: Of each group's strength. Shape: (G,)
        step_sizes: The displacement in each step under a gradient of 1. Shape: (steps,)
    """

    def __init__(self, net: Supernet, budget: Budget, factors: FloatArray, step_sizes: FloatArray) -> None:
        super().__init__()
        self.net, self.budget, self.factors, self.step_sizes = net, budget, factors, step_sizes
        self.student = slim(net, net.dense)
        self.scales = Scales(net, self.student)
        self.progress = step_sizes.cumsum() / step_sizes.sum()
        self.register_buffer("gradient", torch.zeros((), device=device_of(net.model)))
        self.register_buffer("found", torch.zeros((), dtype=torch.bool))
        for g, group in enumerate(net.groups):
            self.register_buffer(f"open{g}", torch.ones(group.width, dtype=torch.bool, device=device_of(net.model)))

    def forward(self, *inputs: Tensor) -> Tensor:
        """The student's output."""
        output: Tensor = self.student(*inputs)
        return output

    @torch.no_grad()
    def on_step_end(self, done: int) -> None:
        """Threshold the scales, or keep closed what was closed when the budget was met, at the latest by the end."""
        factors = {g: self._opened(g).float() for g in self.scales.groups}
        if not self.settled:
            margins = self._margins(done)
            widths = self._live(margins)
            if self.budget.holds(self.net.space.costs, widths) or done == len(self.step_sizes):
                self._settle(margins, fit_to_budget(self.net.space, self.budget, widths))
                factors = {g: self._opened(g).float() for g in self.scales.groups}
            else:
                factors = {g: self._remaining(g, margins[g]) for g in self.scales.groups}
        for g, factor in factors.items():
            self.scales.multiply(g, factor)

    @property
    def settled(self) -> bool:
        """Whether the structure is found."""
        return bool(self.get_buffer("found"))

    def subnetwork(self) -> Subnetwork:
        """The structure; while it is not found, the live channels, and all of the groups without scales."""
        scores = self._scores()
        if self.settled:
            scores = [self._opened(g).double().cpu().numpy() for g in range(len(scores))]
        return top_channels(scores, self._live(scores))

    def slimmed(self) -> nn.Module:
        """The student's open channels as a plain network."""
        return slim(replace(self.net, model=self.student), self.subnetwork())

    def _margins(self, done: int) -> list[FloatArray]:
        """How far each channel's scale lies above its threshold in this step. Shape: (width,) each"""
        gradient, seen = self.get_buffer("gradient"), self.scales.gradient()
        gradient.copy_(seen if done == 1 else MEMORY * gradient + (1 - MEMORY) * seen)
        rate = float(self.step_sizes[done - 1]) * (1 - MOMENTUM)
        strength = pressure(float(self.progress[done - 1])) * rate * float(gradient)
        thresholds = strength * self.factors * self._channel_costs()
        return [scores - threshold for scores, threshold in zip(self._scores(), thresholds, strict=True)]

    def _remaining(self, g: int, margins: FloatArray) -> Tensor:
        """max(0, 1 − t / ‖γ‖) of each channel. Shape: margins (width,) → (width,)"""
        part = np.maximum(margins, 0) / np.maximum(self._scores()[g], 1e-12)
        return torch.from_numpy(part).to(self._opened(g).device, torch.float32)

    def _channel_costs(self) -> FloatArray:
        """The cost of a channel of each group, shared among its scales, by all limits not yet met. Shape: → (G,)"""
        space, widths = self.net.space, self.subnetwork().widths
        total: FloatArray = np.zeros(len(widths))
        for name, limit in self.budget.limits.items():
            form = cost_form(name, space.costs, None)
            if isinstance(form, Bilinear) and form(widths) > limit:
                total += form.gradient(widths) / (float(form(space.dense)) / space.dense.sum())
        return total / np.maximum(self.scales.count, 1)

    def _scores(self) -> list[FloatArray]:
        """The scale of every channel, 0 where it is closed; infinite in groups without scales. Shape: (width,) each"""
        scores: list[FloatArray] = [np.full(group.width, np.inf) for group in self.net.groups]
        for g in self.scales.groups:
            found = self.scales.of(g).detach().double().cpu().numpy()
            scores[g] = np.where(found > NOTHING, found, 0.0)
        return scores

    def _live(self, scores: list[FloatArray]) -> IntArray:
        """How many channels of each group are above 0, or its least width. Shape: → (G,)"""
        counts = np.array([(score > 0).sum() for score in scores], np.float64)
        return self.net.space.ceil(counts, np.arange(len(counts)))

    def _opened(self, g: int) -> Tensor:
        """Which channels of a group may be open. Shape: → (width,)"""
        return self.get_buffer(f"open{g}")

    def _settle(self, scores: Sequence[FloatArray], widths: IntArray) -> None:
        """Close all but the best channels for good; where there are no scales, those with the largest filters stay."""
        norms = filter_norms(replace(self.net, model=self.student))
        ranked = [score if g in self.scales.groups else norms[g].double().numpy() for g, score in enumerate(scores)]
        self.get_buffer("found").fill_(True)
        for g, channels in enumerate(top_channels(ranked, widths).kept):
            self._opened(g).fill_(False)[list(channels)] = True
