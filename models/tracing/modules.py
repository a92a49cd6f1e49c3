"""The modules of a network: their tensors by name, their mode, and the tensors that they return."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.utils._pytree import tree_leaves


class NamedTensors(NamedTuple):
    """The tensors of a network by name."""

    parameters: dict[str, Tensor]
    buffers: dict[str, Tensor]

    def all(self) -> dict[str, Tensor]:
        """Parameters, then buffers."""
        return {**self.parameters, **self.buffers}


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
    """The same, parameters apart from buffers, in one walk through the modules."""
    own, seen = NamedTensors({}, {}), set[int]()
    for path, module in model.named_modules():
        for found, table in zip(own, (module._parameters, module._buffers), strict=True):
            for name, tensor in table.items():
                if tensor is not None and id(tensor) not in seen:
                    seen.add(id(tensor))
                    found[f"{path}.{name}" if path else name] = tensor
    return own


def tensors_in(output: object) -> list[Tensor]:
    """The tensors in a network's output: a tensor, lists, dictionaries, objects that hold some."""
    found: list[Tensor] = []
    for leaf in tree_leaves(output):
        if isinstance(leaf, Tensor):
            found.append(leaf)
        elif hasattr(leaf, "__dict__") and not isinstance(leaf, (type, nn.Module)):
            found += tensors_in(dict(vars(leaf)))
    return found
