"""How active channels are where they are read: a penalty on it, and a record of it."""

from collections.abc import Collection, Mapping

import numpy as np
import torch
from torch import Tensor, nn

from ...errors import SecateurError
from ...models.evaluate import device_of
from ...models.supernet import Supernet
from ...models.surgery.places import kept_places
from ...models.tracing.atoms import FloatArray, IntArray
from ...models.tracing.groups import ChannelGroup, Member
from .shrinking_student import ShrinkingStudent

MAPS = 100.0  # weight of all groups of feature maps together, where a hidden layer has 1
ALIVE = 1e-2  # share of the mean activity of its layer: a channel below is pruned


def reading_modules(net: Supernet, group: ChannelGroup) -> dict[str, Member]:
    """The modules that read every channel of a group from one dimension of their input, with their member of it.

    A grouped convolution does not: its weight has only a part of the channels along that dimension.
    """
    found = {}
    for member in group.members:
        name, _, leaf = member.tensor.rpartition(".")
        if member.reads and leaf == "weight":
            module = net.model.get_submodule(name)
            if isinstance(module, nn.Linear) or (isinstance(module, nn.Conv2d) and module.groups == 1):
                found[name] = member
    return found


class ActivationPenalty:
    """``strength`` · Σ_g Σ_c mean |a_gc| over images, places and readers: L1 of what the groups' readers read.

    The mean over the batch, so that the strength does not depend on its size. Behind dropout it is the same on
    average. In the ``feature_maps`` groups it is divided by the root mean square over the group's channels: L1 / L2,
    which no scale of them all makes smaller; and all such groups together weigh as ``MAPS``, since their gradients add
    up along the network. ``total`` sums up each channel's activity since the last ``reset``; ``module`` carries it.

    Args:
        student: The student, recording the inputs of the reading modules.
        groups: The penalised groups, with the modules that read each.
        strength: The weight of the penalty.
        feature_maps: The groups among them whose channels are feature maps.
    """

    def __init__(
        self,
        student: ShrinkingStudent,
        groups: Mapping[int, Mapping[str, Member]],
        strength: float,
        feature_maps: Collection[int] = (),
    ) -> None:
        self.student, self.groups, self.strength, self.feature_maps = student, groups, strength, feature_maps
        self.module = nn.Module()
        widths = sum(student.net.groups[g].width for g in groups)
        self.module.register_buffer("total", torch.zeros(widths, device=device_of(student)))

    @property
    def total(self) -> Tensor:
        """Each channel's activity so far. Shape: (widths of the groups, one after the other)"""
        return self.module.get_buffer("total")

    def __call__(self) -> Tensor:
        """The penalty on the student's last forward pass. Shape: → ()"""
        places = kept_places(self.student.net, self.student.subnetwork())
        activities, penalty = [], torch.zeros((), device=self.total.device)
        for g, members in self.groups.items():
            width = self.student.net.groups[g].width
            readers = [_activity(self.student, name, member, places, width=width) for name, member in members.items()]
            activity = torch.stack(readers).mean(0)
            activities.append(activity.detach())
            penalty = penalty + self._weighted(g, activity).sum()
        self.total.add_(torch.cat(activities))
        return self.strength * penalty

    def _weighted(self, g: int, activity: Tensor) -> Tensor:
        if g not in self.feature_maps:
            return activity
        return MAPS / len(self.feature_maps) * _relative(activity)

    def scores(self, share: float = ALIVE) -> list[FloatArray]:
        """How far each channel's activity lies above ``share`` of its layer's mean; -inf where it is pruned already.

        Infinite in the groups that are not penalised. Shape: (width,) each
        """
        scores = [np.where(alive, np.inf, -np.inf) for alive in self.student.alive_masks()]
        widths = [self.student.net.groups[g].width for g in self.groups]
        for g, total in zip(self.groups, torch.split(self.total, widths), strict=True):
            active, alive = total.double().cpu().numpy(), scores[g] > 0
            scores[g] = np.where(alive, active - share * active[alive].mean(), -np.inf)
        return scores

    def reset(self) -> None:
        """Start a new record of activity."""
        self.total.zero_()


def _relative(activity: Tensor) -> Tensor:
    """In units of the root mean square over the active channels. Shape: (width,) → (width,)"""
    active = (activity > 0).sum().clamp(min=1)
    return activity / (activity.square().sum() / active + 1e-12).sqrt()


def _activity(
    student: ShrinkingStudent, name: str, member: Member, places: Mapping[str, Mapping[int, IntArray]], *, width: int
) -> Tensor:
    """The mean activity of each channel of the dense network that a module reads, over its calls. Shape: → (width,)"""
    if name not in student.student.captured:
        raise SecateurError(f"{name} was not called as a module, so what it reads is not known; pass another method")
    channel = -1 if isinstance(student.student.model.get_submodule(name), nn.Linear) else 1
    read = torch.stack([_magnitude(each, channel) for each, _ in student.student.captured[name]]).mean(0)
    kept = places[member.tensor][member.dim]
    at, channels, lines = (torch.from_numpy(each).to(read.device) for each in (kept, member.channels, member.places))
    dense = read.new_zeros(student.net.shapes[member.tensor][member.dim])
    dense = dense.index_put((at,), read)
    return dense.new_zeros(width).index_add(0, channels, dense[lines])


def _magnitude(read: Tensor, channel: int) -> Tensor:
    """The mean of |read| over all but one dimension. Shape: (..., C, ...) → (C,) float32"""
    others = [dim for dim in range(read.ndim) if dim != channel % read.ndim]
    return read.abs().float().mean(others)
