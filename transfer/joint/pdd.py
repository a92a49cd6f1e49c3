"""PDD: pruning during distillation. Masks over channels are learnt under a larger teacher."""

from functools import partial

from torch import nn

from ...errors import SecateurError
from ...models.costs.budget import Budget
from ...models.supernet import Supernet
from ...models.tasks.classification import Classification
from ...models.tasks.task import Task
from ..losses import kd_loss
from ..objectives.base import CrossEntropy, Distillation, online_teacher
from .learner import Learner, groups_made_by_ndim
from .masks import Masked

LABEL_WEIGHT, TEACHER_WEIGHT, TEMPERATURE = 0.6, 0.4, 3.0  # those of the published code
CLASSIFICATION = Classification()


def pdd_learner(
    net: Supernet, teacher: nn.Module, *, budget: Budget | None = None, seed: int = 0, task: Task = CLASSIFICATION
) -> Learner:
    """Distil ``net`` with a mask over the channels of every convolution, then fine-tune the channels that are open.

    L = 0.6 · CE + 0.4 · T² KL(teacher || student), T = 3. No term asks for fewer channels: about half are closed
    at the start, at random, and training opens and closes channels; the width is what is left. Zhou et al. 2024,
    https://doi.org/10.1007/s12559-024-10350-9; we could read its published code, not its text.

    Interpretation. A mask for each channel group: the code has one behind each VGG layer, but one a block in its
    ResNet, whose shortcuts then add kept channels to unrelated ones; a group keeps them aligned, and a block's inner
    convolution gets a mask of its own. Hidden linear layers have none, as in the code. The KL term is the correct one:
    the code's ignores that its target is a logarithm, so that it teaches nothing or diverges. Slimming inherits
    everything, where the code inherits kernels alone. Fine-tuning is on labels alone, as in the code. The recipe is
    this library's, for all methods alike (the code's: 50 + 150 epochs, weight decay 5e-3).

    Args:
        net: The dense network with its structure; the student starts as it.
        teacher: The network to distil from.
        budget: An extension that the paper does not have: at any time only as many channels of each group are open as
            meet it, those with the highest masks, in proportion to the number that would be (``Masked``). Hidden linear
            layers have masks then, too.
        seed: Decides which channels are closed at the start.
        task: Of another than classification, its divergence stands for T² KL.
    """
    convolved = groups_made_by_ndim(net, range(3, 6))
    if not convolved:
        raise SecateurError("PDD masks channels of convolutions, and none can be pruned here; pass another method")
    masked = Masked(net, range(len(net.groups)) if budget else convolved, seed, budget)
    return Learner(
        model=masked,
        objective=pdd_objective(teacher, task),
        second_objective=CrossEntropy(),
        subnetwork=masked.subnetwork,
        slimmed=lambda: masked.slimmed(masked.subnetwork()),
        description="masks over channels",
    )


def pdd_objective(teacher: nn.Module, task: Task = CLASSIFICATION) -> Distillation:
    """PDD's objective of the first half: 0.6 · CE + 0.4 · T² KL(teacher || student), T = 3."""
    loss = partial(kd_loss, temperature=TEMPERATURE) if isinstance(task, Classification) else None
    return Distillation(online_teacher(teacher), loss, LABEL_WEIGHT, TEACHER_WEIGHT)
