"""KDDP: distillation with dynamic neuron pruning. Neurons that fall idle under a teacher are pruned during training."""

import torch
from torch import nn

from ...errors import SecateurError
from ...models.supernet import Supernet
from ..objectives.base import LABEL_WEIGHT, TEACHER_WEIGHT, Distillation, online_teacher
from ..training.trainer import Hooks
from .activation_penalty import ActivationPenalty, reading_modules
from .learner import Learner, Penalised, channels_above, groups_made_by_ndim
from .shrinking_student import ShrinkingStudent

STRENGTH = 0.1
NEURONS = ("hidden", "all")


def kddp_learner(
    net: Supernet, teacher: nn.Module, *, reach: float, strength: float = STRENGTH, neurons: str = "hidden"
) -> Learner:
    """Distil ``net`` with an L1 penalty on its neurons' activations; those that fall idle are pruned after each epoch.

    L = 0.1 · CE + 0.9 · T² KL(teacher || student) + λ · mean_i ‖a_i‖₁. "Improved knowledge distillation with dynamic
    network pruning", https://doi.org/10.29109/gujsc.1141648, of which we could read the abstract only: a large teacher,
    L1 on the activations of a fully connected layer, inactive neurons pruned, no target size.

    Interpretation. All hidden linear layers are penalised, where their readers read them (behind the activation); the
    student starts as the network that is passed. Pruning is during training, as "dynamic" says: after each epoch of the
    first half, neurons whose mean activity over the epoch is below a hundredth of their layer's mean are pruned, with
    their momentum. Then λ is 0 and distillation continues. No mean is folded into the next bias, being that small. The
    penalty alone could be met by small weights before and large ones behind; weight decay on both prevents it.

    Plain L1 would fall on all feature maps of a deep network alike until nothing gets through, while no channel is idle
    beside the others; so that of feature maps is relative (``ActivationPenalty``). The penalty is a part of the loss on
    a batch and is clipped with it: in a first half of some dozen steps a strength does less than stated here.

    Args:
        net: The dense network with its structure; the student starts as it.
        teacher: The network to distil from.
        reach: The sum of the first half's ``step_sizes``: how far a constant gradient of 1 moves a parameter.
        strength: 1 would bring the bias of an always active neuron down by 1 within the first half.
        neurons: ``hidden``, or ``all``, an extension: channels of convolutions, too, by the mean magnitude of their
            feature maps. Without a hidden linear layer, feature maps are used anyway.
    """
    if neurons not in NEURONS:
        raise SecateurError(f"no neurons are called {neurons!r}; pass {' or '.join(NEURONS)}")
    hidden = groups_made_by_ndim(net, range(2, 3))
    chosen = hidden if hidden and neurons == "hidden" else range(len(net.groups))
    groups = {g: found for g in chosen if (found := reading_modules(net, net.groups[g]))}
    if not groups:
        raise SecateurError("KDDP records the modules that read neurons, and there is none here; pass another method")
    student = ShrinkingStudent(net, sorted({name for found in groups.values() for name in found}))
    penalty = ActivationPenalty(student, groups, strength / reach, set(groups) - set(hidden))
    distillation = Distillation(online_teacher(teacher), None, LABEL_WEIGHT, TEACHER_WEIGHT)

    def prune_idle(optimizer: torch.optim.Optimizer) -> None:
        student.prune_to(channels_above(net, penalty.scores(), 0.0), optimizer)
        penalty.reset()

    return Learner(
        model=student,
        objective=Penalised(distillation, penalty),
        second_objective=distillation,
        subnetwork=student.subnetwork,
        slimmed=student.slimmed,
        description=_description(neurons, bool(hidden)),
        hooks=Hooks(on_epoch_end=prune_idle if strength else None),
    )


def _description(neurons: str, hidden: bool) -> str:
    if neurons == "all":
        return "activity of all neurons and feature maps"
    return "activity of hidden linear layers" if hidden else "activity of feature maps, without a hidden linear layer"
