import pytest
from chains import plain
from hypothesis import given
from hypothesis import strategies as st

from secateur.errors import SecateurError
from secateur.models.costs.budget import Budget
from secateur.models.costs.budget_range import BudgetRange
from secateur.models.costs.spec import BudgetSpec
from secateur.models.costs.units import COST_UNITS

NET = plain()
DENSE = NET.macs(NET.dense)


def test_a_spec_says_what_was_written() -> None:
    assert str(BudgetSpec.parse("50%")) == "50%"
    assert str(BudgetSpec.parse("25%..80%", params="0.1M", latency="5ms")) == "25%..80% 0.1M params 5ms latency"
    assert str(BudgetSpec.parse(memory="100K")) == "100K memory"
    assert str(BudgetSpec.parse()) == ""


def test_the_ends_of_a_range_are_specs_too() -> None:
    spec = BudgetSpec.parse("25%..80%", memory="100K")
    assert spec.low == BudgetSpec.parse("25%", memory="100K")
    assert spec.high == BudgetSpec.parse("80%", memory="100K")
    assert spec.low.low == spec.low


@given(st.sampled_from(sorted(COST_UNITS)), st.integers(1, 100), st.integers(1, 100))
def test_what_a_spec_says_is_read_back_the_same(cost: str, one: int, other: int) -> None:
    option = COST_UNITS[cost].option
    spec = BudgetSpec.parse(**{option: f"{one}%..{other}%"})
    assert spec.texts == {option: f"{one}%..{other}%"}
    assert BudgetSpec.parse(**spec.texts) == spec
    assert hash(BudgetSpec.parse(**spec.texts)) == hash(spec)


def test_on_a_network_a_spec_is_a_range_of_budgets() -> None:
    found = BudgetSpec.parse("25%..80%", params="50%").on(NET.space)
    half = NET.parameters(NET.dense) // 2
    assert found == BudgetRange(Budget(DENSE // 4, half), Budget(DENSE * 80 // 100, half))


def test_one_spec_serves_several_networks() -> None:
    spec, wide = BudgetSpec.parse("50%"), plain((24, 32, 20))
    for net in (NET, wide):
        assert spec.on(net.space).low.macs == net.macs(net.dense) // 2


def test_the_verbs_of_a_supernet_take_a_spec_for_its_texts() -> None:
    spec = BudgetSpec.parse("40%..80%", params="90%")
    assert NET.span(spec) == NET.span("40%..80%", params="90%")
    assert NET.budget(spec.low) == NET.budget("40%", params="90%")
    assert NET.limits(spec.high) == NET.limits("80%", params="90%")
    assert NET.profile(spec.low) == NET.profile(NET.limits("40%", params="90%"))


def test_a_range_in_place_of_one_budget_is_refused() -> None:
    for verb in (NET.budget, NET.limits):
        with pytest.raises(SecateurError, match=r"is a range of budgets; pass one amount, or use Supernet\.span"):
            verb("25%..80%")


def test_a_text_is_refused_before_any_network_is_there() -> None:
    with pytest.raises(SecateurError, match="'much' is not a share or a number of bytes; write 50% or 100K"):
        BudgetSpec.parse("50%", memory="much")


def test_a_spec_without_limits_is_no_budget() -> None:
    with pytest.raises(SecateurError, match="limits nothing; pass"):
        BudgetSpec.parse().on(NET.space)


def test_a_limit_of_latency_needs_a_table() -> None:
    with pytest.raises(SecateurError, match="has no table of times"):
        BudgetSpec.parse(latency="5ms").on(NET.space)


def test_a_spec_fits_a_line() -> None:
    assert repr(BudgetSpec.parse("25%..80%", latency="5ms")) == "BudgetSpec(flops='25%..80%', latency='5ms')"
