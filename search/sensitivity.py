"""Sensitivity: what the holdout loss rises by when one channel group alone is narrowed."""

from collections.abc import Iterator, Sequence

import numpy as np

from ..models.costs.widths import Space
from ..models.subnetwork import top_channels
from ..models.tracing.atoms import FloatArray, IntArray
from .importance.registry import Scores
from .records import Interim, Records

SHARES = (0.75, 0.5, 0.25, 0.0)  # of a group's way from its least width to dense


def probes(space: Space) -> list[IntArray]:
    """The widths to evaluate: dense, then each group alone at each of ``SHARES``; none twice.

    At most 1 + 4 G of them. Shape: → (G,) each
    """
    found = [space.dense]
    for group, dense in enumerate(space.dense):
        ways = space.round_down(space.min_widths + np.array(SHARES)[:, None] * (space.dense - space.min_widths))[
            :, group
        ]
        narrower = dict.fromkeys(width for width in ways.tolist() if width < dense)
        found += [np.where(np.arange(len(space.dense)) == group, width, space.dense) for width in narrower]
    return found


def probed(records: Records, scores: Scores, images: int) -> Iterator[Interim]:
    """Each of the ``probes``, evaluated with its strongest channels; known ones are not evaluated again."""
    for widths in probes(records.net.space):
        yield records.evaluate(top_channels(scores, widths), "sensitivity", images)


def sensitivity(space: Space, interims: Sequence[Interim]) -> list[FloatArray]:
    """Error curves out of ``probed``: the loss above the dense one's, straight lines between the widths probed.

    A loss that is no number counts as the highest that is one.

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
