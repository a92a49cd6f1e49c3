"""Give secateur a trained CNN and a FLOPs budget; it gives back a smaller CNN."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .ask import Ask as Ask
    from .data import Data as Data
    from .data import open_data as open_data
    from .distil import blockwise as blockwise
    from .distil import kddp as kddp
    from .distil import pdd as pdd
    from .front import pareto as pareto
    from .models.architecture import load as load
    from .models.architecture import save as save
    from .models.errors import SecateurError as SecateurError
    from .models.specs import constructor as constructor
    from .models.subnetwork import Subnetwork as Subnetwork
    from .models.supernet import Supernet as Supernet
    from .models.weights import load_weights as load_weights
    from .pipeline import Found as Found
    from .pipeline import find as find
    from .pipeline import finetune as finetune
    from .stages import run as run

__version__ = "0.1.0"

# Where each public name lives; imported when it is first used, so that help needs no torch.
_HOMES = {
    "Ask": "ask",
    "Data": "data",
    "Found": "pipeline",
    "SecateurError": "models.errors",
    "Subnetwork": "models.subnetwork",
    "Supernet": "models.supernet",
    "blockwise": "distil",
    "constructor": "models.specs",
    "find": "pipeline",
    "finetune": "pipeline",
    "kddp": "distil",
    "load": "models.architecture",
    "load_weights": "models.weights",
    "open_data": "data",
    "pareto": "front",
    "pdd": "distil",
    "run": "stages",
    "save": "models.architecture",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
