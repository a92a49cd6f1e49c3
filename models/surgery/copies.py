"""Copies of networks that share nothing with the original: hooks, closures and weak references lead to the copy."""

import copy
import functools
import threading
import types
import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch import Tensor, nn

from ...errors import SecateurError, in_a_line
from ..tracing.reach import contents, is_filled, is_foreign, is_hollow, parts_of, reachable, walk

LOCKS = {type(threading.Lock()): threading.Lock, type(threading.RLock()): threading.RLock}


def copied(model: nn.Module, tensors: Mapping[int, Tensor]) -> nn.Module:
    """A deep copy with ``tensors`` replacing those of these ids; shared ones stay shared.

    What ``copy.deepcopy`` leaves to the original or cannot copy is recreated: functions whose closures refer to the
    network, weak references into it, locks, dictionaries that answer for attributes; results of its parameters as
    constants. Raises SecateurError where something else cannot be copied, a generator for example.
    """
    given = {**_hollow(model), **tensors}
    memo: dict[int, Any] = dict(given)
    try:
        made = copy.deepcopy(model, memo)
    except Exception:  # whatever the attributes raise, and again if it is beyond help
        made, memo = _copied_with_help(model, tensors)
    _Rebinder(memo).visit_all(given.keys())
    return made


def _hollow(model: nn.Module) -> dict[int, Any]:
    """Copies of the dictionaries and sets of all modules that are empty, by id: deepcopy takes long over the many."""
    held = (x for module in model.modules() for x in vars(module).values())
    return {id(x): type(x)() for x in held if is_hollow(x)}


def _copied_with_help(model: nn.Module, tensors: Mapping[int, Tensor]) -> tuple[nn.Module, dict[int, Any]]:
    memo: dict[int, Any] = dict(tensors)
    try:
        found = list(reachable(model))
        for x in found:
            _help(x, memo)
        for x in filter(_answers_for_attributes, found):
            _fill(memo[id(x)], x, memo)
        return copy.deepcopy(model, memo), memo
    except Exception as error:
        where, what = _uncopyable(model, tensors)
        raise SecateurError(
            f"the network can't be copied: {where} is a {type(what).__name__} ({in_a_line(error)}); delete it before "
            "pruning, or make it in forward"
        ) from error


def _help(x: Any, memo: dict[int, Any]) -> None:
    """Put a copy of an object that deepcopy refuses into its memo."""
    if id(x) in memo:
        return
    if type(x) in LOCKS:
        memo[id(x)] = LOCKS[type(x)]()
    elif isinstance(x, Tensor) and not x.is_leaf:
        memo[id(x)] = x.detach().clone()
    elif _answers_for_attributes(x):
        kind: Any = type(x)
        memo[id(x)] = kind.__new__(kind)  # to be filled when all others are known


def _fill(made: Any, x: Any, memo: dict[int, Any]) -> None:
    """Copy the contents of a dictionary or object into an empty one."""
    if isinstance(x, dict):
        dict.update(made, ((key, copy.deepcopy(value, memo)) for key, value in dict.items(x)))
    if hasattr(x, "__dict__"):
        vars(made).update(copy.deepcopy(vars(x), memo))


def _answers_for_attributes(x: object) -> bool:
    """Whether a class computes attributes, so that it may answer deepcopy's questions wrongly."""
    kind = type(x)
    return not is_foreign(kind) and not isinstance(x, nn.Module) and hasattr(kind, "__getattr__")


def _uncopyable(model: nn.Module, tensors: Mapping[int, Tensor]) -> tuple[str, object]:
    """The first attribute that can't be copied, by name."""
    known: dict[int, Any] = {**{id(each): each for each in model.modules()}, **tensors}
    for path, module in model.named_modules():
        for name, value in vars(module).items():
            memo = dict(known)
            try:
                copy.deepcopy(value, memo)
            except Exception:  # whatever it raises
                if type(value) not in LOCKS:
                    return f"{path}.{name}".strip("."), value
    return "it", model


