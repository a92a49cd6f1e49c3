"""What a network is called with: a tensor, a tuple of several, or a dictionary of keyword arguments."""

import inspect
from typing import Any, TypeAlias, TypeVar

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

Inputs: TypeAlias = Any  # Tensor | tuple[Tensor, ...] | dict[str, Tensor], batches first
Tree = TypeVar("Tree")


def call(model: nn.Module, inputs: Inputs) -> Any:
    """What the network returns: a tuple fills its positional parameters, a dictionary those of its names.

    A dictionary or list that does not fit the parameters of forward is the one argument itself.
    """
    if isinstance(inputs, dict):
        return model(**inputs) if _takes(model, **inputs) else model(inputs)
    if isinstance(inputs, list):
        return model(*inputs) if _takes(model, *inputs) else model(inputs)
    return model(*inputs) if isinstance(inputs, tuple) else model(inputs)


def _takes(model: nn.Module, *arguments: Any, **keywords: Any) -> bool:
    """Whether forward has parameters for these; of a network on several devices or processes, the one inside."""
    inside = model.module if isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel)) else model
    try:
        inspect.signature(inside.forward).bind(*arguments, **keywords)
    except TypeError:
        return False
    return True


def moved(tree: Tree, device: torch.device) -> Tree:
    """The same tensors on a device; what is no tensor stays as it is."""
    found: Tree = each_tensor(lambda x: x.to(device), tree)
    return found


def flattened(tree: Any) -> Any:
    """Views and samples of every tensor as one dimension. Shape: (V, B, ...) → (V·B, ...)"""
    return each_tensor(lambda x: x.flatten(0, 1), tree)


def repeated(tree: Any, times: int) -> Any:
    """Every tensor so often behind itself. Shape: (B, ...) → (times·B, ...)"""
    return each_tensor(lambda x: x.repeat(times, *(1 for _ in x.shape[1:])), tree)


def tensors(tree: Any) -> list[Tensor]:
    """All tensors in it, in order."""
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def each_tensor(function: Any, tree: Any) -> Any:
    """``function`` of every tensor in it; what is no tensor stays as it is."""
    return tree_map(lambda leaf: function(leaf) if isinstance(leaf, Tensor) else leaf, tree)
