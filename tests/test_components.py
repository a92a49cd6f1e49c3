import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from secateur.models.tracing.components import Places, connected_components, has_member


@given(st.integers(1, 30), st.data())
def test_connected_agrees_with_a_naive_union_find(count: int, data: st.DataObject) -> None:
    atom = st.integers(0, count - 1)
    ties = data.draw(st.lists(st.lists(st.tuples(atom, atom), max_size=10), max_size=4))
    component = list(range(count))
    for a, b in (pair for tie in ties for pair in tie):
        low, high = sorted((component[a], component[b]))
        component = [low if each == high else each for each in component]
    arrays = [(np.array([a for a, _ in tie], int), np.array([b for _, b in tie], int)) for tie in ties]
    assert connected_components(count, arrays).tolist() == component


def test_connected_follows_a_long_chain() -> None:
    a = np.arange(999)
    assert not connected_components(1000, [(a[::-1] + 1, a[::-1])]).any()


def test_a_channel_is_among_parts_that_hold_one_of_its_atoms() -> None:
    channel = np.array([0, 1, 1, 3])
    assert has_member(channel, [np.array([2]), np.array([0])]).tolist() == [True, True, False, False]


def table() -> Places:
    """Tensor ``a`` of 2 x 3, ``b`` of 2; atoms 1 2 | 3 4 5 | 6 7, where 1 and 6, and 2 and 7, are one channel."""
    tensors = {"a": [np.array([1, 2]), np.array([3, 4, 5])], "b": [np.array([6, 7])]}
    channel = connected_components(8, [(np.array([1, 2]), np.array([6, 7]))])
    return Places.of(tensors, channel, np.array([1, 2, 4]))


def test_places_name_the_line_and_the_place_of_every_channel_once() -> None:
    found = table()
    assert found.dims == ((("a", 0), ("b", 0)), (("a", 1),))
    rows = zip(found.number, found.line, found.place, strict=True)
    assert [tuple(map(int, row)) for row in rows] == [(0, 0, 0), (1, 0, 1), (2, 1, 1)]


def test_channels_are_of_a_kind_where_they_lie_in_the_same_lines_and_share_their_fate() -> None:
    every, none, zeros = np.ones(2, bool), np.zeros(2, bool), np.zeros(3, int)
    assert table().equivalence_classes(every, zeros).tolist() == [0, 0, 1]
    assert table().equivalence_classes(every, np.array([0, 5, 0])).tolist() == [0, 1, 2]
    assert table().equivalence_classes(none, zeros).tolist() == [0, 0, 0]


def test_channels_that_lie_more_often_in_a_line_are_of_another_kind() -> None:
    channel = np.array([0, 1, 2, 1])
    found = Places.of({"a": [np.array([1, 2, 3])]}, channel, np.array([1, 2]))
    assert found.equivalence_classes(np.array([True]), np.zeros(2, int)).tolist() == [0, 1]


def test_parts_are_the_channels_of_a_kind_in_a_line_in_order() -> None:
    found = table()
    parts = [(kind, found.number[part].tolist()) for kind, part in found.parts(np.array([0, 0, 1]))]
    assert parts == [(0, [0, 1]), (1, [2])]
