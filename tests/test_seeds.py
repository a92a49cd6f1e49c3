import random

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from secateur.seeds import derive_seed, random_streams

STREAMS = st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=4)


@given(STREAMS)
def test_the_same_numbers_make_the_same_seed_and_it_is_one_that_torch_and_numpy_take(streams: list[int]) -> None:
    assert derive_seed(*streams) == derive_seed(*streams)
    assert 0 <= derive_seed(*streams) < 2**32


def test_neighbouring_streams_have_seeds_of_their_own() -> None:
    assert len({derive_seed(seed, turn) for seed in range(50) for turn in range(50)}) == 2500
    assert derive_seed(1, 2) != derive_seed(2, 1)


def test_the_seeds_stay_what_they_are() -> None:
    assert (derive_seed(0, 7), derive_seed(3)) == (
        1369798745,
        1576890651,
    )  # or runs that were begun would go on otherwise


def draw() -> list[float]:
    return [float(torch.rand(())), float(np.random.rand()), random.random()]  # noqa: NPY002


@given(st.integers(0, 2**32 - 1))
def test_what_is_drawn_inside_comes_from_the_seed_and_leaves_no_trace(seed: int) -> None:
    torch.manual_seed(1), np.random.seed(1), random.seed(1)  # noqa: NPY002
    expected = draw()
    torch.manual_seed(1), np.random.seed(1), random.seed(1)  # noqa: NPY002
    with random_streams(seed):
        first = draw()
    with random_streams(seed):
        assert draw() == first
    assert draw() == expected


def test_without_a_seed_the_streams_go_on_and_are_put_back() -> None:
    torch.manual_seed(1), np.random.seed(1), random.seed(1)  # noqa: NPY002
    with random_streams():
        first = draw()
    assert draw() == first


def test_a_seed_starts_all_streams_and_leaves_none() -> None:
    with random_streams(seed=3):
        first = draw()
    between = torch.get_rng_state()
    with random_streams(seed=3):
        assert draw() == first
    assert torch.equal(between, torch.get_rng_state())
