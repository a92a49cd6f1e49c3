"""How much channels are active where they are read: a penalty on it, and a record of it."""

from collections.abc import Collection, Mapping

import numpy as np
import torch
from torch import Tensor, nn

from ...errors import SecateurError
from ...models.evaluate import device_of
from ...models.supernet import Supernet
from ...models.surgery.slim import kept_places
from ...models.tracing.atoms import FloatArray, IntArray
from ...models.tracing.groups import ChannelGroup, Member
from .shrinking_student import ShrinkingStudent

MAPS = 100.0  # what all groups of feature maps weigh together, beside 1 of a hidden layer
ALIVE = 1e-2  # of the mean activity of its layer: a channel below it goes


def reading_modules(net: Supernet, group: ChannelGroup) -> dict[str, Member]:
    """The modules that read every channel of a group from one dimension of their input, and how.

    A grouped convolution does not: its weight has a part of the channels along that dimension.
    """
    found = {}
    for member in group.members:
        name, _, leaf = member.tensor.rpartition(".")
        if member.reads and leaf == "weight":
            module = net.model.get_submodule(name)
            if isinstance(module, nn.Linear) or (isinstance(module, nn.Conv2d) and module.groups == 1):
                found[name] = member
    return found


class ActivationPenalty(nn.Module):
    """``strength`` · Σ_g Σ_c mean |a_gc| over images, places and readers: L1 of what the groups' readers read.

    The mean over the batch, so that the strength does not depend on its size. Behind dropout it is the same on
    average. In the groups that are ``maps`` it is divided by the root mean square over the group's channels: L1 / L2,
    which no scale of them all makes smaller; and all such groups together weigh as ``MAPS``, since behind each other
    their gradients add up. ``total`` sums up each channel's activity since the last ``rest``.

    Shape: total (widths of the groups, one after the other); → ()
    """

    total: Tensor

    def __init__(
        self,
        student: ShrinkingStudent,
        groups: Mapping[int, Mapping[str, Member]],
        strength: float,
        maps: Collection[int] = (),
    ) -> None:
        super().__init__()
        self.feature_map_groups = maps
        self.students = (student,)  # in a tuple, since its parameters are those of the model
        self.groups, self.strength = groups, strength
        widths = sum(student.net.groups[g].width for g in groups)
        self.register_buffer("total", torch.zeros(widths, device=device_of(student)))

    def forward(self) -> Tensor:
        """Of the last forward pass."""
        (student,) = self.students
        left = kept_places(student.net, student.kept())
        each, penalty = [], torch.zeros((), device=self.total.device)
        for g, members in self.groups.items():
            width = student.net.groups[g].width
            found = [_activity(student, name, member, left, width) for name, member in members.items()]
            activity = torch.stack(found).mean(0)
            each.append(activity.detach())
            share = (
                MAPS / len(self.feature_map_groups) * _relative(activity) if g in self.feature_map_groups else activity
            )
            penalty = penalty + share.sum()
        self.total += torch.cat(each)
        return self.strength * penalty

    def scores(self) -> list[FloatArray]:
        """How far each channel's activity lies above ``ALIVE`` of its layer's mean; what is gone is below all.

        Infinite in the groups that are not listened to. Shape: (width,) each
        """
        (student,) = self.students
        scores = [np.where(alive, np.inf, -np.inf) for alive in student.alive_masks()]
        widths = [student.net.groups[g].width for g in self.groups]
        for g, total in zip(self.groups, torch.split(self.total, widths), strict=True):
            active, alive = total.double().cpu().numpy(), scores[g] > 0
            scores[g] = np.where(alive, active - ALIVE * active[alive].mean(), -np.inf)
        return scores

    def reset(self) -> None:
        """Begin anew."""
        self.total.zero_()


def _relative(activity: Tensor) -> Tensor:
    """In root mean squares of the channels that are not silent. Shape: (width,) → (width,)"""
    active = (activity > 0).sum().clamp(min=1)
    return activity / (activity.square().sum() / active + 1e-12).sqrt()


def _activity(
    student: ShrinkingStudent, name: str, member: Member, left: Mapping[str, Mapping[int, IntArray]], width: int
) -> Tensor:
    """The mean activity of each channel of the dense network that a module reads, over its calls. Shape: → (width,)"""
    if name not in student.student.captured:
        raise SecateurError(f"{name} was not called as a module, so what it reads is not known; give another method")
    channel = -1 if isinstance(student.student.model.get_submodule(name), nn.Linear) else 1
    read = torch.stack([_magnitude(each, channel) for each, _ in student.student.captured[name]]).mean(0)
    lines = left[member.tensor][member.dim]
    at, channels, places = (torch.from_numpy(each).to(read.device) for each in (lines, member.channels, member.places))
    dense = read.new_zeros(student.net.shapes[member.tensor][member.dim])
    dense = dense.index_put((at,), read)
    return dense.new_zeros(width).index_add(0, channels, dense[places])


def _magnitude(read: Tensor, channel: int) -> Tensor:
    """Its mean over all but one dimension. Shape: (..., C, ...) → (C,) float32"""
    others = [dim for dim in range(read.ndim) if dim != channel % read.ndim]
    return read.abs().float().mean(others)
