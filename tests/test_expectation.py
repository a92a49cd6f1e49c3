from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Bernoulli, Normal

from secateur.models.surgery.expectation import Expectation

X = torch.linspace(0.1, 0.9, 24).view(2, 12)


@pytest.mark.parametrize(
    ("draw", "expected"),
    [
        (lambda x: F.dropout(x, 0.7), X),
        (lambda x: F.dropout1d(x[:, :, None], 0.7)[..., 0], X),
        (torch.bernoulli, X),
        (lambda x: torch.empty_like(x).bernoulli_(0.3), torch.full_like(X, 0.3)),
        (torch.poisson, X),
        (torch.rand_like, torch.full_like(X, 0.5)),
        (torch.randn_like, torch.full_like(X, 0.5)),
        (lambda x: torch.randn(2, 12), torch.full_like(X, 0.5)),
        (lambda x: torch.empty_like(x).normal_(1, 2), torch.full_like(X, 2.0)),
        (lambda x: Normal(x, 2 * x).sample(), 2 * X),  # type: ignore[no-untyped-call]
        (lambda x: Bernoulli(x).sample(), X),  # type: ignore[no-untyped-call]
        (lambda x: torch.randperm(12).float().expand(2, 12), torch.arange(12.0).expand(2, 12)),
    ],
)
def test_a_random_operation_gives_its_mean_or_a_constant(draw: Callable[[Tensor], Tensor], expected: Tensor) -> None:
    with Expectation():  # type: ignore[no-untyped-call]
        assert torch.allclose(draw(X), expected)


def test_whole_numbers_are_drawn_from_their_range() -> None:
    with Expectation():  # type: ignore[no-untyped-call]
        drawn = torch.randint(3, 7, (5,))
    assert bool((drawn == drawn[0]).all())
    assert 3 <= int(drawn[0]) < 7


def test_nothing_but_chance_is_changed() -> None:
    with Expectation():  # type: ignore[no-untyped-call]
        assert torch.equal(X @ X.T + X.sum(), X @ X.T + X.sum())
        assert torch.equal(torch.relu(X), X)
