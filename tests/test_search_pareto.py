import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from secateur.models.subnetwork import Subnetwork
from secateur.search.pareto import hypervolume, pareto_front
from secateur.search.records import Interim


def point(macs: int, loss: float) -> Interim:
    return Interim(Subnetwork(((0,),)), "made up", loss, 0.5, 10, macs, 1)


COSTS = st.integers(1, 6)
LOSSES = st.sampled_from([0.1, 0.2, 0.3, 0.4, math.nan])


@given(st.lists(st.tuples(COSTS, LOSSES), max_size=12))
@example([(2, 0.3), (2, math.nan), (2, 0.2)])
def test_the_front_is_what_no_other_beats(points: list[tuple[int, float]]) -> None:
    def beaten(macs: int, loss: float) -> bool:
        return any(m <= macs and x <= loss and (m, x) != (macs, loss) for m, x in points)

    expected = sorted({(macs, loss) for macs, loss in points if loss == loss and not beaten(macs, loss)})
    assert [(i.macs, i.loss) for i in pareto_front(point(macs, loss) for macs, loss in points)] == expected


def test_a_loss_that_is_no_number_is_on_no_front() -> None:
    assert pareto_front([point(1, math.nan)]) == []
    assert [i.loss for i in pareto_front([point(1, math.nan), point(2, 0.5), point(2, math.nan), point(2, 0.4)])] == [
        0.4
    ]


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), max_size=8))
def test_the_hypervolume_is_the_share_of_unit_squares_that_some_point_beats(points: list[tuple[int, int]]) -> None:
    squares = [(macs, loss) for macs in range(10) for loss in range(10)]
    beaten = sum(any(a <= macs and b <= loss for a, b in points) for macs, loss in squares)
    found = hypervolume([point(macs, loss) for macs, loss in points], 10, 10)
    assert found == pytest.approx(beaten / 100)
