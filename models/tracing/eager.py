"""The eager module behind what torch compiled, scripted or exported."""

import sys
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import nn

from ...errors import SecateurError


def eager(model: object) -> nn.Module:
    """The module that can be followed: what ``torch.compile`` wraps, anything else as it is.

    Raises SecateurError on what holds no such module: scripted and exported networks, classes, functions.
    """
    model = getattr(model, "_orig_mod", model) if isinstance(model, nn.Module) else model
    if isinstance(model, torch.export.ExportedProgram) or _is_exported(model):
        raise SecateurError("an exported network has its widths written down; pass the eager module it was made of")
    if isinstance(model, type):
        raise SecateurError(f"{model.__name__} is a class; pass a network: {model.__name__}(...)")
    if not isinstance(model, nn.Module):
        raise SecateurError(f"the network is a {type(model).__name__}; pass an nn.Module")
    for path, module in model.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            what = f"module {path} is scripted" if path else "the network is scripted"
            raise SecateurError(f"{what}, which can't be followed; pass the eager module it was made of")
    return model


def uncompiled() -> AbstractContextManager[object]:
    """What ``torch.compile`` made runs as it was written; where nothing has been compiled, its import is saved."""
    return torch.compiler.set_stance("force_eager") if "torch._dynamo" in sys.modules else nullcontext()


def _is_exported(model: object) -> bool:
    """Whether this is the module of an exported program, which replaces ``train`` by a refusal."""
    return isinstance(model, torch.fx.GraphModule) and "train" in vars(model)
