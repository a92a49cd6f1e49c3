"""Allocation rules against budgets, and against the best widths that a search through all of them finds."""

from collections.abc import Callable, Sequence
from itertools import pairwise, product

import numpy as np
import pytest
from chains import plain
from hypothesis import given
from hypothesis import strategies as st

from secateur.errors import SecateurError
from secateur.models.costs.budget import Budget
from secateur.models.costs.cost import Bilinear, Costs, Peak
from secateur.models.costs.widths import Space
from secateur.models.supernet import Supernet
from secateur.models.tracing.atoms import FloatArray, IntArray
from secateur.search.allocation import (
    ALLOCATION_RULES,
    CURVE_RULES,
    AllocationRule,
    common_degradation,
    error_per_mac,
    threshold,
    uniform,
)
from secateur.search.importance.scores import Scores

WIDTHS = (16, 24, 12, 20)


NETS = {divisor: plain(WIDTHS, divisor) for divisor in (1, 4, 8)}


def random_scores(net: Supernet, seed: int = 0) -> Scores:
    random = np.random.default_rng(seed)
    return [random.lognormal(random.normal(0, 3), 1, group.width) for group in net.groups]


def random_curves(net: Supernet, seed: int = 0) -> Scores:
    """Neither falling everywhere nor convex."""
    random = np.random.default_rng(seed)
    return [random.lognormal(0, 1) * random.random(group.width + 1) for group in net.groups]


ALL = {
    **{name: (rule, random_scores) for name, rule in ALLOCATION_RULES.items()},
    **{name: (rule, random_curves) for name, rule in CURVE_RULES.items()},
}
each_rule = pytest.mark.parametrize(("rule", "evidence"), ALL.values(), ids=list(ALL))


def assert_tight(space: Space, budget: Budget, widths: IntArray) -> None:
    """The widths are allowed and meet the budget, and no group can be widened by a step."""
    assert (widths >= space.min_widths).all()
    assert ((widths % space.divisor == 0) | (widths == space.dense)).all()
    assert budget.holds(space.costs, widths)
    wider = space.wider(widths)
    assert not (budget.holds(space.costs, wider) & (np.diag(wider) > widths)).any()


def summed(each: Sequence[int]) -> Bilinear:
    """So much for each channel of each group."""
    groups = len(each)
    none, eye = np.zeros((groups, groups)), np.eye(groups)
    return Bilinear(np.array(each, np.float64), eye, np.zeros(groups), none, np.ones(groups))


def additive(
    dense: Sequence[int], macs: Sequence[int], divisor: int = 1, least: int = 1, parameters: Sequence[int] = ()
) -> Space:
    """A space whose costs are sums over groups: ``macs`` and ``parameters`` for each channel."""
    terms = summed(macs)
    costs = Costs(terms, summed(parameters or macs), Peak(terms, np.ones((len(dense), 1))), (), ())
    return Space(costs, np.array(dense), np.full(len(dense), least), divisor)


def convex(random: np.random.Generator, width: int) -> FloatArray:
    """A falling convex curve with error 0 at ``width``."""
    return np.append(np.cumsum(np.sort(random.random(width)))[::-1], 0.0)


def error(curves: Sequence[FloatArray], widths: Sequence[int] | IntArray) -> float:
    return float(sum(curve[width] for curve, width in zip(curves, widths, strict=True)))


def least_error(space: Space, budget: Budget, curves: Sequence[FloatArray]) -> float:
    """Of all allowed widths that meet the budget."""
    ranges = [range(least, dense + 1) for least, dense in zip(space.min_widths, space.dense, strict=True)]
    every = np.array(list(product(*ranges)))
    every = every[((every % space.divisor == 0) | (every == space.dense)).all(1)]
    return min(error(curves, widths) for widths in every[budget.holds(space.costs, every)])


@each_rule
@pytest.mark.parametrize("divisor", [1, 4, 8])
@given(share=st.floats(0, 1), seed=st.integers(0, 1000))
def test_a_rule_meets_any_budget_to_the_last_channel(
    rule: AllocationRule, evidence: Callable[[Supernet, int], Scores], divisor: int, share: float, seed: int
) -> None:
    net = NETS[divisor]
    least, dense = int(net.space.costs.macs(net.space.min_widths)), net.macs(net.dense)
    budget = Budget(int(least + share * (dense - least)))
    assert_tight(net.space, budget, rule(net.space, budget, evidence(net, seed)))


def constant(width: int) -> FloatArray:
    return np.full(width, 0.1)


def nearly_constant(width: int) -> FloatArray:
    return 1 + np.arange(width) * np.finfo(np.float64).eps


def nothing(width: int) -> FloatArray:
    return np.zeros(width)


