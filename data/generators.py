"""The random generators that a data set and its transforms draw from, beside the global ones."""

import random
from collections.abc import Iterator, Mapping
from functools import partial
from types import FunctionType, MethodType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..models.tracing.reach import parts_of, walk

KINDS = (random.Random, np.random.Generator, np.random.RandomState, torch.Generator)
CLOSED = (type, Tensor, np.ndarray)  # that hold none
MANY = 64  # items of a container beyond which none is looked for in it: lists of files, say
LIBRARIES = ("torch", "torchvision", "numpy", "PIL", "builtins", "collections")


def generators_in(thing: object) -> list[Any]:
    """All generators that it holds: in attributes, containers, and what its functions refer to.

    >>> class Noisy:
    ...     def __init__(self):
    ...         self.transforms = [partial(random.Random(0).gauss, 0.0)]
    >>> [type(each).__name__ for each in generators_in(Noisy())]
    ['Random']
    """
    return [each for each in walk(thing, _inside) if isinstance(each, KINDS)]


def seed_generators(generators: list[Any], seed: int) -> None:
    """Let all of them draw from this seed on."""
    for each in generators:
        if isinstance(each, np.random.Generator):
            each.bit_generator.state = type(each.bit_generator)(seed).state
        elif isinstance(each, torch.Generator):
            each.manual_seed(seed)
        else:
            each.seed(seed)


def _inside(one: Any) -> Iterator[Any]:
    """What an object refers to."""
    if isinstance(one, (*KINDS, *CLOSED)):
        return
    if isinstance(one, (Mapping, list, tuple, set)):
        yield from (one.values() if isinstance(one, Mapping) else one) if len(one) <= MANY else ()
    elif isinstance(one, FunctionType):
        yield from _referred(one)
    elif isinstance(one, MethodType) or hasattr(one, "__self__"):  # built-in methods, too
        yield from (one.__self__, getattr(one, "__func__", None))
    elif isinstance(one, partial):
        yield from (one.func, *one.args, *one.keywords.values())
    else:
        yield from getattr(one, "__dict__", {}).values()
        own = (kind for kind in type(one).__mro__ if kind.__module__.partition(".")[0] not in LIBRARIES)
        yield from (each for kind in own for each in vars(kind).values() if isinstance(each, FunctionType))


def _referred(function: FunctionType) -> Iterator[Any]:
    """What a function closes over, and the generators of its module that it names."""
    yield from parts_of(function)
    there = function.__globals__
    yield from (there[name] for name in function.__code__.co_names if isinstance(there.get(name), KINDS))
