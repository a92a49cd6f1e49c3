import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from secateur.models.surgery.check_inputs import check_inputs, nudged


def test_two_images_then_one_then_the_example_itself() -> None:
    example = torch.zeros(1, 3, 8, 8)
    two, one, last = check_inputs([example])
    assert (two[0].shape, one[0].shape) == ((2, 3, 8, 8), (1, 3, 8, 8))
    assert last[0] is example
    assert abs(float(two[0].std()) - 1) < 0.2


@given(low=st.integers(-5, 5), width=st.integers(0, 20))
def test_whole_numbers_stay_within_the_range_of_the_example(low: int, width: int) -> None:
    example = torch.tensor([[low, low + width]])
    for (drawn,) in check_inputs([example]):
        assert drawn.dtype == example.dtype
        assert low <= int(drawn.min()) <= int(drawn.max()) <= low + width


@given(low=st.floats(-5, 5), width=st.floats(0.1, 20))
def test_floating_values_stay_within_the_range_of_the_example(low: float, width: float) -> None:
    example = torch.tensor([[low, low + width]])
    for (drawn,) in check_inputs([example]):
        assert bool((drawn >= example.min()).all())
        assert bool((drawn <= example.max()).all())


def test_an_example_that_varies_is_one_of_the_two() -> None:
    example = torch.rand(1, 3, 8, 8)
    two, *_ = check_inputs([example])
    assert torch.equal(two[0][:1], example)
    assert not torch.equal(two[0][1:], example)


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64, torch.float16, torch.bfloat16, torch.float64])
def test_inputs_have_the_type_of_the_example(dtype: torch.dtype) -> None:
    example = torch.tensor([[0, 1, 1]]).to(dtype)
    assert {x.dtype for (x,) in check_inputs([example])} == {dtype}


def test_what_has_no_batch_of_one_keeps_its_shape() -> None:
    first, *_ = check_inputs([torch.zeros(3, 8, 8), torch.zeros(()), torch.zeros(0, 4)])
    assert [x.shape for x in first] == [(3, 8, 8), (), (0, 4)]


def test_a_nudge_is_small_and_leaves_whole_numbers_alone() -> None:
    images, steps = torch.randn(2, 3, 8, 8), torch.arange(2)
    moved, same = nudged([images, steps], seed=0)
    assert same is steps
    assert 0 < float((moved - images).abs().max()) < 1e-3
    assert not torch.equal(nudged([images], seed=1)[0], moved)
