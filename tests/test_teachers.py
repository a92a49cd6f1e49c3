"""Which subnetworks become the teachers of a bank."""

import numpy as np
import pytest
from banked import DENSE, HALF, THIN
from hypothesis import given
from hypothesis import strategies as st

from secateur.models.subnetwork import Subnetwork
from secateur.search.records import Interim
from secateur.transfer.bank.manifest import Teacher
from secateur.transfer.bank.teachers import choose_teachers, teachers_by_loss

LOSSES = st.lists(st.floats(0, 10).map(lambda x: round(x, 3)), min_size=0, max_size=30)


def test_teachers_are_those_nearest_to_even_steps_of_loss() -> None:
    losses = np.array([0.0, 0.1, 0.15, 0.3, 0.38, 0.6, 0.82, 0.9, 1.0, 7.0])
    assert teachers_by_loss(losses, dense=0.0, winner=1.0) == [0, 2, 4, 5, 6]  # 0, 0.2, 0.4, 0.6, 0.8


def test_where_late_targets_have_run_out_of_neighbours_the_order_is_still_by_loss() -> None:
    losses = np.array([0.01, 0.6, 0.15, 0.1, 0.3, 1.0])
    assert [losses[i] for i in teachers_by_loss(losses, 0.01, 1.0)] == [0.01, 0.1, 0.15, 0.3, 0.6]


@given(LOSSES, st.floats(0, 3), st.floats(0.01, 7), st.integers(1, 8))
def test_teachers_lie_between_dense_and_winner_each_once_and_dense_first(
    others: list[float], dense: float, gap: float, count: int
) -> None:
    winner = dense + gap
    losses = np.array([*others, dense, winner])
    chosen = teachers_by_loss(losses, dense, winner, count)
    assert len(chosen) == len(set(chosen)) == min(count, int(((losses >= dense) & (losses < winner)).sum()))
    assert losses[chosen[0]] == dense
    assert list(losses[chosen]) == sorted(losses[chosen])
    assert (losses[chosen] < winner).all()


@given(st.integers(5, 60), st.floats(0, 3), st.floats(0.1, 5))
def test_teachers_of_an_even_pool_span_four_fifths_of_the_way(pool: int, dense: float, gap: float) -> None:
    losses = np.linspace(dense, dense + gap, 5 * pool + 1)
    chosen = losses[teachers_by_loss(losses, dense, dense + gap)]
    assert len(chosen) == 5
    assert chosen[-1] - chosen[0] >= 0.8 * gap * (1 - 1e-9)
    np.testing.assert_allclose(np.diff(chosen), gap / 5)


def test_the_dense_network_teaches_even_a_winner_that_is_better() -> None:
    losses = np.array([0.9, 1.0, 1.1, 0.8])
    assert teachers_by_loss(losses, dense=1.0, winner=0.8) == [1]
    assert teachers_by_loss(losses, dense=1.0, winner=1.0) == [1]


def candidate(subnetwork: Subnetwork, loss: float, macs: int) -> Interim:
    return Interim(subnetwork, "made up", loss, 0.5, 10, macs, 1)


def test_chosen_teachers_carry_their_loss_and_cost_and_leave_the_winner_out() -> None:
    pool = [candidate(THIN, 1.0, 100), candidate(HALF, 0.7, 200), candidate(DENSE, 0.5, 300)]
    assert choose_teachers(pool, DENSE, THIN) == [Teacher(DENSE, 0.5, 300), Teacher(HALF, 0.7, 200)]


@pytest.mark.parametrize("loss", [0.5, 0.4])
def test_a_bank_is_never_empty_and_never_taught_by_the_winner(loss: float) -> None:
    pool = [candidate(HALF, loss, 200), candidate(DENSE, 0.5, 300)]
    assert choose_teachers(pool, DENSE, HALF) == [Teacher(DENSE, 0.5, 300)]
