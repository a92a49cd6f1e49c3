from functools import cache, partial
from math import inf
from typing import Any

import numpy as np
import pytest
import torch
import torchvision.models as zoo
from hypothesis import given, settings
from hypothesis import strategies as st

from secateur.errors import SecateurError
from secateur.models.costs.budget import Budget
from secateur.models.costs.cost import Bilinear
from secateur.models.costs.spec import BudgetSpec
from secateur.models.costs.units import format_quantity
from secateur.models.costs.widths import Space, fill, fills_budget, fit_to_budget
from secateur.models.supernet import Supernet
from secateur.models.tracing.atoms import FloatArray, IntArray
from secateur.models.zoo.mobilenetv2 import mobilenetv2
from secateur.models.zoo.resnet import resnet20
from secateur.models.zoo.vgg import vgg11_bn

SMALL = {"resnet20": resnet20, "vgg11_bn": vgg11_bn, "mobilenetv2": mobilenetv2}
MAKES = {
    **SMALL,
    "densenet121": zoo.densenet121,
    "shufflenet": zoo.shufflenet_v2_x1_0,
    "efficientnet": partial(zoo.efficientnet_b0, num_classes=10),
}
NETS, DIVISORS = st.sampled_from(sorted(SMALL)), st.sampled_from([1, 4, 8])
DENSE = 40_551_040  # MACs of ResNet-20


@cache
def traced(name: str) -> Supernet:
    with torch.device("meta"):
        model = MAKES[name]()
    return Supernet.of(model, torch.zeros(1, 3, 32, 32) if name in SMALL else torch.zeros(1, 3, 64, 64), check=False)


@cache
def space(name: str, divisor: int = 1, least: float = 0.1) -> Space:
    base = traced(name).space
    floor = np.ceil(np.maximum(base.dense * least, 1) / divisor - 1e-9).astype(np.int64) * divisor
    return Space(base.costs, base.dense, np.minimum(floor, base.dense), divisor)


def assert_fits(where: Space, budget: Budget, widths: np.ndarray) -> None:
    """Within the budget, on the grid, and so wide that no group can take one more step."""
    assert budget.holds(where.costs, widths)
    assert (widths >= where.min_widths).all()
    assert (widths <= where.dense).all()
    assert ((widths % where.divisor == 0) | (widths == where.dense)).all()
    for g, wider in enumerate(where.wider(widths)):
        assert wider[g] == widths[g] == where.dense[g] or not budget.holds(where.costs, wider)


class Times:
    """Made-up times of layers: a part of them fixed, a part by MACs, a part by rows and by columns."""

    def __init__(self, products: Bilinear) -> None:
        self.products = products

    def layers(self, widths: IntArray, /) -> FloatArray:
        rows = np.asarray(widths) @ self.products.rows.T + self.products.rows_fixed
        columns = np.asarray(widths) @ self.products.columns.T + self.products.columns_fixed
        return np.asarray(1e-6 + 1e-7 * rows + 3e-8 * columns + 1e-11 * self.products.scale * rows * columns)

    def __call__(self, widths: IntArray, /) -> FloatArray:
        return np.asarray(self.layers(widths).sum(-1).round(9))


@cache
def within(where: Space, costs: tuple[str, ...], share: float) -> Budget:
    """Limits of these costs, each this share of the way from the least to the dense one."""
    full = Budget(1, 1, 1, 1.0, Times(where.costs.macs))
    ends = {name: full.cost(name, where.costs, np.stack([where.min_widths, where.dense])) for name in costs}
    limits: dict[str, Any] = {name: float(least + share * (dense - least)) for name, (least, dense) in ends.items()}
    return Budget(**limits, timed=full.timed)


COSTS = ("macs", "parameters", "memory", "latency")


@pytest.mark.parametrize("name", MAKES)
def test_a_thousand_random_budgets_hold_and_leave_room_for_no_step(name: str) -> None:
    g = np.random.default_rng(sorted(MAKES).index(name))
    for _ in range(1000):
        where = space(name, int(g.choice([1, 4, 8])))
        costs = tuple(cost for cost in COSTS if g.random() < 0.2) or ("macs", "latency")
        budget = within(where, costs, float(g.random()))
        proportions = g.uniform(0.2, 1, len(where.dense)) * where.dense
        if g.random() < 0.3:
            proportions = 10 ** g.uniform(-3, 3, len(where.dense)) * g.integers(0, 2, len(where.dense))
        widths = fit_to_budget(where, budget, proportions)
        assert fills_budget(where, budget, widths)
        assert ((where.min_widths <= widths) & (widths <= where.dense)).all()
        assert ((widths % where.divisor == 0) | (widths == where.dense)).all()


@pytest.mark.parametrize("name", ["resnet20", "densenet121"])
def test_no_single_step_fits_by_each_costs_own_count(name: str) -> None:
    where = space(name, 4)
    for share in (0.1, 0.5, 0.9):
        budget = within(where, COSTS, share)
        assert_fits(where, budget, fit_to_budget(where, budget, where.dense.astype(np.float64)))


@settings(max_examples=100)
@given(NETS, DIVISORS, st.floats(0, 1))
def test_filling_from_the_least_widths_uses_the_budget_to_the_last_step(name: str, divisor: int, share: float) -> None:
    where = space(name, divisor)
    least, dense = where.costs.macs(np.stack([where.min_widths, where.dense]))
    budget = Budget(int(least + share * share * 0.1 * (dense - least)))
    widths = fill(where, budget, where.min_widths, np.multiply(where.dense, 0.5, dtype=np.float64))
    assert_fits(where, budget, widths)
    assert (widths >= where.min_widths).all()


