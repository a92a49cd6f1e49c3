"""The eager module behind what torch compiled, scripted or exported."""

import sys
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import nn

from ...errors import SecateurError


def eager(model: nn.Module) -> nn.Module:
    """The module that can be followed: what ``torch.compile`` wraps, anything else as it is.

    Raises SecateurError on what holds no such module: scripted and exported networks.
    """
    model = getattr(model, "_orig_mod", model)
    if _is_exported(model):
        raise SecateurError("an exported network has its widths written down; pass the eager module it was made of")
    for path, module in model.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            what = f"module {path} is scripted" if path else "the network is scripted"
            raise SecateurError(f"{what}, which can't be followed; pass the eager module it was made of")
    return model


def uncompiled() -> AbstractContextManager[object]:
    """What ``torch.compile`` made runs as it was written; where nothing has been compiled, its import is saved."""
    return torch.compiler.set_stance("force_eager") if "torch._dynamo" in sys.modules else nullcontext()


def _is_exported(model: nn.Module) -> bool:
    """Whether this is the module of an exported program, which replaces ``train`` by a refusal."""
    return isinstance(model, torch.fx.GraphModule) and "train" in vars(model)
