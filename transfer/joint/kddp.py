"""KDDP: distillation with dynamic neuron pruning. Neurons that fall idle under a teacher are pruned during training."""

from collections.abc import Callable, Iterable
from copy import deepcopy
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import nn

from ...errors import SecateurError
from ...models.split import Split
from ...models.subnetwork import Subnetwork
from ...models.supernet import Supernet
from ...models.surgery.slim import narrow
from ...models.tracing.groups import Member
from ..objectives.base import Distillation, online_teacher
from ..training.trainer import Hooks
from .activation_penalty import ALIVE, ActivationPenalty, reading_modules
from .learner import Learner, Penalised, Penalty, channels_above, groups_made_by_ndim
from .shrinking_student import ShrinkingStudent
from .tolerance import RisingPenalty, Tolerance, largest_tolerated, loss_under

STRENGTH = 0.1
NEURONS = ("hidden", "all")


def kddp_learner(
    net: Supernet,
    teacher: nn.Module,
    *,
    reach: float,
    strength: float | Tolerance = STRENGTH,
    neurons: str = "hidden",
) -> Learner:
    """Distil ``net`` with an L1 penalty on its neurons' activations; those that fall idle are pruned after each epoch.

    L = 0.1 · CE + 0.9 · T² KL(teacher || student) + λ · mean_i ‖a_i‖₁. "Improved knowledge distillation with dynamic
    network pruning", https://doi.org/10.29109/gujsc.1141648, of which we could read the abstract only: a large teacher,
    L1 on the activations of a fully connected layer, inactive neurons pruned, no target size.

    Interpretation. Neurons are penalised where their readers read them (behind the activation); the student starts as
    the network that is passed. Pruning is during training, as "dynamic" says: after each epoch of the first half, idle
    neurons are pruned, with their momentum. Then λ is 0 and distillation continues. No mean is folded into the next
    bias, being that small. The penalty alone could be met by small weights before and large ones behind; weight decay
    on both prevents it.

    "Automatically determines the final size": with a ``Tolerance``, λ is found. It rises after each epoch whose loss on
    held-out images, under the teacher, is tolerated, and falls after others (``RisingPenalty``); idle are then as many
    of the least active as can go together within the tolerance. With a number for a strength, idle is what is below a
    hundredth of its layer's mean activity over the epoch.

    Plain L1 would fall on all feature maps of a deep network alike until nothing gets through, while no channel is idle
    beside the others; so that of feature maps is relative (``ActivationPenalty``). The penalty is a part of the loss on
    a batch and is clipped with it: in a first half of some dozen steps a strength does less than stated here.

    Args:
        net: The dense network with its structure; the student starts as it.
        teacher: The network to distil from.
        reach: The sum of the first half's ``step_sizes``: how far a constant gradient of 1 moves a parameter.
        strength: 1 would bring the bias of an always active neuron down by 1 within the first half. Or a ``Tolerance``,
            to find it.
        neurons: ``hidden``, those of hidden linear layers, as published; or ``all``, an extension: channels of
            convolutions, too, by the mean magnitude of their feature maps. Without a hidden linear layer, feature maps
            are used anyway.
    """
    if neurons not in NEURONS:
        raise SecateurError(f"no neurons are called {neurons!r}; pass {' or '.join(NEURONS)}")
    hidden = groups_made_by_ndim(net, range(2, 3))
    groups = _recorded(net, hidden if hidden and neurons == "hidden" else range(len(net.groups)))
    student = ShrinkingStudent(net, sorted({name for found in groups.values() for name in found}))
    pruned = _Pruned(student, teacher, ActivationPenalty(student, groups, 1 / reach, set(groups) - set(hidden)))
    distillation = Distillation(online_teacher(teacher))
    penalty, hook = pruned.tolerating(strength) if isinstance(strength, Tolerance) else pruned.pressed(strength)
    return Learner(
        model=student,
        objective=Penalised(distillation, penalty),
        second_objective=distillation,
        subnetwork=student.subnetwork,
        slimmed=student.slimmed,
        description=_description(neurons, bool(hidden)),
        hooks=Hooks(on_epoch_end=hook if strength else None),
    )


EpochHook: TypeAlias = Callable[[torch.optim.Optimizer], None]


@dataclass(frozen=True, eq=False)
class _Pruned:
    """A student whose idle channels go after each epoch; ``activity`` records how active each of them was."""

    student: ShrinkingStudent
    teacher: nn.Module
    activity: ActivationPenalty

    def pressed(self, strength: float) -> tuple[Penalty, EpochHook]:
        """The penalty at a given strength, and a hook that prunes what is idle."""
        self.activity.strength *= strength

        def prune(optimizer: torch.optim.Optimizer) -> None:
            self.student.prune_to(self.active(ALIVE), optimizer)
            self.activity.reset()

        return self.activity, prune

    def tolerating(self, tolerance: Tolerance) -> tuple[Penalty, EpochHook]:
        """A penalty of a strength that is found, and a hook that prunes as many of the least active as can go."""
        if tolerance.holdout is None:
            raise SecateurError("a tolerance needs held-out images; pass holdout, or a strength")
        rising, holdout = RisingPenalty(self.activity, tolerance.share), tolerance.holdout

        def prune(optimizer: torch.optim.Optimizer) -> None:
            self.student.student.captured.clear()  # tensors with a graph cannot be copied
            rising.on_epoch_end(self.loss(self.student.subnetwork(), holdout))
            idle = largest_tolerated(lambda share: self.loss(self.active(share), holdout), rising.limit)
            if idle is not None:
                self.student.prune_to(self.active(idle), optimizer)
            self.activity.reset()

        return rising, prune

    def active(self, share: float) -> Subnetwork:
        """The channels whose activity is above a share of their layer's mean."""
        return channels_above(self.student.net, self.activity.scores(share), 0.0)

    def loss(self, subnetwork: Subnetwork, holdout: Split) -> float:
        """The loss of the student under the teacher, if it had these channels only."""
        model = deepcopy(self.student.student.model)
        narrow(self.student.net, model, self.student.subnetwork(), subnetwork)
        return loss_under(self.teacher, model, holdout)


def _recorded(net: Supernet, chosen: Iterable[int]) -> dict[int, dict[str, Member]]:
    """The modules that read each group; SecateurError where there are none."""
    groups = {g: found for g in chosen if (found := reading_modules(net, net.groups[g]))}
    if not groups:
        raise SecateurError("KDDP records the modules that read neurons, and there is none here; pass another method")
    return groups


def _description(neurons: str, hidden: bool) -> str:
    if neurons == "all":
        return "activity of all neurons and feature maps"
    return "activity of hidden linear layers" if hidden else "activity of feature maps, without a hidden linear layer"
