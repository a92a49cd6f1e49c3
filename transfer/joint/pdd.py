"""PDD: pruning during distillation. Masks over channels are learnt under a larger teacher."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from torch import nn

from ...errors import SecateurError
from ...models.costs.budget import Budget
from ...models.supernet import Supernet
from ...models.tasks.classification import Classification
from ...models.tasks.task import Task
from ...seeds import derive_seed
from ..losses import kd_loss
from ..objectives.base import CrossEntropy, Distillation, online_teacher
from .learner import Learner, groups_made_by_ndim
from .masks import SPREAD, Masked
from .student_start import FRESH, TRAINED, draw_again, filter_norms, require_start

LABEL_WEIGHT, TEACHER_WEIGHT, TEMPERATURE = 0.6, 0.4, 3.0  # those of the published code
CLASSIFICATION = Classification()
FRESH_STREAM = 0x9DD  # of random numbers: the masks are drawn from the seed itself
TRAINED_SPREAD = 1.0  # of masks on trained channels: those of 1e-3 open again within an epoch


@dataclass(frozen=True)
class MaskStart:
    """The weights and masks that PDD's student starts from.

    From trained weights, masks near 0 open again within an epoch, since every channel that is there is of use. So
    there the least important half (``filter_norms``) is closed, by masks that few gradients can turn. Measured on
    digits, 4 + 12 epochs, MACs left by a spread of 1e-3, 1e-2, 0.1 and 1: from trained weights 96%, 92%, 69% and 38%
    of ResNet-20, 100%, 93%, 72% and 43% of a small VGG; from fresh ones 24%, 32%, 27% and 27%, and 39%, 36%, 32%, 32%.

    Args:
        weights: ``fresh``, or ``trained``: those of the network that is passed.
        spread: Standard deviation of the masks; None: 1e-3 (fresh) or 1 (trained).
        seed: Decides weights and masks.

    >>> MaskStart("trained").deviation
    1.0
    """

    weights: str = FRESH
    spread: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        require_start(self.weights)

    @property
    def deviation(self) -> float:
        """The standard deviation of the masks."""
        usual = TRAINED_SPREAD if self.weights == TRAINED else SPREAD
        return usual if self.spread is None else self.spread

    def masked(self, net: Supernet, groups: Sequence[int], budget: Budget | None) -> Masked:
        """The student with its masks over these groups."""
        importance = filter_norms(net) if self.weights == TRAINED else None
        model = Masked(net, groups, self.seed, budget, spread=self.deviation, importance=importance)
        if self.weights == FRESH:
            draw_again(model.student, derive_seed(self.seed, FRESH_STREAM))
        return model


def pdd_learner(
    net: Supernet,
    teacher: nn.Module,
    *,
    start: MaskStart = MaskStart(),  # frozen
    budget: Budget | None = None,
    task: Task = CLASSIFICATION,
) -> Learner:
    """Distil a student with a mask over the channels of every convolution, then fine-tune the channels that are open.

    L = 0.6 · CE + 0.4 · T² KL(teacher || student), T = 3. No term asks for fewer channels: about half are closed
    at the start, at random, and training opens and closes channels; the width is what is left. Zhou et al. 2024,
    https://doi.org/10.1007/s12559-024-10350-9; we could read its published code, not its text.

    Interpretation. The student's weights are fresh, as in the code, and its masks start near 0. A mask for each channel
    group: the code has one behind each VGG layer, but one a block in its ResNet, whose shortcuts then add kept channels
    to unrelated ones; a group keeps them aligned, and a block's inner convolution gets a mask of its own. Hidden linear
    layers have none, as in the code. The KL term is the correct one: the code's ignores that its target is a logarithm,
    so that it teaches nothing or diverges. Slimming inherits everything, where the code inherits kernels alone.
    Fine-tuning is on labels alone, as in the code, and takes three quarters of the epochs, as its 50 + 150.

    The optimizer is this library's, for all methods alike. The code's (rate 0.01, weight decay 5e-3, 20 + 40 steps)
    makes no difference that we could measure: ResNet-20 on digits, 4 + 12 epochs, leaves 30% of the MACs at 94.4%
    with it, 24% at 93.9% without. Decay pulls masks to 0 without turning their sign, and a rate k times higher is a
    spread k times smaller. So the spread is the one number that moves the end size.

    Args:
        net: The dense network with its structure.
        teacher: The network to distil from.
        start: The weights and masks that the student starts from.
        budget: An extension that the paper does not have: at any time only as many channels of each group are open as
            meet it, those with the highest masks, in proportion to the number that would be (``Masked``). Hidden linear
            layers have masks then, too.
        task: Of another than classification, its divergence stands for T² KL.
    """
    convolved = groups_made_by_ndim(net, range(3, 6))
    if not convolved:
        raise SecateurError("PDD masks channels of convolutions, and none can be pruned here; pass another method")
    masked = start.masked(net, range(len(net.groups)) if budget else convolved, budget)
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
