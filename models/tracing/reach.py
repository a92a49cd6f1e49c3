"""Everything that a network refers to: what its modules hold, and what the functions among it name."""

import argparse
import functools
import sys
import types
import weakref
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

R = TypeVar("R")

ATOMIC = (type(None), bool, int, float, complex, str, bytes, torch.dtype, torch.device, torch.Size, types.ModuleType)
FOREIGN = {*sys.stdlib_module_names, "torch", "numpy"} - {"__main__"}  # what these define holds no state of a network
PLAIN = (nn.Module, types.SimpleNamespace, argparse.Namespace)  # but these do
HOLLOW = (dict, OrderedDict, set)
CACHE = type(functools.lru_cache(len))


def by_kind(function: Callable[[type], R]) -> Callable[[type], R]:
    """The function of a type, which keeps its answers."""
    return functools.lru_cache(maxsize=4096)(function)


def reachable(root: object) -> Iterator[object]:
    """Everything that ``root`` refers to, itself first: what it holds, and what the functions among it name."""
    return walk(root, _held_and_named)


def walk(root: object, step: Callable[[Any], Iterable[Any]]) -> Iterator[object]:
    """``root`` and all that ``step`` leads to from it, each object once; plain values are left out."""
    seen, left = set[int](), [] if is_atomic(type(root)) else [root]
    while left:
        x = left.pop()
        if id(x) not in seen:
            seen.add(id(x))
            yield x
            if not is_hollow(x):
                left += [each for each in step(x) if not is_atomic(type(each))]


def is_hollow(x: Any) -> bool:
    """Whether this is an empty dictionary or set, as most of a module's are: there is nothing behind it."""
    return not x if type(x) in HOLLOW else False


def contents(x: Any) -> Iterable[Any]:
    """What an object holds, one step on: elements, attributes, the parts of methods and partial functions."""
    return _holds(type(x))(x)


@by_kind
def is_atomic(kind: type) -> bool:
    """Whether objects of this kind are plain values."""
    return issubclass(kind, ATOMIC)


@by_kind
def _holds(kind: type) -> Callable[[Any], Iterable[Any]]:
    """What lists the contents of an object of this kind."""
    if issubclass(kind, (Tensor, np.ndarray, type, types.FunctionType)):
        return _nothing
    found = [parts for kinds, parts in ELEMENTS.items() if issubclass(kind, kinds)]
    if issubclass(kind, PLAIN) or not is_foreign(kind):
        found += [lambda x: (vars(x),)] if kind.__dictoffset__ else []
        found += [lambda x: [each for _, each in slots_of(x)]] if slots_in(kind) else []
    if len(found) > 1:
        return lambda x: [each for parts in found for each in parts(x)]
    return found[0] if found else _nothing


def _nothing(_x: Any) -> Iterable[Any]:
    return ()


ELEMENTS: dict[Any, Callable[[Any], Iterable[Any]]] = {
    dict: dict.values,
    (list, tuple, set, frozenset, deque): iter,
    types.MethodType: lambda x: (x.__self__, x.__func__),
    functools.partial: lambda x: (x.func, x.args, x.keywords),
    weakref.ref: lambda x: (x(),),
}


def _held_and_named(x: Any) -> Iterable[Any]:
    """The contents of an object, and what its code names: closures, defaults and globals of functions; its classes."""
    names = _names(type(x))
    return contents(x) if names is _nothing else [*contents(x), *names(x)]


@by_kind
def _names(kind: type) -> Callable[[Any], Iterable[Any]]:
    """What lists the objects that the code of an object of this kind names."""
    found = next((names for kinds, names in NAMES.items() if issubclass(kind, kinds)), None)
    own = [] if is_foreign(kind) else [each for each in kind.__mro__ if not is_foreign(each)]
    return found or ((lambda _x: own) if own else _nothing)


NAMES: dict[Any, Callable[[Any], Iterable[Any]]] = {
    types.FunctionType: lambda x: [] if is_foreign(x) else [vars(x), *parts_of(x), *globals_of(x).values()],
    type: lambda x: [] if is_foreign(x) else [*vars(x).values()],
    (CACHE, staticmethod, classmethod): lambda x: [x.__wrapped__],
    property: lambda x: [x.fget],
}


def parts_of(function: types.FunctionType) -> list[Any]:
    """What a function's closure and defaults hold."""
    cells = [cell.cell_contents for cell in function.__closure__ or () if is_filled(cell)]
    return [*cells, *(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]


def is_filled(cell: types.CellType) -> bool:
    """Whether a closure's variable has been assigned."""
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return False
    return True


@functools.lru_cache(maxsize=1024)
def _in_foreign(module: object) -> bool:
    return str(module).partition(".")[0] in FOREIGN


def is_foreign(x: Any) -> bool:
    """Whether torch, numpy or the standard library define this class or function."""
    return _in_foreign(getattr(x, "__module__", None))


def globals_of(function: types.FunctionType) -> dict[str, Any]:
    """The globals that a function names, and functions inside it."""
    names, left = set[str](), [function.__code__]
    while left:
        code = left.pop()
        names.update(code.co_names)
        left += (each for each in code.co_consts if isinstance(each, types.CodeType))
    known = {name: function.__globals__[name] for name in names & function.__globals__.keys()}
    return {name: x for name, x in known.items() if not isinstance(x, (types.ModuleType, type))}


def slots_of(x: object) -> list[tuple[str, Any]]:
    """The attributes of an object that lie in slots."""
    return [(name, getattr(x, name)) for name in slots_in(type(x)) if hasattr(x, name)]


@by_kind
def slots_in(kind: type) -> tuple[str, ...]:
    """The names of the slots that objects of this kind have."""
    names = [name for each in kind.__mro__ for name in _listed(vars(each).get("__slots__", ()))]
    return tuple(name for name in names if name not in ("__dict__", "__weakref__"))


def _listed(slots: Any) -> tuple[str, ...]:
    return (slots,) if isinstance(slots, str) else tuple(slots)
