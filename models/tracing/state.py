"""What a forward pass may write: everything that a network holds, put back as it was.

Modules keep more than parameters and buffers: cached grids, membrane potentials, features that a hook stored, helper
objects with tensors of their own. ``untouched`` puts all of it back.
"""

import random
import types
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from operator import is_
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from ...seeds import random_streams
from .modules import named_tensors
from .reach import CACHE, by_kind, globals_of, is_filled, is_foreign, is_hollow, reachable, slots_in, slots_of

Restore: TypeAlias = Callable[[], None]


@contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """``model``, all that it can reach, and the random streams, put back as they were.

    Attributes, dictionaries, lists and plain objects get their contents back in place, tensors and arrays their
    values; so do closures, globals and class attributes that the network's functions name. A function's cache is
    emptied if it has grown. Parameters and buffers keep their identity; their values are for others to guard.
    """
    with Snapshot(model).kept():
        yield


class Snapshot:
    """The state of a network, and of all that it can reach, to come back to any number of times."""

    def __init__(self, model: nn.Module) -> None:
        own = set(map(id, named_tensors(model).values()))
        self._hollow = list[Any]()
        self._restores = list[Restore]()
        for x in reachable(model):
            if is_hollow(x):
                self._hollow.append(x)
            elif id(x) not in own and (restore := _remembered(x)):
                self._restores.append(restore)

    @contextmanager
    def kept(self) -> Iterator[None]:
        """What is done inside is undone afterwards."""
        with random_streams():
            try:
                yield
            finally:
                for each in filter(None, self._hollow):
                    each.clear()
                for restore in self._restores:
                    restore()


def _remembered(x: Any) -> Restore | None:
    """What puts an object's own contents back, for those that have some."""
    remember = _remembering(type(x))
    return remember(x) if remember else None


@by_kind
def _remembering(kind: type) -> Callable[[Any], Restore | None] | None:
    """What remembers the contents of objects of this kind, if they may have some."""
    known = next((remember for kinds, remember in REMEMBER.items() if issubclass(kind, kinds)), None)
    return known or (None if is_foreign(kind) or not slots_in(kind) else _attributes)


def _mapping(x: dict[Any, Any]) -> Restore:
    kind: Any = OrderedDict if isinstance(x, OrderedDict) else dict
    keys, values = list(kind.keys(x)), list(kind.values(x))

    def restore() -> None:
        same = kind.__len__(x) == len(keys)
        if not (same and all(map(is_, kind.keys(x), keys)) and all(map(is_, kind.values(x), values))):
            kind.clear(x)
            for key, value in zip(keys, values, strict=True):
                kind.__setitem__(x, key, value)

    return restore


def _sequence(x: list[Any]) -> Restore:
    before = list(x)
    return lambda: list.__setitem__(x, slice(None), before)


def _collection(x: Any) -> Restore:
    before = list(x)

    def restore() -> None:
        x.clear()
        (x.extend if isinstance(x, deque) else x.update)(before)

    return restore


def _tensor(x: Tensor) -> Restore | None:
    if x.is_meta or x.layout is not torch.strided:
        return None
    data, before = x.data, x.detach().clone()

    def restore() -> None:
        data.copy_(before)
        if x.data.data_ptr() != data.data_ptr() or x.shape != data.shape or x.dtype != data.dtype:
            x.data = data

    return restore


def _array(x: Any) -> Restore | None:
    before = x.copy()
    return (lambda: np.copyto(x, before)) if x.flags.writeable else None


def _function(x: types.FunctionType) -> Restore | None:
    """Its closure and the globals that it names; a cell that was empty is not emptied again."""
    if is_foreign(x):
        return None
    cells = [(cell, cell.cell_contents) for cell in x.__closure__ or () if is_filled(cell)]
    named = globals_of(x)

    def restore() -> None:
        for cell, content in cells:
            if cell.cell_contents is not content:
                cell.cell_contents = content
        for name, value in named.items():
            if x.__globals__.get(name) is not value:
                x.__globals__[name] = value

    return restore


def _class(x: type) -> Restore | None:
    if is_foreign(x):
        return None
    before = dict(vars(x))

    def restore() -> None:
        for name, value in dict(vars(x)).items():
            if name.startswith("__"):
                continue
            if name not in before:
                delattr(x, name)
            elif before[name] is not value:
                setattr(x, name, before[name])

    return restore


def _cache(x: Any) -> Restore:
    misses = x.cache_info().misses
    return lambda: x.cache_clear() if x.cache_info().misses != misses else None


def _attributes(x: object) -> Restore | None:
    """Those in slots; the others lie in a dictionary of their own."""
    before = slots_of(x)

    def restore() -> None:
        for name, value in before:
            object.__setattr__(x, name, value)

    return restore if before else None


def _stream(x: Any) -> Restore:
    if isinstance(x, random.Random):
        ours = x.getstate()
        return lambda: x.setstate(ours)
    before = x.get_state() if isinstance(x, torch.Generator) else x.bit_generator.state

    def restore() -> None:
        if isinstance(x, torch.Generator):
            x.set_state(before)
        else:
            x.bit_generator.state = before

    return restore


REMEMBER: dict[Any, Callable[[Any], Restore | None]] = {
    dict: _mapping,
    list: _sequence,
    (set, deque): _collection,
    Tensor: _tensor,
    np.ndarray: _array,
    types.FunctionType: _function,
    type: _class,
    CACHE: _cache,
    (random.Random, torch.Generator, np.random.Generator): _stream,
}
