"""The arguments of forward: where in them the tensors of an example lie."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten

from ...errors import SecateurError
from .modules import own_tensors

Example: TypeAlias = Tensor | Sequence[Any] | Mapping[str, Any]

TENSOR = object()  # stands where a tensor goes
CONSTANTS = (type(None), bool, int, float, str)


@dataclass(frozen=True, eq=False)
class Layout:
    """How tensors become the arguments of forward: one after the other, or as the leaves of nested arguments.

    ``leaves`` are those of ``spec``, a tree of (arguments, keywords), with ``TENSOR`` wherever a tensor goes.
    """

    spec: TreeSpec | None = None
    leaves: tuple[Any, ...] = ()

    def run(self, model: nn.Module, tensors: Sequence[Tensor]) -> Any:
        """What ``model`` returns for these tensors."""
        if self.spec is None:
            return model(*tensors)
        left = iter(tensors)
        arguments, keywords = tree_unflatten([next(left) if x is TENSOR else x for x in self.leaves], self.spec)
        return model(*arguments, **keywords)


POSITIONAL = Layout()


class Reading(NamedTuple):
    """One way to read an example: its tensors, and how they become arguments."""

    tensors: tuple[Tensor, ...]
    layout: Layout


def readings(example: object) -> list[Reading]:
    """The ways to read an example, the likeliest first.

    A tuple holds the arguments; so does a list, or it is the one argument itself; a dictionary holds keywords, or is
    the one argument itself. Tensors that are arguments themselves are cut to their first image; those nested deeper
    are of one image already. Raises SecateurError on anything but tensors and constants.
    """
    if isinstance(example, list):
        ways: list[Any] = [(tuple(example), {}), ((example,), {})]
    elif isinstance(example, dict):
        ways = [((), example), ((example,), {})]
    else:
        ways = [(example if isinstance(example, tuple) else (example,), {})]
    return [_read(*way) for way in ways]


def cast(tensors: Sequence[Tensor], model: nn.Module) -> tuple[Tensor, ...]:
    """The tensors on the device of the model, and of its floating type if it has just one."""
    own = own_tensors(model)
    device = next((each.device for each in own.all().values()), torch.device("cpu"))
    types = {each.dtype for each in own.parameters.values() if each.is_floating_point()}
    dtype = types.pop() if len(types) == 1 else None
    return tuple(x.to(device, dtype if x.is_floating_point() else None) for x in tensors)


def _read(arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Reading:
    one = tuple(map(_first_image, arguments))
    leaves, spec = tree_flatten((one, {name: _first_image(each) for name, each in keywords.items()}))
    for leaf in leaves:
        _require_known(leaf)
    tensors = tuple(leaf for leaf in leaves if isinstance(leaf, Tensor))
    if not tensors:
        raise SecateurError("the example holds no tensor; pass one: torch.zeros(1, 3, 224, 224)")
    if not keywords and len(tensors) == len(arguments) == len(leaves) and all(map(torch.is_tensor, arguments)):
        return Reading(tensors, POSITIONAL)
    return Reading(tensors, Layout(spec, tuple(TENSOR if isinstance(x, Tensor) else x for x in leaves)))


def _first_image(x: Any) -> Any:
    return x[:1] if isinstance(x, Tensor) and x.ndim else x


def _require_known(leaf: object) -> None:
    if isinstance(leaf, (np.ndarray, np.generic)):
        raise SecateurError("the example holds a numpy array; pass a tensor: torch.from_numpy(x)")
    if not isinstance(leaf, (Tensor, *CONSTANTS)):
        raise SecateurError(
            f"the example holds a {type(leaf).__name__}; pass a tensor, a tuple or list of tensors, or a dict of "
            "tensors by keyword"
        )
