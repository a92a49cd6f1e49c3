"""Sensitivity curves of networks whose loss is known in closed form."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from chains import plain
from scored import noise

from secateur.models.subnetwork import Subnetwork
from secateur.models.supernet import Supernet
from secateur.models.tracing.atoms import IntArray
from secateur.search.records import Interim, Records
from secateur.search.sensitivity import SHARES, probe, probes, sensitivity_curves

WIDTHS = (16, 24, 12)


NET = plain(WIDTHS)
SCORES = [np.arange(float(width)) for width in WIDTHS]


class Known(Records):
    """Records whose losses are a function of the widths."""

    def __init__(self, loss: Callable[[IntArray], float], net: Supernet = NET) -> None:
        super().__init__(net, noise(4))
        self.loss = loss

    def evaluate(self, subnetwork: Subnetwork, source: str, images: int, rival: Interim | None = None) -> Interim:
        return Interim(subnetwork, source, self.loss(subnetwork.widths), 0.5, images, 1, 1)


def curves(loss: Callable[[IntArray], float]) -> list[Sequence[float]]:
    return [curve.tolist() for curve in sensitivity_curves(NET.space, list(probe(Known(loss), SCORES, 4)))]


@pytest.mark.parametrize("divisor", [1, 4])
def test_each_group_is_narrowed_alone_to_allowed_widths_down_to_its_least(divisor: int) -> None:
    space = plain(WIDTHS, divisor).space
    first, *others = probes(space)
    assert first.tolist() == list(WIDTHS)
    assert len(others) <= len(SHARES) * len(WIDTHS)
    for widths in others:
        (group,) = np.flatnonzero(widths != space.dense)
        assert widths[group] % divisor == 0
        assert space.min_widths[group] <= widths[group] < space.dense[group]
    assert np.min(others, 0).tolist() == space.min_widths.tolist()


def test_no_probe_comes_twice() -> None:
    assert len({tuple(widths) for widths in probes(plain(WIDTHS, 8).space)}) == len(probes(plain(WIDTHS, 8).space))


def test_a_loss_that_rises_linearly_in_each_group_is_found_again() -> None:
    slopes = np.array([0.1, 0.02, 0.3])
    found = curves(lambda widths: 0.5 + float(slopes @ (WIDTHS - widths)))
    for slope, curve, width, least in zip(slopes, found, WIDTHS, NET.space.min_widths, strict=True):
        assert curve[least:] == pytest.approx([slope * (width - w) for w in range(least, width + 1)])
        assert len(curve) == width + 1


def test_a_curve_passes_through_every_loss_that_was_probed() -> None:
    def loss(widths: IntArray) -> float:
        return float(np.exp(-widths / 5).sum())

    found, dense = curves(loss), loss(np.array(WIDTHS))
    for widths in probes(NET.space)[1:]:
        (group,) = np.flatnonzero(widths != NET.space.dense)
        assert found[group][widths[group]] == pytest.approx(loss(widths) - dense)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_no_number_counts_as_the_highest(bad: float) -> None:
    def loss(widths: IntArray) -> float:
        return bad if widths[0] == NET.space.min_widths[0] else 1 + float((WIDTHS - widths)[1])

    found = curves(loss)
    assert np.isfinite(np.concatenate(found)).all()
    assert found[0][NET.space.min_widths[0]] == max(found[1])


def test_probes_are_of_the_strongest_channels_and_known_ones_are_not_evaluated_again() -> None:
    records = Records(NET, noise(8))
    first = list(probe(records, SCORES, 8))
    assert first[0].subnetwork == NET.dense
    for interim in first:
        assert interim.subnetwork.kept == tuple(
            tuple(range(width - len(kept), width)) for width, kept in zip(WIDTHS, interim.subnetwork.kept, strict=True)
        )
    count = len(records.all)
    assert list(probe(records, SCORES, 8)) == first
    assert len(records.all) == count == len(probes(NET.space))
