from typing import Any

import pytest
from torch import nn

from secateur.models.tracing.held_numbers import HeldNumbers, held_numbers


def holding(**attributes: Any) -> nn.Module:
    class Own(nn.Module):
        pass

    module = Own()
    for name, value in attributes.items():
        setattr(module, name, value)
    return module


def test_whole_numbers_and_lists_of_them_may_be_widths() -> None:
    module = holding(width=8, sizes=[4, 4], shape=(8, 1, 1), name="8", share=0.5, flag=True, mixed=[4, "a"], empty=[])
    assert dict(held_numbers(module)) == {"width": 8, "sizes": [4, 4], "shape": (8, 1, 1)}


@pytest.mark.parametrize("name", ["kernel_size", "num_heads", "_private", "i", "depth"])
def test_names_that_say_otherwise_are_believed(name: str) -> None:
    assert dict(held_numbers(holding(**{name: 8}))) == {}


def test_layers_of_torch_keep_their_own_attributes() -> None:
    assert dict(held_numbers(nn.Conv2d(8, 8, 3))) == {}

    class Own(nn.Conv2d):
        pass

    module: Any = Own(8, 4, 3)
    module.width = 4
    assert dict(held_numbers(module)) == {"width": 4}


@pytest.mark.parametrize(("sizes", "held"), [([4, 2], True), ([2, 4], False), ([8, 8], True), ([8, 4], False)])
def test_sizes_are_held_in_one_list_or_each_by_itself(sizes: list[int], held: bool) -> None:
    model = nn.Sequential(holding(sizes=(4, 2)), holding(width=8))
    assert HeldNumbers(model).have(sizes) is held
