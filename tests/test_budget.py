from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from secateur.models.budget import Budget, Space, fill, fit, reachable
from secateur.models.errors import SecateurError
from secateur.models.mobilenetv2 import mobilenetv2
from secateur.models.resnet import resnet20
from secateur.models.supernet import Supernet
from secateur.models.vgg import vgg11_bn

MAKES = {"resnet20": resnet20, "vgg11_bn": vgg11_bn, "mobilenetv2": mobilenetv2}
NETS, DIVISORS = st.sampled_from(sorted(MAKES)), st.sampled_from([1, 4, 8])
DENSE = 40_551_040  # MACs of ResNet-20


@cache
def traced(name: str) -> Supernet:
    with torch.device("meta"):
        model = MAKES[name]()
    return Supernet.of(model, torch.zeros(1, 3, 32, 32))


def space(name: str, divisor: int = 1, least: float = 0.1) -> Space:
    base = traced(name).space
    floor = np.ceil(np.maximum(base.dense * least, 1) / divisor - 1e-9).astype(np.int64) * divisor
    return Space(base.costs, base.dense, np.minimum(floor, base.dense), divisor)


def assert_fits(where: Space, budget: Budget, widths: np.ndarray) -> None:
    """Within the budget, on the grid, and so wide that no group can take one more step."""
    assert budget.holds(where.costs, widths)
    assert (widths >= where.least).all()
    assert (widths <= where.dense).all()
    assert ((widths % where.divisor == 0) | (widths == where.dense)).all()
    for g, wider in enumerate(where.wider(widths)):
        assert wider[g] == widths[g] == where.dense[g] or not budget.holds(where.costs, wider)


@settings(max_examples=1000, deadline=None)
@given(
    st.sampled_from(sorted(MAKES)), st.sampled_from([1, 4, 8]), st.floats(0, 1), st.integers(0, 2**32), st.booleans()
)
def test_fitted_widths_use_the_budget_to_the_last_step(
    name: str, divisor: int, share: float, seed: int, wild: bool
) -> None:
    where = space(name, divisor)
    least, dense = reachable(where)
    budget = Budget(int(least + share * (dense - least)))
    g = np.random.default_rng(seed)
    proportions = g.uniform(0.2, 1, len(where.dense)) * where.dense
    if wild:
        proportions = 10 ** g.uniform(-3, 3, len(where.dense)) * g.integers(0, 2, len(where.dense))
    assert_fits(where, budget, fit(where, budget, proportions))


@settings(max_examples=100, deadline=None)
@given(NETS, DIVISORS, st.floats(0, 1))
def test_filling_from_the_least_widths_uses_the_budget_to_the_last_step(name: str, divisor: int, share: float) -> None:
    where = space(name, divisor)
    least, dense = reachable(where)
    budget = Budget(int(least + share * share * 0.1 * (dense - least)))
    widths = fill(where, budget, where.least, np.multiply(where.dense, 0.5, dtype=np.float64))
    assert_fits(where, budget, widths)
    assert (widths >= where.least).all()


@pytest.mark.parametrize("name", MAKES)
@pytest.mark.parametrize("divisor", [1, 4, 8])
def test_the_whole_budget_gives_the_dense_widths_whatever_the_proportions(name: str, divisor: int) -> None:
    where = space(name, divisor)
    budget = Budget.parse("100%", reachable(where)[1])
    proportions = np.linspace(1, 5, len(where.dense))
    assert np.array_equal(fit(where, budget, proportions), where.dense)


@pytest.mark.parametrize("name", MAKES)
def test_the_least_budget_gives_the_least_widths(name: str) -> None:
    where = space(name)
    widths = fit(where, Budget(reachable(where)[0]), where.dense.astype(float))
    assert np.array_equal(widths, where.least)


