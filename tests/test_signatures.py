"""Arguments are compared with annotations: what fits passes, what does not is one line."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol

import numpy as np
import pytest
import torch
from torch import nn

from secateur.errors import SecateurError
from secateur.signatures import checked, fits, require_fields


class Walks(Protocol):
    def walk(self) -> Iterator[int]: ...


class Dog:
    def walk(self) -> Iterator[int]:
        return iter(())


FITTING = [
    (3, int),
    (np.int64(3), int),
    (3, float),
    (np.float32(0.5), float),
    ("a", Path | str),
    (None, int | None),
    ("kd", Literal["kd", "ce"]),
    ("KD", Literal["kd", "ce"]),  # who reads it says which words there are
    (0.5, Annotated[float, "a share"]),
    ((3, 8, 8), tuple[int, int, int]),
    ([3, 8, 8], tuple[int, int, int]),
    (torch.Size([3, 8]), tuple[int, ...]),
    (["a"], Sequence[str]),
    ("layer1.*", Sequence[str]),
    ({"a": 1}, Mapping[str, int]),
    (len, Callable[[Any], int]),
    (nn.ReLU(), nn.Module),
    (nn.ReLU(), Callable[[torch.Tensor], Any]),
    (lambda *names, more=1: 0, Callable[[str, str], int]),
    (Dog(), Walks),
    (object(), Any),
]
OTHERS = [
    ("3", int),
    (True, int),
    (1.5, int),
    ("0.1", float),
    (3, Path | str),
    (None, int),
    (3, Literal["kd", "ce"]),
    ((224, 224), tuple[int, int, int]),
    (["a", 1], Sequence[str]),
    (3, Sequence[str]),
    (["a"], Mapping[str, int]),
    ({"a": "b"}, Mapping[str, int]),
    ("len", Callable[[Any], int]),
    (lambda one: 0, Callable[[str, str], int]),
    (nn.ReLU, nn.Module),
    (nn.ReLU(), Walks),
]


@pytest.mark.parametrize(("value", "hint"), FITTING, ids=[str(n) for n in range(len(FITTING))])
def test_a_value_of_the_type_fits(value: object, hint: Any) -> None:
    assert fits(value, hint)


@pytest.mark.parametrize(("value", "hint"), OTHERS, ids=[str(n) for n in range(len(OTHERS))])
def test_a_value_of_another_type_does_not_fit(value: object, hint: Any) -> None:
    assert not fits(value, hint)


@checked
def train(epochs: int, *folders: Path | str, rate: float = 0.1, written: "int | Later | None" = None) -> str:  # type: ignore[name-defined]  # noqa: F821
    """Train."""
    return f"{epochs} {len(folders)} {rate} {written}"


def test_a_checked_function_does_what_it_did() -> None:
    assert train(2, "a", Path("b"), rate=1, written="x") == "2 2 1 x"  # what only type checkers know is not compared
    assert train.__doc__ == "Train."


MISTAKES: list[tuple[Callable[[], object], str]] = [
    (lambda: train("2"), "epochs='2' is of type str; pass an int"),  # type: ignore[arg-type]
    (lambda: train(2, 3), "folders=3 is of type int; pass a Path or a str"),  # type: ignore[arg-type]
    (lambda: train(2, rate=None), "rate is None; pass a float"),  # type: ignore[arg-type]
    (lambda: train(int), "epochs is the class int, not what int(...) makes; pass an int"),  # type: ignore[arg-type]
    (lambda: train(), "train: missing a required argument: 'epochs'; its arguments are epochs, folders, rate"),  # type: ignore[call-arg]
    (lambda: train(2, rat=0.1), "train: got an unexpected keyword argument 'rat'; its arguments are epochs"),  # type: ignore[call-arg]
]


@pytest.mark.parametrize(("call", "line"), MISTAKES, ids=[line for _, line in MISTAKES])
def test_another_type_is_one_line_that_says_what_to_pass(call: Callable[[], object], line: str) -> None:
    with pytest.raises(SecateurError) as caught:
        call()
    assert str(caught.value).startswith(line.replace("a Path", "a path"))


@dataclass(frozen=True)
class Setting:
    from_: str = "fresh"
    share: float | None = None


def test_fields_of_a_value_are_compared_too() -> None:
    require_fields(Setting(share=1))
    with pytest.raises(SecateurError, match=r"^from=3 is of type int; pass a str$"):
        require_fields(Setting(from_=3))  # type: ignore[arg-type]


def test_what_a_dict_holds_is_said_where_it_is_not_that() -> None:
    @checked
    def apply(rules: Mapping[str, Callable[[int, int], int]] | None = None) -> None:
        """Nothing."""

    wrong: Any = {"add": lambda one: one}
    apply({"add": lambda one, other: one + other})
    with pytest.raises(SecateurError, match="rules is of type dict; pass a dict, each value a function of 2 arguments"):
        apply(wrong)
