"""Give secateur a trained CNN and a FLOPs budget; it gives back a smaller CNN."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .data.dataset import Data as Data
    from .data.dataset import open_data as open_data
    from .errors import SecateurError as SecateurError
    from .models.files.architecture import build
    from .models.files.architecture import load as load
    from .models.files.architecture import save as save
    from .models.subnetwork import Subnetwork as Subnetwork
    from .models.supernet import Supernet as Supernet
    from .models.zoo.registry import constructor as constructor
    from .models.zoo.weights import load_weights as load_weights
    from .pipeline import Found as Found
    from .pipeline import blockwise as blockwise
    from .pipeline import find as find
    from .pipeline import finetune as finetune
    from .pipeline import kddp as kddp
    from .pipeline import pdd as pdd
    from .reports.pareto import pareto as pareto
    from .rundir.config import RunConfig as RunConfig
    from .stages.run import run as run

    slim = build

__version__ = "0.1.0"

# Where each public name lives, and its name there if that differs; imported on first use, so that help needs no torch.
_HOMES: dict[str, str | tuple[str, str]] = {
    "RunConfig": "rundir.config",
    "Data": "data.dataset",
    "Found": "pipeline",
    "SecateurError": "errors",
    "Subnetwork": "models.subnetwork",
    "Supernet": "models.supernet",
    "blockwise": "pipeline",
    "constructor": "models.zoo.registry",
    "find": "pipeline",
    "finetune": "pipeline",
    "kddp": "pipeline",
    "load": "models.files.architecture",
    "load_weights": "models.zoo.weights",
    "open_data": "data.dataset",
    "pareto": "reports.pareto",
    "pdd": "pipeline",
    "run": "stages.run",
    "save": "models.files.architecture",
    "slim": ("models.files.architecture", "build"),
}

_ALIASES = {"Ask": "RunConfig"}  # names of before

__all__ = sorted({*_HOMES, *_ALIASES})


def __getattr__(name: str) -> Any:
    name = _ALIASES.get(name, name)
    if name in _HOMES:
        home = _HOMES[name]
        module, attribute = (home, name) if isinstance(home, str) else home
        return getattr(import_module(f".{module}", __name__), attribute)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