class _Rebinder:
    """Leads functions and weak references in copied objects to the copies; ``memo``: id of an original → its copy."""

    def __init__(self, memo: dict[int, Any]) -> None:
        self.memo = memo
        self._known: dict[int, tuple[Any, Any]] = {}  # the original is held, so that its id stays its own

    def visit_all(self, given: Iterable[int]) -> None:
        """Replace what all copies hold, and the copies made on the way, but for those ``given``, which hold nothing."""
        done = {id(self.memo), *given}  # under its own id deepcopy keeps the originals alive
        while left := self.memo.keys() - done:
            done |= left
            for each in left:
                self._visit(self.memo[each])

    def _visit(self, made: Any) -> None:
        if isinstance(made, list):
            for at, value in enumerate(made):
                made[at] = self._led(value)
        elif isinstance(made, dict) or (hasattr(made, "__dict__") and not isinstance(made, (Tensor, type))):
            held = made if isinstance(made, dict) else vars(made)
            if LEADS.keys().isdisjoint(map(type, dict.values(held))):
                return
            for key, value in list(dict.items(held)):
                if (new := self._led(value)) is not value:
                    dict.__setitem__(held, key, new)

    def _led(self, x: Any) -> Any:
        """``x`` itself, or one like it that leads to the copies."""
        lead = LEADS.get(type(x))
        if lead is None:
            return x
        if id(x) not in self._known:
            self._known[id(x)] = (x, x)  # for a function that names itself
            self._known[id(x)] = (x, lead(self, x))
        return self._known[id(x)][1]

    def _named(self, x: Any) -> Any:
        """What stands for a value that a function names: its copy; of what lies outside only if it leads inside."""
        if id(x) in self.memo:
            return self.memo[id(x)]
        if type(x) in LEADS:
            return self._led(x)
        inside = any(id(each) in self.memo for each in walk(x, contents))
        return copy.deepcopy(x, self.memo) if inside else x

    def _function(self, x: types.FunctionType) -> types.FunctionType:
        new = [self._named(each) for each in parts_of(x)]
        if is_foreign(x) or all(one is other for one, other in zip(new, parts_of(x), strict=True)):
            return x
        left = iter(new)
        closure = tuple(_cell(cell, next(left)) if is_filled(cell) else cell for cell in x.__closure__ or ())
        defaults = tuple(next(left) for _ in x.__defaults__ or ())
        made = types.FunctionType(x.__code__, x.__globals__, x.__name__, defaults or None, closure or None)
        made.__kwdefaults__ = {name: next(left) for name in x.__kwdefaults__ or {}} or None
        made.__dict__.update(vars(x))
        return made

    def _method(self, x: types.MethodType) -> types.MethodType:
        return types.MethodType(self._led(x.__func__), self._named(x.__self__))

    def _partial(self, x: functools.partial[Any]) -> functools.partial[Any]:
        keywords = {name: self._named(value) for name, value in x.keywords.items()}
        return functools.partial(self._led(x.func), *map(self._named, x.args), **keywords)

    def _weak(self, x: Any) -> Any:
        return weakref.ref(self.memo[id(x())]) if id(x()) in self.memo else x

    def _tuple(self, x: tuple[Any, ...]) -> tuple[Any, ...]:
        new = tuple(map(self._led, x))
        return x if all(one is other for one, other in zip(new, x, strict=True)) else new


def _cell(cell: types.CellType, content: object) -> types.CellType:
    """The cell itself where its content stays, so that the functions that share it go on doing so."""
    return cell if cell.cell_contents is content else types.CellType(content)


LEADS: dict[type, Callable[[_Rebinder, Any], Any]] = {
    types.FunctionType: _Rebinder._function,
    types.MethodType: _Rebinder._method,
    functools.partial: _Rebinder._partial,
    weakref.ref: _Rebinder._weak,
    tuple: _Rebinder._tuple,
}
