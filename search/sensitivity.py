"""Sensitivity: by how much the holdout loss rises when one channel group alone is narrowed.

A source of error curves for the coarse search, not a default one: ``curves={"sensitivity": sensitivity}``. It costs up
to four evaluations a group, where the default curves cost one backward pass.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from ..models.costs.widths import Space
from ..models.subnetwork import top_channels
from ..models.tracing.atoms import FloatArray, IntArray
from .config import SAMPLE
from .importance.scores import Importance, Scores
from .importance.taylor import taylor
from .records import Interim, Records

SHARES = (0.75, 0.5, 0.25, 0.0)  # of a group's way from its least width to dense


def sensitivity(records: Records, importance: Importance = taylor, images: int = SAMPLE) -> list[FloatArray]:
    """Error curves of the groups, each narrowed alone, in the order of ``importance``. Shape: → (width + 1,) each"""
    scores = importance(records.net, records.split)
    return sensitivity_curves(records.net.space, list(probe(records, scores, images)))


def probes(space: Space) -> list[IntArray]:
    """The widths to evaluate: dense, then each group alone at each of ``SHARES``; none twice.

    At most 1 + 4 G of them. Shape: → (G,) each
    """
    found = [space.dense]
    steps = space.round_down(space.min_widths + np.array(SHARES)[:, None] * (space.dense - space.min_widths))
    for group, dense in enumerate(space.dense):
        narrower = dict.fromkeys(width for width in steps[:, group].tolist() if width < dense)
        found += [np.where(np.arange(len(space.dense)) == group, width, space.dense) for width in narrower]
    return found


def probe(records: Records, scores: Scores, images: int) -> Iterator[Interim]:
    """Evaluate each of the ``probes`` with its strongest channels; known ones are not evaluated again."""
    for widths in probes(records.net.space):
        yield records.evaluate(top_channels(scores, widths), "sensitivity", images)


def sensitivity_curves(space: Space, interims: Sequence[Interim]) -> list[FloatArray]:
    """Error curves from probes: the loss above the dense one's, linear between the probed widths.

    A NaN or infinite loss counts as the highest finite one.

    Shape: → (width + 1,) each
    """
    widths = np.stack([each.subnetwork.widths for each in interims])
    losses = np.array([each.loss for each in interims])
    losses = np.where(np.isfinite(losses), losses, losses[np.isfinite(losses)].max(initial=0))
    whole = (widths == space.dense).all(1)
    curves = []
    for group, dense in enumerate(space.dense):
        alone = np.flatnonzero(whole | (widths[:, group] < dense))
        alone = alone[widths[alone, group].argsort()]
        rise = losses[alone] - losses[whole][0]
        curves.append(np.interp(np.arange(dense + 1), widths[alone, group], rise))
    return curves
