"""What a teacher is worth: how much surer of the right answers a mix is with it than without."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ...models.compensation.gram import Gram
from ...models.compensation.ridge import refit
from ...models.evaluate import batch_statistics, outputs
from ...models.split import Split
from ...models.subnetwork import Subnetwork
from ...models.supernet import Supernet
from ...models.tracing.modules import evaluating

IMAGES = 1000  # labelled ones that candidates are judged on
TEMPERATURES = tuple(round(0.5 + 0.1 * step, 1) for step in range(36))  # 0.5 to 4
ERRORS = 2.0  # standard errors that a gain must exceed


@dataclass(frozen=True)
class Worth:
    """What a candidate adds to the mix of those that were taken before it, on ``n`` holdout images.

    Args:
        loss: Of the candidate alone, at its best temperature, nats.
        gain: By which the loss of the mix falls with it, each at its best temperature, nats; for the first, the dense
            network, by which its loss falls from temperature 1.
        error: The standard error of the gain, over images.
        taken: Whether it is a teacher: the first always, others where the gain is more than two errors.
    """

    loss: float
    gain: float
    error: float
    taken: bool


@dataclass(frozen=True)
class Verdict:
    """The worth of each candidate, in their order, and the best temperature of the mix of those that were taken."""

    worths: tuple[Worth, ...]
    temperature: float

    @property
    def taken(self) -> list[int]:
        """The positions of those that were taken."""
        return [position for position, worth in enumerate(self.worths) if worth.taken]


def judge(logits: Sequence[Tensor], labels: Tensor) -> Verdict:
    """Which of these networks are worth being teachers beside the first, by forward selection.

    A mix is the mean of log-probabilities, as of logits. In every round the candidate that lowers the loss of the mix
    most is taken, if it lowers it by more than ``ERRORS`` standard errors of the difference over images. Mix and
    candidates have their best temperatures, since an ensemble of networks that are too sure is better merely because it
    is less so.

    Shape: logits K x (N, C), the dense network first; labels (N,)

    >>> torch.manual_seed(0)  # doctest: +ELLIPSIS
    <torch._C.Generator object at ...>
    >>> labels = torch.arange(400) % 4
    >>> seen = [F.one_hot(labels).float() + torch.randn(400, 4) for _ in range(2)]  # two that err independently
    >>> judge([*seen, seen[0] + 0.1], labels).taken
    [0, 1]
    """
    alone = [_best(each, labels) for each in logits]
    plain = F.cross_entropy(logits[0].float(), labels, reduction="none")
    found = {0: _worth(alone[0][1], plain, alone[0][1], taken=True)}
    taken, (temperature, losses) = [0], alone[0]
    while left := [k for k in range(len(logits)) if k not in taken]:
        mixes = {k: _best(_mean([logits[j] for j in (*taken, k)]), labels) for k in left}
        worths = {k: _worth(alone[k][1], losses, mixes[k][1], taken=False) for k in left}
        best = max(left, key=lambda k: worths[k].gain)
        found |= worths
        if not worths[best].gain > ERRORS * worths[best].error:
            break
        found[best] = _worth(alone[best][1], losses, mixes[best][1], taken=True)
        taken.append(best)
        temperature, losses = mixes[best]
    return Verdict(tuple(found[k] for k in range(len(logits))), temperature)


@torch.no_grad()
def answers(
    net: Supernet, subnetwork: Subnetwork, grams: Mapping[str, Gram], split: Split, images: int = IMAGES
) -> tuple[Tensor, Tensor]:
    """A candidate's logits for the first images of a split, refitted and with the batch's statistics, and their labels.

    The dense network runs as it is. Shape: → (N, C), (N,)
    """
    dense = subnetwork == net.dense
    model = net.model if dense else refit(net, subnetwork, grams)
    with evaluating(model) if dense else batch_statistics(model):
        logits, labels, _ = zip(*outputs(model, split, images), strict=True)
    return torch.cat(logits).cpu(), torch.cat(labels).cpu()


def _best(logits: Tensor, labels: Tensor) -> tuple[float, Tensor]:
    """The temperature of ``TEMPERATURES`` with the lowest loss, and the loss of every image at it. Shape: → (N,)"""
    tried = ((t, F.cross_entropy(logits.float() / t, labels, reduction="none")) for t in TEMPERATURES)
    return min(tried, key=lambda each: float(each[1].mean()))


def _mean(logits: Sequence[Tensor]) -> Tensor:
    return torch.stack([each.float() for each in logits]).mean(0)


def _worth(alone: Tensor, before: Tensor, after: Tensor, *, taken: bool) -> Worth:
    gains = (before - after).double()
    error = float(gains.std() / len(gains) ** 0.5)
    return Worth(float(alone.mean()), float(gains.mean()), error, taken)
