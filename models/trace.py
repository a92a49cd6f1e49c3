"""Run a network once and follow every channel through it.

The forward pass runs on tensors without storage, in milliseconds; each operation, as torch dispatches it,
hands its labels on by its rule. Whatever runs can be followed: functions, shared modules, concatenations.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from .atoms import Atoms
from .call import Call
from .errors import SecateurError
from .rules import rule_of

# What a forward pass raises on an input that is not for it.
ERRORS = (RuntimeError, ValueError, TypeError, IndexError, AssertionError)


def trace(model: nn.Module, example: Tensor) -> Atoms:
    """Follow the channels of ``model`` through one forward pass on ``example`` (only its shape matters).

    A forward that looks at values runs a second time on the real tensors; what it did there is what counts.
    Raises SecateurError where the network does not run on such an input.
    """
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    bare = {name: torch.empty_like(tensor, device="meta") for name, tensor in tensors.items()}
    try:
        return _follow(model, bare, example.to("meta"))
    except ERRORS:
        real = {name: tensor.detach().clone() for name, tensor in tensors.items()}  # forward may write to buffers
    try:
        return _follow(model, real, example)
    except ERRORS as error:
        shape = "x".join(map(str, example.shape[1:]))
        raise SecateurError(
            f"the network does not run on an input of {shape} ({first_line(error)}); give --input"
        ) from error


def first_line(error: Exception) -> str:
    """What an error says, in one line; torch writes many."""
    return next(iter(str(error).splitlines()), type(error).__name__)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """``model`` in evaluation mode, and as it was afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def _follow(model: nn.Module, tensors: dict[str, Tensor], example: Tensor) -> Atoms:
    atoms, parameters = Atoms(), dict(model.named_parameters())
    for name, tensor in tensors.items():
        atoms.enter(name, tensor, is_parameter=name in parameters)
    with torch.no_grad(), evaluating(model), _Follower(atoms):
        output = functional_call(model, tensors, (example,))
    for leaf in tree_leaves(output):
        atoms.freeze(atoms.of(leaf), "is an output of the network")
    return atoms.without_labels()


class _Follower(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch leaves it untyped
    """Sees every operation that touches a labelled tensor, and labels what comes out."""

    def __init__(self, atoms: Atoms) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.atoms = atoms

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        results = list(output) if isinstance(output, (tuple, list)) else [output]
        call = Call(func, args, kwargs or {}, results)
        if any(self.atoms.of(x) for x in call.tensors):
            for result, labels in zip(results, rule_of(func)(self.atoms, call), strict=True):
                self.atoms.put(result, labels)
        return output
