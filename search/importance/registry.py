"""Filter importance: how much each channel of each group matters; low scores go first.

``SCORES`` holds them by the field's names. l1, l2, fpgm, bn_scale and random read no image; taylor and
taylor_weight read 2,000 images in 8 batches, hrank 100 in 5 and chip 20 in one, of the split they are given.
"""

from .feature_maps import chip, hrank
from .magnitude import bn_scale, fpgm, l1, l2, random_scores
from .scores import NORMALISATIONS, Importance, Normalisation, Scores, lamp, per_group
from .taylor import TAYLOR_BATCH, TAYLOR_IMAGES, taylor, taylor_weight

SCORES: dict[str, Importance] = {
    "l1": l1,
    "l2": l2,
    "fpgm": fpgm,
    "bn_scale": bn_scale,
    "taylor": taylor,
    "taylor_weight": taylor_weight,
    "hrank": hrank,
    "chip": chip,
    "random": random_scores,
}

__all__ = [
    "NORMALISATIONS",
    "SCORES",
    "TAYLOR_BATCH",
    "TAYLOR_IMAGES",
    "Importance",
    "Normalisation",
    "Scores",
    "bn_scale",
    "chip",
    "fpgm",
    "hrank",
    "l1",
    "l2",
    "lamp",
    "per_group",
    "random_scores",
    "taylor",
    "taylor_weight",
]
