"""Everything that a network refers to: what its modules hold, and what the functions among it name."""

import argparse
import functools
import sys
import types
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

ATOMIC = (type(None), bool, int, float, complex, str, bytes, torch.dtype, torch.device, torch.Size, types.ModuleType)
FOREIGN = {*sys.stdlib_module_names, "torch", "numpy"} - {"__main__"}  # what these define holds no state of a network
PLAIN = (nn.Module, types.SimpleNamespace, argparse.Namespace)  # but these do
CACHE = type(functools.lru_cache(len))


def reachable(root: object) -> Iterator[object]:
    """Everything that ``root`` refers to, itself first: what it holds, and what the functions among it name."""
    return walk(root, lambda x: [*contents(x), *named_by(x)])


def walk(root: object, step: Callable[[Any], Iterable[Any]]) -> Iterator[object]:
    """``root`` and all that ``step`` leads to from it, each object once; plain values are left out."""
    seen, left = set[int](), [root]
    while left:
        x = left.pop()
        if not isinstance(x, ATOMIC) and id(x) not in seen:
            seen.add(id(x))
            yield x
            left += step(x)


def contents(x: Any) -> list[Any]:
    """What an object holds, one step on: elements, attributes, the parts of methods and partial functions."""
    found: list[Any] = []
    if isinstance(x, (Tensor, np.ndarray, type, types.FunctionType)):
        return found
    if isinstance(x, dict):
        found += dict.values(x)
    elif isinstance(x, (list, tuple, set, frozenset, deque)):
        found += x
    elif isinstance(x, types.MethodType):
        found += (x.__self__, x.__func__)
    elif isinstance(x, functools.partial):
        found += (x.func, x.args, x.keywords)
    elif isinstance(x, weakref.ref):
        found.append(x())
    if isinstance(x, PLAIN) or not is_foreign(type(x)):
        found += (vars(x),) if hasattr(x, "__dict__") else ()
        found += (each for _, each in slots_of(x))
    return found


def named_by(x: Any) -> list[Any]:
    """What the code of an object names: closures, defaults and globals of functions; the class of an object."""
    if isinstance(x, types.FunctionType):
        return [] if is_foreign(x) else [vars(x), *parts_of(x), *globals_of(x).values()]
    if isinstance(x, type):
        return [] if is_foreign(x) else [*vars(x).values()]
    if isinstance(x, (CACHE, staticmethod, classmethod)):
        return [x.__wrapped__]
    if isinstance(x, property):
        return [x.fget]
    kind = type(x)
    return [] if is_foreign(kind) else [each for each in kind.__mro__ if not is_foreign(each)]


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
    names = [name for each in type(x).__mro__ for name in _listed(vars(each).get("__slots__", ()))]
    return [(name, getattr(x, name)) for name in names if name not in ("__dict__", "__weakref__") and hasattr(x, name)]


def _listed(slots: Any) -> tuple[str, ...]:
    return (slots,) if isinstance(slots, str) else tuple(slots)
