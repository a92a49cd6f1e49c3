import pytest
from chains import plain
from hypothesis import given
from hypothesis import strategies as st

from secateur.errors import SecateurError
from secateur.models.costs.budget import Budget
from secateur.models.costs.budget_range import BudgetRange
from secateur.models.costs.units import parse_range

NET = plain()


def test_a_range_is_two_budgets_and_what_lies_between() -> None:
    dense, span = NET.macs(NET.dense), NET.span("25%..80%")
    assert (span.low, span.high) == (NET.budget("25%"), NET.budget("80%"))
    assert (span.at(0), span.at(1)) == (span.low, span.high)
    assert span.at(0.5).macs == pytest.approx(0.525 * dense, rel=1e-4)
    assert not span.is_single


def test_a_range_includes_its_ends_and_what_lies_between() -> None:
    span = NET.span("25%..80%")
    asked = {share: span.includes(NET.budget(share)) for share in ("20%", "25%", "50%", "80%", "90%")}
    assert asked == {"20%": False, "25%": True, "50%": True, "80%": True, "90%": False}


def test_an_amount_alone_is_both_ends() -> None:
    span = NET.span("50%")
    assert span.is_single
    assert span.at(0.3) == span.low == NET.budget("50%")
    assert str(span) == str(NET.budget("50%"))


def test_limits_of_other_costs_may_be_ranges_too() -> None:
    span = NET.span("30%..60%", params="70%")
    assert span.low == NET.budget("30%", params="70%")
    assert span.high == NET.budget("60%", params="70%")


@given(st.floats(0.3, 1), st.floats(0.3, 1), st.floats(0, 1), st.floats(0, 1))
def test_budgets_rise_through_the_span(one: float, other: float, share: float, further: float) -> None:
    dense = NET.macs(NET.dense)
    span = BudgetRange(*(Budget(int(each * dense)) for each in sorted((one, other))))
    lower, upper = (span.at(each) for each in sorted((share, further)))
    assert span.low.macs <= lower.macs <= upper.macs <= span.high.macs


@pytest.mark.parametrize("text", ["..", "50%..", "..50%", "20%..30%..40%", ""])
def test_what_is_no_range_is_refused(text: str) -> None:
    with pytest.raises(SecateurError, match=r"is no amount and no range; write 50% or 25%\.\.80%"):
        list(parse_range(text))


def test_a_range_upside_down_is_refused() -> None:
    with pytest.raises(SecateurError, match=r"upside down; write the smaller end first, as in 25%\.\.80%"):
        NET.span("80%..25%")


def test_ends_of_different_costs_are_refused() -> None:
    with pytest.raises(SecateurError, match="limit different costs"):
        BudgetRange(Budget(10), Budget(parameters=10))


def test_a_range_whose_lower_end_cannot_be_reached_is_refused() -> None:
    with pytest.raises(SecateurError, match="cannot be met"):
        NET.span("0.1%..80%")


def test_a_range_fits_a_line() -> None:
    low, high = Budget(1_000_000_000, 10_000_000, 5_000_000), Budget(4_000_000_000, 25_000_000, 12_345_678)
    assert repr(BudgetRange(low, high)) == "BudgetRange(macs=1G..4G, parameters=10M..25M, memory=5M..12.35M)"
    assert repr(BudgetRange(low, low)) == "BudgetRange(macs=1G, parameters=10M, memory=5M)"
