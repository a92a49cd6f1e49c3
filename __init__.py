"""Give secateur a trained CNN and a FLOPs budget; it gives back a smaller CNN."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .data.dataset import Data as Data
    from .data.dataset import open_data as open_data
    from .deploy.export import export as export
    from .errors import SecateurError as SecateurError
    from .models.evaluate import evaluate as evaluate
    from .models.files.architecture import build as _build
    from .models.files.architecture import save as save
    from .models.files.networks import load as load
    from .models.subnetwork import Subnetwork as Subnetwork
    from .models.supernet import Supernet as Supernet
    from .models.tasks.classification import Classification as Classification
    from .models.tasks.metric import Metric as Metric
    from .models.tasks.multi_label import MultiLabel as MultiLabel
    from .models.tasks.regression import Regression as Regression
    from .models.tasks.segmentation import Segmentation as Segmentation
    from .models.tasks.task import Task as Task
    from .models.zoo.registry import constructor as constructor
    from .models.zoo.weights import load_weights as load_weights
    from .pipeline.finetune import finetune as finetune
    from .pipeline.found import Found as Found
    from .pipeline.joint import blockwise as blockwise
    from .pipeline.joint import kddp as kddp
    from .pipeline.joint import pdd as pdd
    from .pipeline.search import find as find
    from .reports.page import report as report
    from .reports.pareto import pareto as pareto
    from .rundir.config import RunConfig as RunConfig
    from .rundir.config import ask as _ask
    from .search.importance.registry import SCORES as SCORES
    from .stages.run import run as run
    from .transfer.training.recipe import Recipe as Recipe

    Ask = _ask
    slim = _build

__version__ = "0.1.0"

# Where each public name lives: a module, and behind a colon its name there if that is another one. Imported when it is
# first used, so that help needs no torch.
_HOMES = {
    "Ask": "rundir.config:ask",
    "Classification": "models.tasks.classification",
    "Data": "data.dataset",
    "Found": "pipeline.found",
    "Metric": "models.tasks.metric",
    "MultiLabel": "models.tasks.multi_label",
    "Recipe": "transfer.training.recipe",
    "Regression": "models.tasks.regression",
    "RunConfig": "rundir.config",
    "SCORES": "search.importance.registry",
    "SecateurError": "errors",
    "Segmentation": "models.tasks.segmentation",
    "Subnetwork": "models.subnetwork",
    "Supernet": "models.supernet",
    "Task": "models.tasks.task",
    "blockwise": "pipeline.joint",
    "constructor": "models.zoo.registry",
    "evaluate": "models.evaluate",
    "export": "deploy.export",
    "find": "pipeline.search",
    "finetune": "pipeline.finetune",
    "kddp": "pipeline.joint",
    "load": "models.files.networks",
    "load_weights": "models.zoo.weights",
    "open_data": "data.dataset",
    "pareto": "reports.pareto",
    "pdd": "pipeline.joint",
    "report": "reports.page",
    "run": "stages.run",
    "save": "models.files.architecture",
    "slim": "models.files.architecture:build",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home, _, there = _HOMES[name].partition(":")
    return getattr(import_module(f".{home}", __name__), there or name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
