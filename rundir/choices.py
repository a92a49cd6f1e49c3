"""Words that an option takes: the help lists them, and the shell completes them; whoever reads one checks it."""

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias, get_args

from cyclopts import Parameter, Token

Method: TypeAlias = Literal[
    "search", "aligned", "kdft", "ckt", "ckt-kl", "ckt-queue", "kd", "dkd", "crd", "ce", "pdd", "kddp", "blockwise"
]
Optimizer: TypeAlias = Literal["sgd", "adamw"]
Sampler: TypeAlias = Literal["tpe", "cmaes", "gp", "nsga2", "random", "greedy"]
Precision: TypeAlias = Literal["auto", "float32", "bfloat16"]
Device: TypeAlias = Literal["cpu", "cuda"]  # or cuda:1

Weights: TypeAlias = Literal["fresh", "trained"]
Blocks: TypeAlias = Literal["together", "in-turn"]
Cost: TypeAlias = Literal["flops", "params"]
Neurons: TypeAlias = Literal["all", "hidden"]


def words(choice: Any) -> tuple[str, ...]:
    """The words of a choice.

    >>> words(Optimizer)
    ('sgd', 'adamw')
    """
    return get_args(choice)


def _typed(_kind: Any, tokens: Sequence[Token]) -> str:
    """The word as it was typed: an error about it is that of who reads it, with the fix."""
    return tokens[0].value


CHOICE = Parameter(converter=_typed)


def shown_default(value: object) -> object:
    """A default as the help shows it: nothing of a switch that is off, or of a list that is empty."""
    return None if value is False or value == () else value
