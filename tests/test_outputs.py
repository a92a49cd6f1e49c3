"""Outputs of any structure as rows, and back."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils._pytree import tree_flatten

from secateur.errors import SecateurError
from secateur.models.outputs import OutputForm, in_float32

SHAPES = st.lists(st.lists(st.integers(1, 4), max_size=3).map(tuple), min_size=1, max_size=4)


def structured(parts: list[Any], kind: int) -> Any:
    if kind == 0:
        return {"first": parts[0], "others": parts[1:]}
    return tuple(parts) if kind == 1 else [parts[0], (parts[1:], {"stride": 8, "none": None})]


@given(SHAPES, st.integers(0, 2), st.integers(1, 5))
def test_rows_are_the_output_again(shapes: list[tuple[int, ...]], kind: int, samples: int) -> None:
    output = structured([torch.randn(samples, *shape) for shape in shapes], kind)
    form = OutputForm.of(output, samples)
    rows = form.pack(output)
    assert rows.shape == (samples, form.numbers)
    (before, structure), (after, same) = tree_flatten(output), tree_flatten(form.unpack(rows))
    assert structure == same
    for one, other in zip(before, after, strict=True):
        assert torch.equal(one, other) if torch.is_tensor(one) else one == other


def test_logits_are_their_own_rows_and_leading_dimensions_are_merged() -> None:
    logits = torch.randn(4, 3)
    form = OutputForm.of(logits, 4)
    assert form.pack(logits).data_ptr() == logits.data_ptr()
    assert torch.equal(form.unpack(logits.view(2, 2, 3)), logits)


def test_whole_numbers_come_back_whole_and_gradients_go_through() -> None:
    output = {"score": torch.randn(2, 3, requires_grad=True), "class": torch.tensor([4, 5])}
    form = OutputForm.of(output, 2)
    back = form.unpack(form.pack(output))
    assert back["class"].tolist() == [4, 5]
    back["score"].sum().backward()
    assert output["score"].grad is not None


def test_tensors_without_a_part_for_each_sample_are_constants_and_alone_are_refused() -> None:
    grid = torch.arange(3)
    form = OutputForm.of((torch.zeros(2, 1), grid), 2)
    assert form.unpack(torch.ones(5, 1))[1] is grid
    with pytest.raises(SecateurError, match=r"tensors of \[\(3,\)\] for 2 samples, none with a part for each"):
        OutputForm.of(grid, 2)


def test_autocast_numbers_become_float32_alone() -> None:
    found = in_float32({"a": torch.zeros(1, dtype=torch.bfloat16), "b": torch.zeros(1, dtype=torch.int64)})
    assert (found["a"].dtype, found["b"].dtype) == (torch.float32, torch.int64)
