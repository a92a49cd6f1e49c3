"""Stopping an evaluation early: a subnetwork that is significantly worse than a rival needs no more images."""

import numpy as np

from ..models.tracing.atoms import FloatArray

LOOK = 250  # images between two looks; also the batch size, so that batch statistics are those of a whole evaluation
ERRORS = 2.33  # standard errors: one look in a hundred stops a subnetwork that equals its rival


def significantly_worse(losses: FloatArray, rival: FloatArray) -> bool:
    """Whether the loss is significantly higher than a rival's on the same images.

    A paired one-sided z-test: with d_i = losses_i - rival_i over the n images seen, mean d > ``ERRORS`` · sd d / √n.
    Images differ far more from each other than subnetworks do on one image, so half of them are often
    enough. (Optuna's Wilcoxon pruner tests the same pairs by ranks; it serves one objective alone and stores
    every pair in the study.) A NaN loss is significantly worse. False where the rival's losses are not known.

    Shape: losses (n,), rival (N,), N ≥ n → ()
    """
    if len(rival) < len(losses) or not np.isfinite(rival).all():
        return False
    above = losses - rival[: len(losses)]
    return not above.mean() <= ERRORS * above.std(ddof=1) / len(above) ** 0.5


def extrapolated_loss(losses: FloatArray, rival: FloatArray) -> float:
    """The expected loss on all images of one that was stopped: the rival's plus the mean difference on those seen.

    Shape: losses (n,), rival (N,), N ≥ n → ()
    """
    return float(rival.mean() + (losses - rival[: len(losses)]).mean())
