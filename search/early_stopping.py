"""Stopping an evaluation early: a subnetwork that is surely worse than a rival needs no more images."""

import numpy as np

from ..models.tracing.atoms import FloatArray

LOOK = 250  # images between two looks; batches of it, so that batch statistics are those of a whole evaluation
ERRORS = 2.33  # standard errors: of equal subnetworks, one look in a hundred stops one


def significantly_worse(losses: FloatArray, rival: FloatArray) -> bool:
    """Whether the loss is higher than a rival's on the same images by more than chance.

    A paired one-sided z-test: with d_i = losses_i - rival_i over the n images seen, mean d > ``ERRORS`` · sd d / √n.
    Images differ far more from each other than subnetworks do on one image, so half of them often
    tell. (Optuna's Wilcoxon pruner tests the same pairs by ranks; it serves one objective alone and stores
    every pair in the study.) A loss that is no number is hopeless. False where the rival's losses are not known.

    Shape: losses (n,), rival (N,), N ≥ n → ()
    """
    if len(rival) < len(losses) or not np.isfinite(rival).all():
        return False
    above = losses - rival[: len(losses)]
    return not above.mean() <= ERRORS * above.std(ddof=1) / len(above) ** 0.5


def extrapolated_loss(losses: FloatArray, rival: FloatArray) -> float:
    """The loss on all images of one that was stopped: the rival's, and the mean difference on those seen.

    Shape: losses (n,), rival (N,), N ≥ n → ()
    """
    return float(rival.mean() + (losses - rival[: len(losses)]).mean())
