"""The arguments of forward as plain values, so that architecture.json says how to call the network.

A tensor is ``{"tensor": shape}``; lists, tuples and dictionaries are ``{"list": [...]}``, ``{"tuple": [...]}`` and
``{"dict": {...}}``; constants are themselves.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_unflatten

from ..structure import Structure
from ..tracing.layout import CONSTANTS, TENSOR, Example

DEEPEST = 32  # that arguments are nested
DTYPES = {
    str(each).removeprefix("torch."): each
    for each in (
        torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64, torch.complex128,
        torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.bool,
    )
}  # fmt: skip


def plain_arguments(net: Structure) -> Any | None:
    """The arguments and keywords of a network whose inputs are not tensors one after the other; None for others.

    None, too, where they hold anything that has no plain values.
    """
    if net.layout.spec is None:
        return None
    left = iter(net.examples)
    leaves = [next(left) if leaf is TENSOR else leaf for leaf in net.layout.leaves]
    try:
        return _plain(tree_unflatten(leaves, net.layout.spec))
    except TypeError:
        return None


def plain_dtypes(net: Structure) -> list[str] | None:
    """The types of the inputs, by torch's names; None where all are float32."""
    found = [str(example.dtype).removeprefix("torch.") for example in net.examples]
    return None if {*found} <= {"float32"} else found


def shapes_in(arguments: Any, depth: int = 0) -> Iterator[list[int]]:
    """The shapes of all tensors, in order. Raises ValueError where these are no plain arguments."""
    kind, value = _kind_of(arguments)
    if depth > DEEPEST:
        raise ValueError(f"the arguments are nested more than {DEEPEST} deep")
    if kind == "tensor":
        if not isinstance(value, list) or not all(type(n) is int and n >= 0 for n in value) or len(value) > 8:
            raise ValueError(f"the tensor {value} among the arguments has no shape")
        yield value
    elif kind != "constant":
        for each in value.values() if kind == "dict" else value:
            yield from shapes_in(each, depth + 1)


def example_of(arguments: Any | None, shapes: list[list[int]], dtypes: list[str] | None) -> Example:
    """Zeros to trace a network on: of these ``shapes``, without the batch, or as the ``arguments`` say."""
    types = iter([DTYPES[name] for name in dtypes] if dtypes else [torch.float32] * len(shapes))
    if arguments is None:
        return tuple(torch.zeros(1, *shape, dtype=next(types)) for shape in shapes)
    positional, keywords = _example(arguments, types)
    return keywords or positional  # type: ignore[no-any-return]


def _plain(value: Any) -> Any:
    if isinstance(value, Tensor):
        return {"tensor": list(value.shape)}
    if type(value) in (list, tuple):
        return {type(value).__name__: [_plain(each) for each in value]}
    if type(value) is dict and all(isinstance(key, str) for key in value):
        return {"dict": {key: _plain(each) for key, each in value.items()}}
    if isinstance(value, CONSTANTS):
        return value
    raise TypeError(f"a {type(value).__name__} has no plain values")


def _kind_of(arguments: Any) -> tuple[str, Any]:
    """``tensor``, ``list``, ``tuple``, ``dict`` or ``constant``, and what it holds."""
    if not isinstance(arguments, (dict, list)):
        return "constant", arguments
    holds = {"tensor": list, "list": list, "tuple": list, "dict": dict}
    (kind, *more) = arguments
    if more or kind not in holds or not isinstance(arguments[kind], holds[kind]):
        raise ValueError(f"the arguments hold {str(arguments)[:40]}, which is no tensor, list, tuple or dict")
    return kind, arguments[kind]


def _example(arguments: Any, types: Iterator[torch.dtype]) -> Any:
    kind, value = _kind_of(arguments)
    if kind == "tensor":
        return torch.zeros(*value, dtype=next(types))
    if kind == "dict":
        return {name: _example(each, types) for name, each in value.items()}
    if kind == "constant":
        return value
    made = [_example(each, types) for each in value]
    return tuple(made) if kind == "tuple" else made
