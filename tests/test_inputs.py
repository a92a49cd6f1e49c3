"""What networks are called with."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from secateur.models.inputs import call, flattened, moved, repeated, tensors
from secateur.models.split import Batch


class Sum(nn.Module):
    def forward(self, one: Tensor, other: Tensor) -> Tensor:
        return one + 2 * other


ONE, TWO = torch.ones(3), torch.full((3,), 2.0)


@pytest.mark.parametrize("inputs", [(ONE, TWO), [ONE, TWO], {"other": TWO, "one": ONE}])
def test_tuples_fill_positions_and_dictionaries_names(inputs: Any) -> None:
    assert call(Sum(), inputs).tolist() == [5.0] * 3


def test_a_dictionary_or_list_that_forward_has_no_parameters_for_is_its_one_argument() -> None:
    class Keyed(nn.Module):
        def forward(self, batch: dict[str, Tensor]) -> Tensor:
            return batch["one"] + 2 * batch["other"]

    class Listed(nn.Module):
        def forward(self, parts: list[Tensor]) -> Tensor:
            return parts[0] + 2 * parts[1]

    assert call(Keyed(), {"other": TWO, "one": ONE}).tolist() == [5.0] * 3
    assert call(nn.DataParallel(Keyed(), device_ids=[]), {"other": TWO, "one": ONE}).tolist() == [5.0] * 3
    assert call(Listed(), [ONE, TWO]).tolist() == [5.0] * 3


def test_a_tensor_is_the_one_argument() -> None:
    assert call(nn.Identity(), ONE) is ONE


def test_what_is_no_tensor_stays_as_it_is() -> None:
    batch = moved(Batch((ONE, None), {"name": "a"}, torch.arange(3)), torch.device("meta"))
    assert isinstance(batch, Batch)
    assert batch.images[0].is_meta
    assert (batch.images[1], batch.labels) == (None, {"name": "a"})


def test_views_and_samples_become_one_dimension_and_repeats_follow_each_other() -> None:
    rows = torch.arange(6).view(2, 3)
    assert flattened({"x": rows})["x"].tolist() == [0, 1, 2, 3, 4, 5]
    assert repeated((rows,), 2)[0].tolist() == [[0, 1, 2], [3, 4, 5]] * 2
    assert [len(x) for x in tensors({"a": [ONE], "b": (rows, 3)})] == [3, 2]
