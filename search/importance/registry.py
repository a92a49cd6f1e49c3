"""Filter importance by name: how much each channel of each group matters; low scores are removed first.

l1, l2, fpgm, bn_scale and random read no image. Of the split that they are passed, taylor and taylor_weight read
2,000 images in 8 batches, obs 1,000 in 2 for Grams and the same in 4 for gradients, hrank 100 in 5 and chip 20 in one.
"""

from .feature_maps import chip, hrank
from .magnitude import bn_scale, fpgm, l1, l2, random_scores
from .scores import Importance
from .second_order import obs
from .taylor import taylor, taylor_weight

SCORES: dict[str, Importance] = {
    "l1": l1,
    "l2": l2,
    "fpgm": fpgm,
    "bn_scale": bn_scale,
    "taylor": taylor,
    "taylor_weight": taylor_weight,
    "obs": obs,
    "hrank": hrank,
    "chip": chip,
    "random": random_scores,
}
