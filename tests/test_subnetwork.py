import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secateur.errors import SecateurError
from secateur.models.subnetwork import Subnetwork, top_channels

KEPT = st.lists(st.sets(st.integers(0, 600), min_size=1).map(sorted).map(tuple), max_size=6).map(tuple)


@given(KEPT)
def test_one_json_line_holds_a_subnetwork(kept: tuple[tuple[int, ...], ...]) -> None:
    subnetwork = Subnetwork(kept)
    line = subnetwork.to_json()
    assert "\n" not in line
    assert Subnetwork.from_json(line) == subnetwork
    assert hash(Subnetwork.from_json(line)) == hash(subnetwork)


def test_the_json_line_is_readable() -> None:
    assert Subnetwork(((0, 2), (1,))).to_json() == "[[0,2],[1]]"


def test_widths_count_the_kept_channels() -> None:
    widths = Subnetwork(((0, 2, 5), (1,))).widths
    assert widths.tolist() == [3, 1]
    assert widths.dtype == np.int64


def test_subnetworks_are_equal_where_their_channels_are_not_where_their_widths_are() -> None:
    assert Subnetwork(((0, 2),)) != Subnetwork(((0, 1),))
    assert len({Subnetwork(((0, 2),)), Subnetwork(((0, 2),)), Subnetwork(((0, 1),))}) == 2


@pytest.mark.parametrize("channels", [(2, 1), (1, 1), (-1, 0), (0, 3, 2)])
def test_channels_out_of_order_are_refused(channels: tuple[int, ...]) -> None:
    with pytest.raises(SecateurError, match=r"channel group 1 keeps \(.*\); pass ascending indices"):
        Subnetwork(((0,), channels))


def test_a_group_that_keeps_nothing_is_refused() -> None:
    with pytest.raises(SecateurError, match="channel group 1 keeps no channel; keep at least one"):
        Subnetwork(((0,), ()))


def test_an_invalid_line_is_refused_like_any_other_subnetwork() -> None:
    with pytest.raises(SecateurError, match="ascending"):
        Subnetwork.from_json("[[3,1]]")


def test_the_strongest_channels_stay_in_their_order() -> None:
    scores = [np.array([0.1, 0.9, 0.5, 0.7]), np.array([2.0, 1.0])]
    assert top_channels(scores, np.array([3, 1])).kept == ((1, 2, 3), (0,))


def test_ties_go_to_the_lower_index() -> None:
    assert top_channels([np.array([1.0, 2.0, 1.0, 2.0, 1.0])], np.array([3])).kept == ((0, 1, 3),)


@given(st.lists(st.integers(-3, 3).map(float), min_size=3, max_size=20), st.data())
def test_strongest_subnetworks_of_the_same_scores_are_nested(values: list[float], data: st.DataObject) -> None:
    large = data.draw(st.integers(2, len(values)))
    small = data.draw(st.integers(1, large))
    (inner,), (outer,) = (top_channels([np.array(values)], np.array([w])).kept for w in (small, large))
    assert set(inner) <= set(outer)
    assert min(values[c] for c in inner) >= max((values[c] for c in set(range(len(values))) - set(inner)), default=-9)


def test_a_subnetwork_fits_a_line() -> None:
    subnetwork = Subnetwork((tuple(range(1000)), (3, 7)))
    assert repr(subnetwork) == f"Subnetwork(groups=2, channels=1002, digest='{subnetwork.digest}')"
