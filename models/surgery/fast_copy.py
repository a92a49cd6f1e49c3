"""Deep copies of networks, quickly."""

import copy
from collections import OrderedDict
from typing import Any

from torch import nn

PLAIN = nn.Identity().__reduce_ex__(4)[0]  # makes an object of its class, to be filled with its state
WHOLE = {bool, bytes, complex, float, int, str, type(None)}
TABLES = {dict, OrderedDict}
HOLDERS = {*TABLES, set}


def copied(model: nn.Module, memo: dict[int, Any]) -> nn.Module:
    """What ``copy.deepcopy(model, memo)`` returns, several times as fast: modules hold a dozen empty tables each.

    ``memo``: id → what to take for the copy of that object. A module that says itself how it is copied is asked.
    """
    states: list[tuple[Any, dict[str, Any]]] = []
    for module in model.modules():
        asked = id(module) in memo or hasattr(type(module), "__deepcopy__")
        how: Any = () if asked else module.__reduce_ex__(4)
        if len(how) > 2 and how[0] is PLAIN and isinstance(how[2], dict) and not any(how[3:]):
            memo[id(module)] = PLAIN(*how[1])
            states.append((memo[id(module)], how[2]))
    for shell, state in states:
        shell.__setstate__({k: each if type(each) in WHOLE else _value(each, memo) for k, each in state.items()})
    return copy.deepcopy(model, memo)


def _value(value: Any, memo: dict[int, Any]) -> Any:
    """A copy of an attribute."""
    kind = type(value)
    if kind in WHOLE or (kind is tuple and all(type(each) in WHOLE for each in value)):
        return value
    if id(value) in memo:
        return memo[id(value)]
    if kind in HOLDERS and not value:
        memo[id(value)] = kind()
        return memo[id(value)]
    if kind not in TABLES:
        return copy.deepcopy(value, memo)
    table = memo[id(value)] = kind()
    for key, each in value.items():
        table[key if type(key) is str else _value(key, memo)] = _value(each, memo)
    return table
