"""Which of the tensors in a checkpoint are the network's."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from secateur.errors import SecateurError
from secateur.models.zoo.state_dict import state_dict_in

NAMES = {"stem.weight", "stem.bias", "head.0.weight"}


def state(value: float = 0, prefix: str = "") -> dict[str, Tensor]:
    return {prefix + name: torch.full((2,), value) for name in NAMES}


def taken(stored: object, key: str | None = None) -> float:
    """The number in the tensors that were taken; all names must be there."""
    found = state_dict_in(stored, NAMES, key)
    assert found is not None
    assert {*found.values} >= NAMES
    (number,) = {float(value[0]) for name, value in found.values.items() if name in NAMES}  # type: ignore[index]
    return number


words = st.text("abxyz_", min_size=1, max_size=5)


@given(st.lists(words, max_size=3), st.lists(words, max_size=3))
def test_any_keys_on_the_way_and_any_prefix_are_found(keys: list[str], prefix: list[str]) -> None:
    stored: Any = state(1, "".join(f"{part}." for part in prefix))
    for key in reversed(keys):
        stored = {key: stored, "epoch": 3, "optimizer": {"state": {0: {"exp_avg": torch.zeros(1)}}}}
    assert taken(stored) == 1


@pytest.mark.parametrize("average", ["ema", "state_dict_ema", "params_ema", "model_ema", "swa_model"])
def test_a_moving_average_is_taken_where_it_is_named_or_alone(average: str) -> None:
    both = {average: state(2), "state_dict": state(1)}
    assert taken(both) == 1
    assert taken(both, average) == 2
    assert taken({average: state(2)}) == 2


def test_a_name_that_only_contains_the_letters_is_no_average() -> None:
    assert taken({"schema": state(1), "ema": state(2)}) == 1


def test_of_a_trainers_file_the_network_in_training_is_taken() -> None:
    assert taken({"model": state(1), "teacher": state(2)}) == 1
    lightning = {**state(1, "model."), **state(2, "teacher."), "loss.weight": torch.ones(3)}
    assert taken({"state_dict": lightning}) == 1


def test_two_networks_that_fit_alike_are_refused_until_one_is_named() -> None:
    both = {"student": state(1), "teacher": state(2)}
    with pytest.raises(SecateurError, match=r"several networks that fit \('student', 'teacher'\); name one: FILE:stud"):
        taken(both)
    assert taken(both, "teacher") == 2
    queries = {**state(1, "module.encoder_q."), **state(2, "module.encoder_k.")}
    with pytest.raises(SecateurError, match="several"):
        taken(queries)
    assert taken(queries, "encoder_k") == 2


def test_a_key_that_is_not_there_is_refused() -> None:
    with pytest.raises(SecateurError, match="no tensors under 'ema'"):
        taken({"model": state(1)}, "ema")


@pytest.mark.parametrize("wrapper", ["module", "_orig_mod", "_fsdp_wrapped_module"])
def test_torchs_wrappers_are_passed_over_inside_a_name_too(wrapper: str) -> None:
    inside = {name.replace(".", f".{wrapper}.", 1): value for name, value in state(1).items()}
    assert taken(inside) == 1


def test_the_closest_is_returned_where_none_has_all_names() -> None:
    less = {name: value for name, value in state(1).items() if "head" not in name}
    found = state_dict_in({"other": {"x": torch.ones(1)}, "net": less}, NAMES)
    assert found is not None
    assert (found.place, found.found) == ("net", 2)


@pytest.mark.parametrize("stored", [torch.zeros(3), [state()], {1: torch.zeros(3)}, {"epoch": 3}, None])
def test_without_tensors_by_name_there_is_none(stored: object) -> None:
    assert state_dict_in(stored, NAMES) is None