@each_rule
@pytest.mark.parametrize("values", [constant, nearly_constant, nothing])
@pytest.mark.parametrize("budget", ["30%", "50%", "99.9%", "100%"])
def test_evidence_that_says_nothing_still_gives_widths(
    rule: AllocationRule, evidence: Callable[[Supernet, int], Scores], values: Callable[[int], FloatArray], budget: str
) -> None:
    net, more = NETS[1], int(evidence is random_curves)
    limit = net.budget(budget)
    assert_tight(net.space, limit, rule(net.space, limit, [values(width + more) for width in WIDTHS]))


@each_rule
def test_the_dense_cost_as_a_budget_keeps_everything(
    rule: AllocationRule, evidence: Callable[[Supernet, int], Scores]
) -> None:
    net = NETS[1]
    assert rule(net.space, net.budget("100%"), evidence(net, 0)).tolist() == list(WIDTHS)


@each_rule
def test_a_budget_below_the_least_widths_is_refused_with_one_that_can_be_met(
    rule: AllocationRule, evidence: Callable[[Supernet, int], Scores]
) -> None:
    with pytest.raises(SecateurError, match=r"least widths still cost .* pass --flops"):
        rule(NETS[1].space, Budget(100), evidence(NETS[1], 0))


@pytest.mark.parametrize("budget", ["20%", "50%", "80%"])
def test_uniform_keeps_the_same_share_of_every_group(budget: str) -> None:
    net = plain((160, 240, 120, 200))
    shares = uniform(net.space, net.budget(budget), []) / net.space.dense
    assert shares.max() - shares.min() <= 2 / 120  # one channel of rounding and one of filling


def test_uniform_does_not_look_at_scores() -> None:
    net, budget = NETS[1], NETS[1].budget("50%")
    assert uniform(net.space, budget, random_scores(net, 1)).tolist() == uniform(net.space, budget, []).tolist()


@given(st.integers(0, 1000), st.floats(0.1, 1))
def test_threshold_keeps_every_channel_above_the_lowest_threshold_that_fits(seed: int, share: float) -> None:
    net, space = NETS[1], NETS[1].space
    scores = random_scores(net, seed)
    budget = Budget(int(share * net.macs(net.dense)))
    normalised = [score / score.mean() for score in scores]
    for level in sorted(np.concatenate(normalised)):  # ascending: the first that fits is the lowest
        above = np.maximum([int((score >= level).sum()) for score in normalised], space.min_widths)
        if budget.holds(space.costs, above):
            assert (threshold(space, budget, scores) >= above).all()
            return
    assert share < 0.2  # only the least widths are left


def test_threshold_narrows_the_group_whose_channels_score_unevenly() -> None:
    """Half of the first group's channels are next to nothing: they go first, and the others stay."""
    net = plain((16, 16, 16, 16))
    uneven = np.array([1.0] * 8 + [1e-3] * 8)
    scores = [uneven, *[np.ones(16) + np.arange(16) / 100] * 3]
    halved = int(net.space.costs.macs(np.array([8, 16, 16, 16])))
    assert threshold(net.space, Budget(halved), scores).tolist() == [8, 16, 16, 16]
    assert threshold(net.space, Budget(halved), [1e6 * uneven, *scores[1:]]).tolist() == [8, 16, 16, 16]


@given(st.integers(0, 1000), st.integers(20, 300))
def test_error_per_mac_finds_the_least_error_where_all_channels_cost_the_same(seed: int, macs: int) -> None:
    space, random = additive((12, 18), (10, 10)), np.random.default_rng(seed)
    curves = [convex(random, width) for width in space.dense]
    found = error_per_mac(space, Budget(macs), curves)
    assert error(curves, found) == pytest.approx(least_error(space, Budget(macs), curves), abs=1e-12)


@given(st.integers(0, 1000), st.integers(60, 384))
def test_error_per_mac_finds_the_least_error_at_what_it_costs(seed: int, macs: int) -> None:
    """Before the room that is left is filled, which a budget of just that cost leaves none of."""
    space, random = additive((12, 18), (20, 8)), np.random.default_rng(seed)
    curves = [convex(random, width) for width in space.dense]
    widths = space.dense
    while int(space.costs.macs(widths)) > macs:
        prices = [
            (curve[w - 1] - curve[w]) / c if w > 1 else np.inf
            for curve, w, c in zip(curves, widths, (20, 8), strict=True)
        ]
        widths = widths - np.eye(2, dtype=np.int64)[int(np.argmin(prices))]
    exact = Budget(int(space.costs.macs(widths)))
    found = error_per_mac(space, exact, curves)
    assert found.tolist() == widths.tolist()
    assert error(curves, found) == pytest.approx(least_error(space, exact, curves), abs=1e-12)


@pytest.mark.parametrize("rule", CURVE_RULES.values(), ids=list(CURVE_RULES))
@given(seed=st.integers(0, 1000))
def test_groups_of_one_curve_and_one_cost_stay_of_one_width(rule: AllocationRule, seed: int) -> None:
    space = additive((20, 20, 20), (7, 7, 7))
    curve = convex(np.random.default_rng(seed), 20)
    found = rule(space, Budget(7 * 31), [curve] * 3)
    assert sorted(found) == [10, 10, 11]


