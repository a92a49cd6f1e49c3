"""PDD: pruning during distillation. Masks over channels are learnt while a larger teacher is listened to."""

from torch import Tensor, nn

from ..models.atoms import FloatArray
from ..models.budget import Budget, fit
from ..models.errors import SecateurError
from ..models.subnetwork import Subnetwork, strongest
from ..models.supernet import Supernet
from .learner import Learner, Penalised, made_by
from .losses import kl
from .masks import Masked
from .objectives import CrossEntropy, Distillation, Objective, online

OWN, TOLD, TEMPERATURE = 0.6, 0.4, 3.0  # weights of cross-entropy and of the teacher; those of the published code


def pdd(net: Supernet, teacher: nn.Module, *, budget: Budget | None = None, seed: int = 0) -> Learner:
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

    ``budget``, an extension that the paper doesn't have: ``Excess`` is added, and what still exceeds the budget in
    the end is cut by the masks' order. Several limits all hold; those of MACs and parameters are learnt.
    """
    convolved = made_by(net, range(3, 6))
    if not convolved:
        raise SecateurError("PDD masks channels of convolutions, and none can be pruned here; give another method")
    masked = Masked(net, convolved, seed)
    objective: Objective = Distillation(online(teacher), told, OWN)
    if budget:
        objective = Penalised(objective, Excess(masked, budget))

    def kept() -> Subnetwork:
        found = masked.kept()
        return found if budget is None else _under(net, budget, masked.scores(), found)

    return Learner(masked, objective, CrossEntropy(), kept, lambda: masked.slimmed(kept()), "masks over channels")


def told(teacher: Tensor, student: Tensor, labels: Tensor) -> Tensor:
    """0.4 · T² KL. Shape: (..., C), (..., C), (...,) → (...,)"""
    return TOLD * kl(teacher, student, TEMPERATURE)


class Excess(nn.Module):
    """By which share of each limit the open channels exceed it, summed; the masks get its gradient.

    To first order: what a channel costs beside the others that are open now.
    """

    def __init__(self, masked: Masked, budget: Budget) -> None:
        super().__init__()
        costs = masked.net.space.costs
        forms = {"macs": costs.macs, "parameters": costs.parameters}
        if not budget.limits.keys() <= forms.keys():
            raise SecateurError(f"PDD cannot learn a budget of {budget}; limit flops or params")
        self.limits = [(forms[name], limit) for name, limit in budget.limits.items()]
        self.masked = (masked,)  # in a tuple, since its parameters are those of the model

    def forward(self) -> Tensor:
        """0 within the budget. Shape: → ()"""
        (masked,) = self.masked
        gates, widths = masked.gates(), masked.kept().widths
        total = gates[0].new_zeros(())
        for form, limit in self.limits:
            slopes = form.slopes(widths)
            cost = total.new_tensor(float(form(widths)))
            for g, opened in zip(masked.groups, gates, strict=True):
                cost = cost + float(slopes[g]) * (opened - opened.detach()).sum()
            total = total + (cost / limit - 1).clamp(min=0)
        return total


def _under(net: Supernet, budget: Budget, scores: list[FloatArray], found: Subnetwork) -> Subnetwork:
    """The subnetwork, narrowed in proportion where it does not meet the budget yet."""
    if bool(budget.holds(net.space.costs, found.widths)):
        return found
    return strongest(scores, fit(net.space, budget, found.widths))
