from functools import cache
from math import inf

import numpy as np
import pytest
import torch

from secateur.errors import SecateurError
from secateur.models.costs.budget import Budget
from secateur.models.costs.widths import Space
from secateur.models.supernet import Supernet
from secateur.models.tracing.atoms import FloatArray, IntArray
from secateur.models.zoo.resnet import resnet20


@cache
def space() -> Space:
    with torch.device("meta"):
        model = resnet20()
    return Supernet.of(model, torch.zeros(1, 3, 32, 32), check=False).space


class Times:
    """A network that takes a millisecond a channel."""

    def layers(self, widths: IntArray, /) -> FloatArray:
        return np.asarray(widths, np.float64) * np.float64(1e-3)

    def __call__(self, widths: IntArray, /) -> FloatArray:
        return np.asarray(self.layers(widths).sum(-1))


def test_holds_is_batched_and_includes_equality() -> None:
    where = space()
    exact = int(where.costs.macs(where.dense))
    widths = np.stack([where.dense, where.min_widths])
    assert Budget(exact).holds(where.costs, widths).tolist() == [True, True]
    assert Budget(exact - 1).holds(where.costs, widths).tolist() == [False, True]


def test_several_limits_all_hold() -> None:
    where = space()
    macs, parameters = (int(form(where.dense)) for form in (where.costs.macs, where.costs.parameters))
    for budget, met in (
        (Budget(macs, parameters), True),
        (Budget(macs - 1, parameters), False),
        (Budget(macs, parameters - 1), False),
    ):
        assert bool(budget.holds(where.costs, where.dense)) is met


def test_a_budget_knows_its_limits_by_name_and_says_them() -> None:
    budget = Budget(20, memory=1000)
    assert budget.limits == {"macs": 20, "memory": 1000}
    assert budget.parameters == inf
    assert str(budget) == "20 MACs, 1000 bytes"


def test_budgets_of_the_same_limits_are_equal() -> None:
    assert Budget(latency=0.1, timed=Times()) == Budget(latency=0.1, timed=Times())
    assert Budget(20) != Budget(20, parameters=20)


def test_a_budget_of_nothing_and_a_latency_without_times_are_refused() -> None:
    with pytest.raises(SecateurError, match="limits nothing; pass"):
        Budget()
    with pytest.raises(SecateurError, match=r"latency=0\.1 has no table"):
        Budget(latency=0.1)


def test_a_budget_moves_with_all_its_limits() -> None:
    half, dense = Budget(2001, 400, latency=0.5, timed=Times()), Budget(4002, 1000, latency=1.0, timed=Times())
    assert half.scaled(0.5) == Budget(1000, 200, latency=0.25, timed=Times())
    assert half.between(dense, 1) == dense
    assert half.between(dense, 0) == half
    assert half.between(dense, 0.5) == Budget(3001, 700, latency=0.75, timed=Times())


def test_a_budget_shows_its_limits_alone() -> None:
    assert repr(Budget(20, memory=1000)) == "Budget(macs=20, memory=1000)"