@pytest.mark.parametrize("name", MAKES)
@pytest.mark.parametrize("divisor", [1, 4, 8])
def test_the_whole_budget_gives_the_dense_widths_whatever_the_proportions(name: str, divisor: int) -> None:
    where = space(name, divisor)
    budget = BudgetSpec.parse("100%", memory="100%").on(where).low
    proportions = np.linspace(1, 5, len(where.dense))
    assert np.array_equal(fit_to_budget(where, budget, proportions), where.dense)


@pytest.mark.parametrize("name", MAKES)
def test_the_least_budget_gives_the_least_widths(name: str) -> None:
    where = space(name)
    widths = fit_to_budget(where, Budget(int(where.costs.macs(where.min_widths))), where.dense.astype(float))
    assert np.array_equal(widths, where.min_widths)


def test_proportions_count_up_to_their_scale() -> None:
    where = space("resnet20")
    budget = Budget(DENSE // 2)
    proportions = np.random.default_rng(0).uniform(0.3, 1, 12) * where.dense
    assert np.array_equal(fit_to_budget(where, budget, proportions), fit_to_budget(where, budget, 7 * proportions))


def test_equal_proportions_narrow_every_group_alike() -> None:
    where = space("resnet20")
    widths = fit_to_budget(where, Budget(DENSE // 2), where.dense.astype(float))
    assert np.ptp(widths / where.dense) < 2 / 16
    assert widths.sum() == pytest.approx(where.dense.sum() * 0.5**0.5, rel=0.05)


@pytest.mark.parametrize("divisor", [4, 8])
def test_widths_between_steps_go_down_to_one(divisor: int) -> None:
    where = space("resnet20", divisor)
    floor = where.round_down(np.subtract(where.dense, 0.5, dtype=np.float64))
    assert (floor % divisor == 0).all()
    assert (floor < where.dense).all()
    assert np.array_equal(where.round_down(where.dense.astype(float)), where.dense)
    assert np.array_equal(where.round_down(np.zeros(12)), where.min_widths)


def test_a_step_wider_moves_one_group_to_the_next_multiple_or_dense() -> None:
    where = Space(space("resnet20").costs, np.array([10, 16, 3]), np.array([4, 4, 3]), 4)
    assert where.wider(np.array([8, 16, 3])).tolist() == [[10, 16, 3], [8, 16, 3], [8, 16, 3]]
    assert where.wider(np.array([4, 4, 3])).tolist() == [[8, 4, 3], [4, 8, 3], [4, 4, 3]]


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize(("option", "cost"), [("flops", "macs"), ("params", "parameters"), ("memory", "memory")])
def test_a_budget_below_the_minimum_names_the_least_that_can_be_met(name: str, option: str, cost: str) -> None:
    net = traced(name)
    least, dense = (int(getattr(net.space.costs, cost)(w)) for w in (net.space.min_widths, net.space.dense))
    with pytest.raises(SecateurError, match=f"the least widths still cost {format_quantity(least)} ") as caught:
        net.budget(**{option: "0.1%"}, timed=None)
    advice = float(str(caught.value).partition(f"--{option} ")[2].partition("%")[0])
    assert getattr(net.budget(**{option: f"{advice}%"}, timed=None), cost) >= least
    assert advice / 100 == pytest.approx(least / dense, abs=0.00101)


def test_the_first_limit_that_fails_is_the_one_named() -> None:
    with pytest.raises(SecateurError, match=r"parameters cannot be met.*pass --params"):
        traced("resnet20").budget("50%", params="0.1%")


def test_fit_refuses_a_budget_that_cannot_be_met() -> None:
    where = space("resnet20", least=0.5)
    with pytest.raises(SecateurError, match="cannot be met"):
        fit_to_budget(where, Budget(DENSE // 10), where.dense.astype(float))


@pytest.mark.parametrize("name", SMALL)
def test_filling_takes_one_step_at_a_time_for_the_group_furthest_below_its_wish(name: str) -> None:
    g = np.random.default_rng(3)
    for costs in (("macs",), ("parameters", "latency"), ("memory",)):
        where, wish = space(name, 8), g.uniform(0.2, 1, len(space(name).dense)) * space(name).dense
        budget, widths = within(where, costs, 0.4), where.min_widths
        while (fits := budget.holds(where.costs, where.wider(widths)) & (widths < where.dense)).any():
            short = np.where(fits, (wish - widths) / where.dense, -inf)
            widths = where.wider(widths)[int(short.argmax())]
        assert np.array_equal(fill(where, budget, where.min_widths, wish), widths)


def test_limits_rise_toward_what_the_dense_network_costs() -> None:
    where = space("resnet20")
    spec, whole = BudgetSpec.parse("50%", params="40%"), BudgetSpec.parse("100%", params="100%")
    half, dense = spec.on(where).low, whole.on(where).low
    assert where.toward_dense(half, 1) == dense
    assert where.toward_dense(half, 0) == half
    assert where.toward_dense(half, 0.5).macs == (half.macs + dense.macs) // 2


def test_a_space_fits_a_line() -> None:
    assert repr(space("resnet20", 8)) == "Space(groups=12, channels=96..400, divisor=8)"
