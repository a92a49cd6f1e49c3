"""KDDP: distillation with dynamic neuron pruning. Neurons that a teacher's pupil leaves idle go while it learns."""

import torch
from torch import nn

from ...errors import SecateurError
from ...models.supernet import Supernet
from ..objectives.base import Distillation, kd_loss, online_teacher
from .activation_penalty import ActivationPenalty, reading_modules
from .learner import Learner, Penalised, channels_above, groups_made_by_ndim
from .shrinking_student import ShrinkingStudent

STRENGTH = 0.1
NEURONS = ("hidden", "all")


def kddp_learner(
    net: Supernet, teacher: nn.Module, *, reach: float, strength: float = STRENGTH, neurons: str = "hidden"
) -> Learner:
    """Distil ``net`` with an L1 penalty on its neurons' activations; those that fall idle go after each epoch.

    L = 0.1 · CE + 0.9 · T² KL(teacher || student) + λ · mean_i ‖a_i‖₁. "Improved knowledge distillation with dynamic
    network pruning", https://doi.org/10.29109/gujsc.1141648, of which the abstract alone was at hand: a large teacher,
    L1 on the activations of a fully connected layer, inactive neurons pruned, no size that is aimed at.

    Readings. All hidden linear layers are penalised, where their readers read them (behind the activation); the
    student starts as it is given. Pruning is during training, as "dynamic" says: after each epoch of the first half a
    neuron goes whose mean activity over the epoch is below a hundredth of its layer's mean, with its momentum.
    Then λ is 0 and distillation goes on. No mean is folded into the next bias, being that small. The penalty
    alone could be met by small weights before and large ones behind; weight decay on both is what holds it.

    ``neurons``: ``hidden``, or ``all``, an extension: channels of convolutions, too, by the mean of their feature maps'
    magnitude. Where there is no hidden linear layer, these are what there is. Plain L1 would fall on all
    feature maps of a deep network alike until nothing gets through, while no channel is idle beside the others; so
    that of feature maps is relative (``Activity``). ``strength`` 1 would bring the bias of a neuron that is always
    active down by 1 within the first half; ``reach`` says how far a gradient of 1 comes. The penalty is a part of the
    loss on a batch and is clipped with it: in a first half of some dozen steps a strength does less than it says.
    """
    if neurons not in NEURONS:
        raise SecateurError(f"no neurons are called {neurons!r}; give {' or '.join(NEURONS)}")
    hidden = groups_made_by_ndim(net, range(2, 3))
    chosen = hidden if hidden and neurons == "hidden" else range(len(net.groups))
    groups = {g: found for g in chosen if (found := reading_modules(net, net.groups[g]))}
    if not groups:
        raise SecateurError("KDDP listens to the modules that read neurons, and here is none; give another method")
    student = ShrinkingStudent(net, sorted({name for found in groups.values() for name in found}))
    activity = ActivationPenalty(student, groups, strength / reach, set(groups) - set(hidden))

    def between(optimizer: torch.optim.Optimizer) -> None:
        student.prune_to(channels_above(net, activity.scores(), 0.0), optimizer)
        activity.reset()

    distillation = Distillation(online_teacher(teacher), kd_loss, 0.1)
    return Learner(
        student,
        Penalised(distillation, activity),
        distillation,
        student.kept,
        student.slimmed,
        _form(neurons, bool(hidden)),
        between if strength else None,
    )


def _form(neurons: str, hidden: bool) -> str:
    if neurons == "all":
        return "activity of all neurons and feature maps"
    return "activity of hidden linear layers" if hidden else "activity of feature maps, without a hidden linear layer"
