"""Changes of weights that prove themselves on rows that they were not fitted to."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from secateur.models.compensation.moments import RIDGES, Moments, best_ridge, proven_change

COLUMNS = 6


def moments_of(rows: Tensor, missing: Tensor) -> Moments:
    """Of one group. Shape: rows (n, d), missing (n, made)"""
    return Moments((missing.T @ rows)[None], (rows.T @ rows)[None], len(rows))


def drawn(seed: int, count: int, noise: float) -> tuple[Tensor, Tensor]:
    """Rows with a one behind them, and outputs that are linear in them but for noise."""
    generator = torch.Generator().manual_seed(seed)
    law = torch.randn(COLUMNS + 1, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    rows = torch.randn(count, COLUMNS, dtype=torch.float64, generator=generator)
    rows = torch.cat([rows, torch.ones(count, 1)], 1)
    return rows, rows @ law + noise * torch.randn(count, 3, dtype=torch.float64, generator=generator)


def squared_error(rows: Tensor, missing: Tensor, change: Tensor) -> float:
    return float((missing - rows @ change[0].T).square().sum())


def test_gain_is_the_squared_error_that_a_change_removes() -> None:
    rows, missing = drawn(1, 9, 1.0)
    change = torch.randn(1, 3, COLUMNS + 1, dtype=torch.float64)
    gain = float(missing.square().sum()) - squared_error(rows, missing, change)
    torch.testing.assert_close(moments_of(rows, missing).gain(change), gain)


def test_centred_moments_are_those_of_centred_rows() -> None:
    rows, missing = drawn(2, 9, 1.0)
    found, expected = moments_of(rows, missing).centred(), moments_of(rows - rows.mean(0), missing - missing.mean(0))
    torch.testing.assert_close(found.across, expected.across)
    torch.testing.assert_close(found.among, expected.among)


def test_moments_of_parts_add_up() -> None:
    rows, missing = drawn(3, 9, 1.0)
    whole = moments_of(rows, missing)
    parts = moments_of(rows[:4], missing[:4]) + moments_of(rows[4:], missing[4:])
    assert parts.rows == whole.rows
    torch.testing.assert_close(parts.across, whole.across)
    torch.testing.assert_close(parts.among, whole.among)


def test_noise_asks_for_a_larger_ridge() -> None:
    clean, noisy = (
        best_ridge(moments_of(*drawn(4, 12, noise)), moments_of(*drawn(5, 200, noise)), COLUMNS, RIDGES)[0]
        for noise in (1e-6, 3.0)
    )
    assert clean == RIDGES[0]
    assert noisy > RIDGES[0]


@given(st.integers(0, 1000), st.integers(2, 20), st.sampled_from([0.0, 1.0, 10.0]), st.booleans())
@settings(deadline=None, max_examples=50)
def test_no_proven_change_is_worse_than_the_known_ones_on_the_rows_held_out(
    seed: int, count: int, noise: float, normed: bool
) -> None:
    (rows, missing), held = drawn(seed, count, noise), drawn(seed + 1, 5, noise)
    known = [moments_of(rows, missing).fit(COLUMNS, 1e-2), torch.zeros(1, 3, COLUMNS + 1, dtype=torch.float64)]
    judge = moments_of(*held).centred() if normed else moments_of(*held)
    change = proven_change(moments_of(rows, missing), moments_of(*held), known, RIDGES, columns=COLUMNS, normed=normed)
    assert judge.gain(change) >= max(map(judge.gain, known)) - 1e-9 * float(missing.square().sum())


def test_rows_of_pure_noise_change_nothing() -> None:
    generator = torch.Generator().manual_seed(0)
    rows, missing = (torch.randn(8, size, dtype=torch.float64, generator=generator) for size in (COLUMNS, 3))
    held = moments_of(-rows, missing)  # whatever is fitted is wrong there
    still = torch.zeros(1, 3, COLUMNS, dtype=torch.float64)
    change = proven_change(moments_of(rows, missing), held, [still], RIDGES, columns=COLUMNS, normed=False)
    assert change is still


def test_without_rows_held_out_the_first_known_change_stands() -> None:
    rows, missing = drawn(6, 9, 0.0)
    known = torch.ones(1, 3, COLUMNS + 1, dtype=torch.float64)
    nothing = moments_of(rows[:0], missing[:0])
    for normed in (False, True):
        change = proven_change(
            moments_of(rows, missing), nothing, [known, 0 * known], RIDGES, columns=COLUMNS, normed=normed
        )
        assert change is known
