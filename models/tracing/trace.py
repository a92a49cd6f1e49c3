"""Run a network once and follow every channel through it.

The forward pass runs on tensors without storage, in milliseconds; each operation, as torch dispatches it,
hands its labels on by its rule. Whatever runs can be followed: functions, shared modules, concatenations.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from copy import copy
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ...errors import SecateurError
from .atoms import Atoms
from .liveness import Lifetimes
from .meta import empty_meta_like, meta_call
from .op_call import Call
from .rules import AVERAGES, computes, is_product, rule_of

# What a forward pass raises on an input that is not for it.
ERRORS = (RuntimeError, ValueError, TypeError, LookupError, AssertionError, AttributeError, NameError)


class NamedTensors(NamedTuple):
    """The tensors of a network by name."""

    parameters: dict[str, Tensor]
    buffers: dict[str, Tensor]

    def all(self) -> dict[str, Tensor]:
        """Parameters, then buffers."""
        return {**self.parameters, **self.buffers}


def trace(model: nn.Module, *examples: Tensor) -> Atoms:
    """Follow the channels of ``model`` through one forward pass on ``examples`` (only their shapes matter).

    A forward that looks at values runs a second time on the real tensors; what it did there is what counts, and
    where it left layers out, everything is frozen: they may read any channel. Layers that only training runs
    are followed there. Raises SecateurError where the network does not run on such inputs.
    """
    if any(map(is_lazy, model.parameters())):
        raise SecateurError("the network has layers of yet unknown size (lazy ones); call it once before")
    own = own_tensors(model)
    light = {name: empty_meta_like(tensor) for name, tensor in own.all().items()}
    try:
        light_examples = [example.to("meta") for example in examples]
        atoms = _follow(model, own, light, light_examples)
        return (_trained(atoms, model, own, light, light_examples) if atoms.idle else atoms).without_labels()
    except ERRORS:
        real = {name: tensor.detach().clone() for name, tensor in own.all().items()}  # forward may write to buffers
    try:
        atoms = _follow(model, own, real, examples)
    except ERRORS as error:
        shape = " and ".join("x".join(map(str, example.shape[1:])) for example in examples)
        raise SecateurError(
            f"the network does not run on an input of {shape} ({first_line(error)}); give --input"
        ) from error
    for name in atoms.idle[:1]:
        atoms.frozen += [
            (made, f"may be read by {name}: forward looks at values and left it out") for made in atoms.made
        ]
    return atoms.without_labels()


def first_line(error: Exception) -> str:
    """What an error says, in one line; torch writes many."""
    return next(iter(str(error).splitlines()), type(error).__name__)


@contextmanager
def evaluating(model: nn.Module, training: bool = False) -> Iterator[None]:
    """``model`` in evaluation mode (or in training), and as it was afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    if any(mode != training for _, mode in modes):
        model.train(training)
    try:
        yield
    finally:
        for module, mode in modes:
            if module.training != mode:
                module.training = mode


@contextmanager
def with_tensors(model: nn.Module, own: NamedTensors, others: Mapping[str, Tensor]) -> Iterator[None]:
    """``model`` with others for its own parameters and buffers, and as it was afterwards."""
    stand_ins = {id(tensor): others[name] for name, tensor in own.all().items()}
    tables: list[Any] = [t for module in model.modules() for t in (module._parameters, module._buffers) if t]
    before = [dict(table) for table in tables]
    try:
        for table in tables:
            table.update({name: stand_ins[id(tensor)] for name, tensor in table.items() if tensor is not None})
        yield
    finally:
        for table, kept in zip(tables, before, strict=True):
            table.update(kept)


def named_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Parameters, then buffers, by name; one that modules share under its first."""
    return own_tensors(model).all()


def own_tensors(model: nn.Module) -> NamedTensors:
    """The same, told apart, in one walk through the modules."""
    own, seen = NamedTensors({}, {}), set[int]()
    for path, module in model.named_modules():
        for found, table in zip(own, (module._parameters, module._buffers), strict=True):
            for name, tensor in table.items():
                if tensor is not None and id(tensor) not in seen:
                    seen.add(id(tensor))
                    found[f"{path}.{name}" if path else name] = tensor
    return own


def tensors_in(output: object) -> list[Tensor]:
    """The tensors in whatever a network returns: a tensor, lists, dictionaries, objects that hold some."""
    found: list[Tensor] = []
    for leaf in tree_leaves(output):
        if isinstance(leaf, Tensor):
            found.append(leaf)
        elif hasattr(leaf, "__dict__") and not isinstance(leaf, (type, nn.Module)):
            found += tensors_in(dict(vars(leaf)))
    return found


def _follow(model: nn.Module, own: NamedTensors, others: dict[str, Tensor], examples: Sequence[Tensor]) -> Atoms:
    """One evaluating pass, with ``others`` for the network's own tensors."""
    atoms = Atoms()
    for name, tensor in others.items():
        atoms.enter(name, tensor, is_parameter=name in own.parameters)
    lifetimes = Lifetimes(others.values())
    lifetimes.step(atoms, [], examples)
    with evaluating(model), with_tensors(model, own, others):
        outputs = _run(model, examples, _Follower(atoms, lifetimes))
    lifetimes.step(atoms, outputs, [])
    atoms.activations = lifetimes.all()
    return atoms


def _trained(
    atoms: Atoms,
    model: nn.Module,
    own: NamedTensors,
    others: dict[str, Tensor],
    examples: Sequence[Tensor],
) -> Atoms:
    """The same with what a training pass ties and freezes; costs stay those of evaluation."""
    costs = {name: copy(getattr(atoms, name)) for name in ("products", "uncounted", "averages", "statistics")}
    follower = _Follower(atoms, Lifetimes(others.values()))
    pairs = [torch.cat([each, each]) for each in examples]  # two images, since one has no variance
    with evaluating(model, training=True), with_tensors(model, own, others), suppress(*ERRORS):
        _run(model, pairs, follower)
    return replace(atoms, **costs)


def _run(model: nn.Module, examples: Sequence[Tensor], follower: "_Follower") -> list[Tensor]:
    """The outputs of one pass, which can't be narrowed."""
    with torch.no_grad(), follower:
        output = model(*examples)
    outputs = tensors_in(output)
    for each in outputs:
        follower.atoms.freeze(follower.atoms.of(each), "is an output of the network")
    return outputs


class _Follower(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch leaves it untyped
    """Sees every operation of a forward pass, and labels what comes out of it."""

    def __init__(self, atoms: Atoms, lifetimes: Lifetimes) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.atoms, self.lifetimes = atoms, lifetimes

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = meta_call(func, args, kwargs)
        call, atoms = Call.of(func, args, kwargs, output), self.atoms
        for x in call.tensors:
            atoms.touch(x)
        if is_product(func) or any(atoms.of(x) for x in call.tensors):
            for result, labels in zip(call.results, rule_of(func)(atoms, call), strict=True):
                atoms.put(result, labels)
        atoms.averages += func.overloadpacket in AVERAGES
        if call.tensors and computes(func):
            atoms.uncounted[call.name] = atoms.uncounted.get(call.name, 0) + 1
        self.lifetimes.step(atoms, call.tensors, [x for x in call.results if isinstance(x, Tensor)])
        return output
