"""Whether a network does any better than chance."""

from scipy.stats import binom
from torch import Tensor

from ..data.dataset import Data
from ..models.score import Score

LEAST = 30  # images; fewer say too little
ALPHA = 0.05  # how likely a guess is right as often, or more often, where a network is said to do better
TARGETS = 1000


def chance_of(score: Score, data: Data) -> str | None:
    """What chance comes to, where a score on the holdout is no better; None where it is, or where too little is known.

    Accuracy is compared with that of a guess among C classes, 1/C, by an exact binomial test: as many right answers
    among n by chance would be no surprise. Of other tasks the loss is compared with that of one answer for all.

    >>> import secateur as sc
    >>> data = sc.open_data("digits", (3, 8, 8))
    >>> chance_of(Score(2.3, accuracy=0.11, n=360), data)
    '10.0% of the images'
    >>> chance_of(Score(0.4, accuracy=0.9, n=360), data)
    """
    if score.n < LEAST:
        return None
    if score.accuracy is None:
        return _loss_of_one_answer(score, data)
    classes = len(data.classes)
    by_chance = binom.sf(round(score.accuracy * score.n) - 1, score.n, 1 / classes)
    return f"{1 / classes:.1%} of the images" if classes > 1 and by_chance > ALPHA else None


def _loss_of_one_answer(score: Score, data: Data) -> str | None:
    if data.task.chance is None:
        return None
    targets = next(data.holdout.batches(TARGETS, TARGETS)).labels
    if not isinstance(targets, Tensor):
        return None
    loss = data.task.chance(targets)
    return f"a loss of {loss:.4g}" if score.loss >= loss else None
