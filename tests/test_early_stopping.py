import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm, ttest_rel

from secateur.search.early_stopping import ERRORS, extrapolated_loss, significantly_worse


def losses(seed: int, count: int, above: float = 0.0, spread: float = 1.0) -> np.ndarray:
    return above + spread * np.random.default_rng(seed).standard_exponential(count)


@given(st.integers(0, 1000), st.integers(2, 300), st.floats(-0.5, 0.5))
def test_it_is_the_paired_test_of_the_means(seed: int, count: int, above: float) -> None:
    mine, rival = losses(seed, count, above), losses(seed + 1, 400)
    statistic = ttest_rel(mine, rival[:count]).statistic
    assert significantly_worse(mine, rival) == (statistic > ERRORS)


def test_of_equals_one_look_in_a_hundred_stops_one() -> None:
    stopped = np.mean([significantly_worse(losses(2 * seed, 250), losses(2 * seed + 1, 250)) for seed in range(4000)])
    assert stopped == pytest.approx(1 - norm.cdf(ERRORS), abs=0.006)


def test_what_all_images_share_does_not_hide_a_difference() -> None:
    images = losses(0, 1000, spread=5.0)
    assert significantly_worse(images + 0.02 * losses(1, 1000), images)
    assert not significantly_worse(images, images)


def test_no_number_is_hopeless_and_against_no_number_nothing_is() -> None:
    rival = losses(0, 10)
    assert significantly_worse(np.array([0.1, math.nan]), rival)
    assert not significantly_worse(np.array([9.0, 9.1]), np.array([0.1, math.nan]))
    assert not significantly_worse(np.array([9.0, 9.1]), np.empty(0))


@given(st.integers(0, 1000), st.integers(1, 50))
def test_the_expected_loss_is_that_of_all_images_where_the_difference_is_the_same_on_all(seed: int, seen: int) -> None:
    rival = losses(seed, 50)
    assert extrapolated_loss((rival + 0.25)[:seen], rival) == pytest.approx(rival.mean() + 0.25)
