"""Masks over channel groups, trained by gradient: a channel is open or closed, and may open again."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from ...models.costs.budget import Budget
from ...models.costs.widths import fit_to_budget
from ...models.evaluate import device_of
from ...models.subnetwork import Subnetwork, top_channels
from ...models.supernet import Supernet
from ...models.surgery.slim import slim
from ...models.tracing.atoms import FloatArray
from ...models.tracing.modules import named_tensors
from .learner import channels_above

SPREAD = 1e-3  # standard deviation of a mask at the start, that of PDD's code: about half of the channels are closed


def gate(mask: Tensor, opened: Tensor) -> Tensor:
    """``opened``, 0 or 1, with the gradient (1 − |m|)₊ for the mask m.

    The sign has no gradient; that of the piecewise quadratic m(2 − |m|) on [−1, 1] replaces it, halved since the gate
    is (sign + 1)/2. It is largest at the threshold and 0 beyond ±1, and a closed channel (m < 0) has it, too. As in
    PDD's code, https://doi.org/10.1007/s12559-024-10350-9.

    Shape: mask (width,), opened (width,) → (width,)
    """
    clipped = mask.clamp(-1, 1)
    smooth = clipped * (2 - clipped.abs()) / 2
    return opened + smooth - smooth.detach()


class Masked(nn.Module):
    """A student with a mask over some channel groups: closed channels are multiplied by 0 wherever they are read.

    The one mask of a group acts on all weights that read it, so that summands of a residual sum stay aligned, and
    the masked network equals the slimmed one (except where a group or layer norm takes its statistics over closed
    channels, too). Least widths hold: the highest masks count as open. So does a ``budget``: the widths of the open
    masks are scaled until they meet it, as they would be in a pruned network.

    Args:
        net: The dense network with its structure; the student starts as it.
        groups: The groups that have a mask.
        seed: Decides the masks, which are drawn from N(0, ``spread``²).
        budget: What the open channels may cost; None: no limit.
        spread: The wider the masks, the fewer of them training turns.
        importance: Of each channel of all groups; the most important gets the highest mask. None: at random.
    """

    def __init__(
        self,
        net: Supernet,
        groups: Sequence[int],
        seed: int,
        budget: Budget | None = None,
        *,
        spread: float = SPREAD,
        importance: Sequence[Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.net, self.groups, self.budget = net, tuple(groups), budget
        self.student = slim(net, net.dense)
        generator, device = torch.Generator().manual_seed(seed), device_of(net.model)
        drawn = [spread * torch.randn(net.groups[g].width, generator=generator) for g in self.groups]
        if importance is not None:
            drawn = [_ranked(mask, importance[g]) for g, mask in zip(self.groups, drawn, strict=True)]
        self.masks = nn.ParameterList([mask.to(device) for mask in drawn])

    def forward(self, *inputs: Tensor) -> Tensor:
        """The student's output without its closed channels."""
        output: Tensor = functional_call(self.student, self._weights(), inputs)
        return output

    def subnetwork(self) -> Subnetwork:
        """The open channels, and all of the groups without a mask."""
        scores = self.scores()
        opened = channels_above(self.net, scores, 0.0)
        if self.budget is None:
            return opened
        return top_channels(scores, fit_to_budget(self.net.space, self.budget, opened.widths))

    def scores(self) -> list[FloatArray]:
        """The mask of every group, infinite where it has none. Shape: (width,) each"""
        scores = [np.full(group.width, np.inf) for group in self.net.groups]
        for g, mask in zip(self.groups, self.masks, strict=True):
            scores[g] = mask.detach().double().cpu().numpy()
        return scores

    def gates(self) -> list[Tensor]:
        """0 or 1 for each channel of each masked group, with the gradient of ``gate``. Shape: (width,) each"""
        kept, gates = self.subnetwork().kept, []
        for g, mask in zip(self.groups, self.masks, strict=True):
            opened = torch.zeros_like(mask)
            opened[list(kept[g])] = 1
            gates.append(gate(mask, opened))
        return gates

    def slimmed(self, subnetwork: Subnetwork) -> nn.Module:
        """The student's kept channels as a plain network: weights, biases, batch norm and classifier inherited."""
        return slim(replace(self.net, model=self.student), subnetwork)

    def _weights(self) -> dict[str, Tensor]:
        """Every weight that reads a masked group, times the gates along the dimension that reads."""
        tensors, gated = named_tensors(self.student), dict[str, Tensor]()
        for g, opened in zip(self.groups, self.gates(), strict=True):
            for member in self.net.groups[g].members:
                if member.reads:
                    weight = gated.get(member.tensor, tensors[member.tensor])
                    places, channels = (torch.from_numpy(each) for each in (member.places, member.channels))
                    line = weight.new_ones(weight.shape[member.dim])
                    line = line.index_put((places.to(line.device),), opened[channels.to(line.device)].to(line.dtype))
                    shape = [-1 if dim == member.dim else 1 for dim in range(weight.ndim)]
                    gated[member.tensor] = weight * line.view(shape)
        return gated


def _ranked(mask: Tensor, importance: Tensor) -> Tensor:
    """The same values, the highest where the importance is. Shape: (width,), (width,) → (width,)"""
    return mask.sort().values[importance.argsort(stable=True).argsort()]
