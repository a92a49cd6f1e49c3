import pytest
import torch
from torch import Tensor, nn

from secateur.models.surgery.observed import Observed, ProductRecorder, agree, contradicts, differ

X = torch.linspace(1, 2, 6)


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (X, True),
        (X * (1 + 1e-5), True),
        (X * 1.01, False),
        (X[:5], False),
        (X * torch.nan, False),
    ],
)
def test_outputs_agree_where_they_differ_by_rounding_alone(other: Tensor, same: bool) -> None:
    assert agree([other], [X]) is same


@pytest.mark.parametrize("nothing", [[], [torch.empty(0, 4)], [torch.full((2,), torch.inf)]])
def test_where_nothing_can_be_compared_nothing_agrees(nothing: list[Tensor]) -> None:
    assert not agree(nothing, nothing)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.int64, torch.bool, torch.complex64])
def test_every_type_of_number_is_compared(dtype: torch.dtype) -> None:
    x = torch.tensor([0, 1, 1, 0]).to(dtype)
    assert not differ(x, x)
    assert differ(torch.ones_like(x), x)


def test_tolerance_is_that_of_the_type() -> None:
    assert differ(X * 1.005, X)
    assert not differ(X.half() * 1.005, X.half())


def seen(*outputs: Tensor, products: tuple[Tensor, ...] = ()) -> Observed:
    return Observed(list(outputs), list(products))


def test_an_output_that_a_nudge_changes_is_no_contradiction() -> None:
    assert contradicts(seen(X, X + 1), seen(X, X), [])
    assert not contradicts(seen(X, X + 1), seen(X, X), [seen(X, X + 2)])
    assert not contradicts(seen(X, X[:4]), seen(X, X), [seen(X, X[:5])])


def test_a_shape_or_number_of_outputs_that_no_nudge_changes_counts() -> None:
    assert contradicts(seen(X, X[:4]), seen(X, X), [seen(X, X)])
    assert contradicts(seen(X), seen(X, X), [seen(X, X)])
    assert not contradicts(seen(X), seen(X, X), [seen(X)])


def test_products_count_where_no_output_can_be_compared() -> None:
    empty = torch.empty(0, 4)
    assert not contradicts(seen(empty, products=(X, X[:3])), seen(empty, products=(X, X)), [])
    assert contradicts(seen(empty, products=(X + 1,)), seen(empty, products=(X,)), [])
    assert not contradicts(seen(empty, products=(X + 1,)), seen(empty, products=(X,)), [seen(empty, products=(X + 2,))])


def test_the_recorder_keeps_what_layers_make() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5))
    with torch.no_grad(), ProductRecorder() as recorder:
        model(torch.zeros(2, 3, 8, 8))
    assert [x.shape for x in recorder.products] == [(2, 4, 6, 6), (2, 5)]
