"""PDD: pruning during distillation. Masks over channels are learnt while a larger teacher is listened to."""

from torch import Tensor, nn

from ...errors import SecateurError
from ...models.costs.budget import Budget
from ...models.supernet import Supernet
from ..losses import kl
from ..objectives.base import CrossEntropy, Distillation, online_teacher
from .learner import Learner, groups_made_by_ndim
from .masks import Masked

OWN, TOLD, TEMPERATURE = 0.6, 0.4, 3.0  # weights of cross-entropy and of the teacher; those of the published code


def pdd_learner(net: Supernet, teacher: nn.Module, *, budget: Budget | None = None, seed: int = 0) -> Learner:
    """Distil ``net`` with a mask over the channels of every convolution, then fine-tune what stayed open.

    L = 0.6 · CE + 0.4 · T² KL(teacher || student), T = 3. Nothing in it asks for fewer channels: about half are closed
    at the start, by chance, and training opens and closes until the width is what is left. Zhou et al. 2024,
    https://doi.org/10.1007/s12559-024-10350-9; its text was not at hand, its published code was.

    Readings. A mask a channel group: the code has one behind each VGG layer, but one a block in its ResNet, whose
    shortcuts then add kept channels to unrelated ones; a group keeps them aligned, and a block's inner convolution
    gets a mask of its own. Hidden linear layers have none, as in the code. The KL term is the right one: the code's
    leaves out that its target is a logarithm, so that it teaches nothing or diverges. Slimming inherits
    everything, where the code inherits kernels alone. Fine-tuning is on labels alone, as in the code. The recipe is
    this library's, for all methods alike (the code's: 50 + 150 epochs, weight decay 5e-3).

    ``budget``, an extension that the paper doesn't have: of each group only as many channels are open at any time as
    meet it, those with the highest masks, in proportion to how many would be (``Masked``). Hidden linear layers have
    masks then, too.
    """
    convolved = groups_made_by_ndim(net, range(3, 6))
    if not convolved:
        raise SecateurError("PDD masks channels of convolutions, and none can be pruned here; give another method")
    masked = Masked(net, range(len(net.groups)) if budget else convolved, seed, budget)
    objective = Distillation(online_teacher(teacher), pdd_kd_loss, OWN)
    return Learner(
        masked, objective, CrossEntropy(), masked.kept, lambda: masked.slimmed(masked.kept()), "masks over channels"
    )


def pdd_kd_loss(teacher: Tensor, student: Tensor, labels: Tensor) -> Tensor:
    """0.4 · T² KL. Shape: (..., C), (..., C), (...,) → (...,)"""
    return TOLD * kl(teacher, student, TEMPERATURE)