def test_proportions_count_up_to_their_scale() -> None:
    where = space("resnet20")
    budget = Budget(DENSE // 2)
    proportions = np.random.default_rng(0).uniform(0.3, 1, 12) * where.dense
    assert np.array_equal(fit(where, budget, proportions), fit(where, budget, 7 * proportions))


def test_equal_proportions_narrow_every_group_alike() -> None:
    where = space("resnet20")
    widths = fit(where, Budget(DENSE // 2), where.dense.astype(float))
    assert np.ptp(widths / where.dense) < 2 / 16
    assert widths.sum() == pytest.approx(where.dense.sum() * 0.5**0.5, rel=0.05)


@pytest.mark.parametrize("divisor", [4, 8])
def test_widths_between_steps_go_down_to_one(divisor: int) -> None:
    where = space("resnet20", divisor)
    floor = where.floor(np.subtract(where.dense, 0.5, dtype=np.float64))
    assert (floor % divisor == 0).all()
    assert (floor < where.dense).all()
    assert np.array_equal(where.floor(where.dense.astype(float)), where.dense)
    assert np.array_equal(where.floor(np.zeros(12)), where.least)


def test_a_step_wider_moves_one_group_to_the_next_multiple_or_dense() -> None:
    where = Space(space("resnet20").costs, np.array([10, 16, 3]), np.array([4, 4, 3]), 4)
    assert where.wider(np.array([8, 16, 3])).tolist() == [[10, 16, 3], [8, 16, 3], [8, 16, 3]]
    assert where.wider(np.array([4, 4, 3])).tolist() == [[8, 4, 3], [4, 8, 3], [4, 4, 3]]


@pytest.mark.parametrize(
    ("text", "macs"),
    [
        ("50%", DENSE // 2),
        ("100%", DENSE),
        ("12.5 %", DENSE // 8),
        ("29%", DENSE * 29 // 100),
        ("33.3%", DENSE * 333 // 1000),
        ("31M", 31_000_000),
        (" 31.5m ", 31_500_000),
        ("400K", 400_000),
        ("0.02G", 20_000_000),
        ("40551040", DENSE),
        ("40600", 40_600),
    ],
)
def test_a_budget_is_a_share_or_a_number_of_macs(text: str, macs: int) -> None:
    assert Budget.parse(text, DENSE) == Budget(macs)


def test_large_budgets_are_read_too() -> None:
    assert Budget.parse("1.5G", 4_000_000_000) == Budget(1_500_000_000)
    assert Budget.parse("40600000", 50_000_000) == Budget(40_600_000)
    assert Budget.parse("62M", 125_000_000) == Budget(62_000_000)


@pytest.mark.parametrize("text", ["0", "0%", "150%", "62G", "0.0000001%"])
def test_a_budget_of_nothing_or_more_than_everything_is_refused(text: str) -> None:
    with pytest.raises(SecateurError, match=f"budget {text} is .*40.55M; give more than 0 and at most 100%"):
        Budget.parse(text, DENSE)


@pytest.mark.parametrize("text", ["abc", "-5%", "", "%", "50%%", "5 0%", "1e6", "nan", "62MB", "50%..80%"])
def test_a_budget_that_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(SecateurError, match=r"is not a share or a number of MACs; write 50% or 62M"):
        Budget.parse(text, DENSE)


@pytest.mark.parametrize("name", MAKES)
def test_a_budget_below_the_minimum_names_the_least_that_can_be_met(name: str) -> None:
    net = traced(name)
    least, dense = reachable(net.space)
    with pytest.raises(SecateurError, match=f"the least widths still cost {least / 1e6:.4g}M") as caught:
        net.budget("0.1%")
    advice = float(str(caught.value).partition("--flops ")[2].partition("%")[0])
    assert net.budget(f"{advice}%").macs >= least
    assert advice / 100 == pytest.approx(least / dense, abs=0.001)


def test_fit_refuses_a_budget_that_cannot_be_met() -> None:
    where = space("resnet20", least=0.5)
    with pytest.raises(SecateurError, match="cannot be met"):
        fit(where, Budget(DENSE // 10), where.dense.astype(float))


def test_holds_is_batched_and_includes_equality() -> None:
    where = space("resnet20")
    exact = int(where.costs.macs(where.dense))
    widths = np.stack([where.dense, where.least])
    assert Budget(exact).holds(where.costs, widths).tolist() == [True, True]
    assert Budget(exact - 1).holds(where.costs, widths).tolist() == [False, True]