def test_error_per_mac_sees_past_a_step_that_pays_only_later() -> None:
    """The first group's next channel costs 5 and the five after it nothing; the second's cost 2 each."""
    space = additive((12, 12), (1, 1))
    plateau = np.array([9.0, 9, 9, 9, 9, 9, 5, 5, 5, 5, 5, 5, 0])
    even: FloatArray = 2.0 * np.arange(12.0, -1, -1)
    assert error_per_mac(space, Budget(18), [plateau, even]).tolist() == [6, 12]


def test_error_per_mac_prefers_what_costs_more_at_equal_error() -> None:
    space = additive((10, 10), (1, 5))
    same = np.arange(10.0, -1, -1)
    assert error_per_mac(space, Budget(40), [same, same]).tolist() == [10, 6]


def test_error_per_mac_saves_what_the_budget_limits() -> None:
    space = additive((10, 10), (1, 5), parameters=(5, 1))
    same = np.arange(10.0, -1, -1)
    assert error_per_mac(space, Budget(parameters=40), [same, same]).tolist() == [6, 10]
    assert error_per_mac(space, Budget(macs=45, parameters=50), [same, same]).tolist() == [8, 7]


@given(st.integers(0, 1000), st.floats(0.2, 1))
def test_error_per_mac_prices_every_step_by_the_present_widths_of_the_neighbours(seed: int, share: float) -> None:
    net, space, random = NETS[1], NETS[1].space, np.random.default_rng(seed)
    curves = [convex(random, width) for width in WIDTHS]
    widths, macs = space.dense, int(space.costs.macs(space.dense))
    while macs > share * net.macs(net.dense):
        steps = [w for w in widths - np.eye(4, dtype=np.int64) if (w >= space.min_widths).all()]
        widths = min(steps, key=lambda w: (error(curves, w) - error(curves, widths)) / (macs - space.costs.macs(w)))
        macs = int(space.costs.macs(widths))
    assert error_per_mac(space, Budget(macs), curves).tolist() == widths.tolist()


@pytest.mark.parametrize("divisor", [1, 4])
def test_widths_narrow_in_every_group_as_the_budget_falls(divisor: int) -> None:
    space, random = additive((16, 32, 24), (3, 3, 3), divisor, least=4), np.random.default_rng(0)
    curves = [convex(random, width) for width in space.dense]
    rows = [error_per_mac(space, Budget(3 * 4 * quarters), curves) for quarters in range(18, 2, -1)]
    assert all((narrow <= wide).all() for wide, narrow in pairwise(rows))


def test_a_common_degradation_narrows_each_group_to_the_same_error() -> None:
    """Nine channels have to go: six at 1 each and three at 2 each both add an error of 6."""
    space = additive((12, 12), (1, 1))
    curves = [scale * np.arange(12.0, -1, -1) for scale in (1, 2)]
    assert common_degradation(space, Budget(15), curves).tolist() == [6, 9]


def test_a_common_degradation_counts_from_each_groups_own_dense_error() -> None:
    space = additive((12, 12), (1, 1))
    curves = [7 + np.arange(12.0, -1, -1), 2 * np.arange(12.0, -1, -1)]
    assert common_degradation(space, Budget(15), curves).tolist() == [6, 9]


@pytest.mark.parametrize("rule", CURVE_RULES.values(), ids=list(CURVE_RULES))
def test_a_bump_in_a_curve_is_flattened(rule: AllocationRule) -> None:
    """An error that a narrower group does not have is noise."""
    space = additive((12, 12), (1, 1))
    smooth = [np.arange(12.0, -1, -1) ** 2, 2 * np.arange(12.0, -1, -1) ** 2]
    bumped = [np.where(np.arange(13) == 11, 50.0, smooth[0]), smooth[1]]
    flat = [np.minimum.accumulate(bumped[0]), smooth[1]]
    for macs in range(4, 24):
        assert rule(space, Budget(macs), bumped).tolist() == rule(space, Budget(macs), flat).tolist()


@pytest.mark.parametrize("rule", CURVE_RULES.values(), ids=list(CURVE_RULES))
def test_what_lies_below_the_least_widths_has_no_say(rule: AllocationRule) -> None:
    space = additive((12, 12), (1, 1), least=4)
    curve = np.arange(12.0, -1, -1) ** 2
    other = np.where(np.arange(13) < 4, -100.0, curve)
    assert rule(space, Budget(15), [other, 2 * curve]).tolist() == rule(space, Budget(15), [curve, 2 * curve]).tolist()


def test_wide_groups_lose_several_channels_a_step_and_still_fill_the_budget() -> None:
    space, random = additive((1000, 700), (3, 5)), np.random.default_rng(0)
    curves = [convex(random, width) for width in space.dense]
    assert_tight(space, Budget(2001), error_per_mac(space, Budget(2001), curves))
