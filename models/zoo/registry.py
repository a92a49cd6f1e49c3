"""Networks and functions by their names on the command line."""

import importlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from types import ModuleType

from torch import nn

from ...errors import SecateurError, in_a_line
from ...signatures import checked
from .mobilenetv2 import mobilenetv2
from .resnet import resnet20, resnet32, resnet44, resnet56, resnet110
from .vgg import vgg11_bn, vgg13_bn, vgg16_bn, vgg19_bn

Constructor = Callable[[], nn.Module]

NETS: dict[str, Callable[[int], nn.Module]] = {
    "resnet20": resnet20,
    "resnet32": resnet32,
    "resnet44": resnet44,
    "resnet56": resnet56,
    "resnet110": resnet110,
    "vgg11_bn": vgg11_bn,
    "vgg13_bn": vgg13_bn,
    "vgg16_bn": vgg16_bn,
    "vgg19_bn": vgg19_bn,
    "mobilenetv2": mobilenetv2,
}

FORMS = f"{', '.join(NETS)}, torchvision:NAME, timm:NAME, path/to/file.py:function or package.module:function"


@checked
def constructor(spec: str, classes: int) -> Constructor:
    """A function that builds the network called ``spec`` with ``classes`` outputs.

    Raises SecateurError on a name that stands for no network.

    Args:
        spec: ``resnet20``, ``torchvision:NAME``, ``timm:NAME``, ``path/to/file.py:function`` or
            ``package.module:function``. With weights of the library, which it downloads once:
            ``torchvision:NAME@DEFAULT`` (or another of its sets), ``timm:NAME@pretrained``.
        classes: Number of outputs. A function of the user's gets it as its parameter ``classes`` or ``num_classes``,
            whichever it has (the first, if both), and nothing otherwise. 0, for a task that has none, is for functions
            without that parameter.

    >>> import secateur as sc
    >>> make = sc.constructor("resnet20", classes=10)
    >>> make().linear
    Linear(in_features=64, out_features=10, bias=True)
    """
    library, _, name = spec.partition(":")
    if library not in LIBRARIES and (":" in spec or spec.endswith(".py")):
        function = callable_at(spec, LIBRARIES)
        _require_classes(classes, least=1 if _class_parameter(function) else 0)
        return partial(_call, function, spec, classes)
    _require_classes(classes)
    if library in LIBRARIES:
        return LIBRARIES[library](name, classes)
    if spec not in NETS:
        raise SecateurError(f"no network is called {spec!r}{_meant(spec)}; pass {FORMS}")
    return partial(NETS[spec], classes)


def callable_at(spec: str, words: Iterable[str] = ()) -> Callable[..., object]:
    """The function or class that ``path/to/file.py:function`` or ``package.module:function`` names.

    The code is found as Python itself would find it: a file sees its neighbours, and a package may lie
    in the working directory. ``words``: other names that may stand before a colon, for errors to suggest.
    """
    try:
        return _callable_at(spec)
    except SecateurError as error:
        word, _, rest = spec.partition(":")
        near = get_close_matches(word, list(words), 1)
        if not near:
            raise
        raise SecateurError(f"{error}; or was {near[0]}:{rest} meant?") from error


def _require_classes(classes: int, least: int = 1) -> None:
    if classes < least:
        raise SecateurError(f"classes={classes}; pass {least} or more")


def _torchvision(name: str, classes: int) -> Constructor:
    from torchvision import models

    name, _, weights = name.partition("@")
    names = models.list_models(module=models)
    if name not in names:
        raise SecateurError(
            f"torchvision has no classifier {name!r}{_nearest(name, names)}; "
            "torchvision.models.list_models(module=torchvision.models) lists them"
        )
    heads = {"aux_logits": False} if name in ("inception_v3", "googlenet") else {}  # they would make the output a tuple
    if not weights:
        plain = {**heads, "init_weights": True} if heads else {}  # without it these two warn
        return partial(models.get_model, name, weights=None, num_classes=classes, **plain)
    sets = models.get_model_weights(name).__members__
    if weights not in sets:
        raise SecateurError(f"torchvision:{name} has no weights {weights!r}; pass {', '.join(sets)}")
    _require_trained_for(f"torchvision:{name}@{weights}", len(sets[weights].meta["categories"]), classes)
    return partial(_fetched, partial(models.get_model, name, weights=weights, **heads), f"torchvision:{name}@{weights}")


def _timm(name: str, classes: int) -> Constructor:
    try:
        import timm
    except ImportError as error:
        raise SecateurError(
            f'timm:{name} needs timm, which is not here ({in_a_line(error)}); pip install "secateur[timm]"'
        ) from error
    name, _, weights = name.partition("@")
    if not timm.is_model(name):
        near = _nearest(name, timm.list_models())
        raise SecateurError(f"timm has no network {name!r}{near}; timm.list_models() lists them")
    if not weights:
        return partial(timm.create_model, name, pretrained=False, num_classes=classes)
    theirs = timm.get_pretrained_cfg(name)
    if weights != "pretrained" or theirs is None or not timm.models.is_model_pretrained(name):
        raise SecateurError(
            f"timm:{name} has no weights {weights!r}; timm.list_pretrained() lists what has @pretrained"
        )
    _require_trained_for(f"timm:{name}@pretrained", theirs.num_classes, classes)
    return partial(_fetched, partial(timm.create_model, name, pretrained=True), f"timm:{name}@pretrained")


def _require_trained_for(spec: str, theirs: int, classes: int) -> None:
    if theirs != classes:
        raise SecateurError(
            f"the weights of {spec} are for {theirs} classes and not {classes}; "
            f"train {spec.partition('@')[0]} on your classes and pass --weights FILE"
        )


def _fetched(build: Constructor, spec: str) -> nn.Module:
    """The network with its library's weights, downloaded where they are not here yet."""
    try:
        return build()
    except Exception as error:  # by library URLError, OSError, HTTP errors of several packages, RuntimeError
        raise SecateurError(
            f"the weights of {spec} can't be fetched ({in_a_line(error)}); "
            f"connect this machine, or pass {spec.partition('@')[0]} and --weights FILE"
        ) from error


LIBRARIES: dict[str, Callable[[str, int], Constructor]] = {"torchvision": _torchvision, "timm": _timm}


def _callable_at(spec: str) -> Callable[..., object]:
    place, _, name = spec.rpartition(":")
    if not place or not name:
        raise SecateurError(f"{spec!r} names no function; write path/to/file.py:function or package.module:function")
    module = _file(Path(place), spec) if place.endswith(".py") else _module(place, spec)
    found: object = getattr(module, name, None)
    if not callable(found):
        what = f"no function {name!r}" if found is None else f"{name!r}, but it is no function"
        have = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise SecateurError(f"{place} has {what}{_nearest(name, have)}; name one that {place} defines")
    return found


def _call(function: Callable[..., object], spec: str, classes: int) -> nn.Module:
    try:
        name = _class_parameter(function)
        network = function(**{name: classes}) if name else function()
    except Exception as error:
        raise SecateurError(
            f"{spec} failed with {in_a_line(error)}{_where(error)}; fix it or pass another network"
        ) from error
    if not isinstance(network, nn.Module):
        raise SecateurError(f"{spec} returned {type(network).__name__}; it should return a torch.nn.Module")
    return network


def _class_parameter(function: Callable[..., object]) -> str | None:
    """The name under which a function takes the number of classes, if it does."""
    try:
        parameters = inspect.signature(function).parameters
    except ValueError:  # some functions written in C have no signature
        return None
    return next((name for name in ("classes", "num_classes") if name in parameters), None)


def _file(path: Path, spec: str) -> ModuleType:
    if not path.is_file():
        raise SecateurError(f"no file {path} for {spec}; pass the path of a Python file")
    path = path.resolve()
    _importable_from(path.parent)
    # Not the bare stem, which may be the name of an installed package.
    found = importlib.util.spec_from_file_location(f"secateur_user_{path.stem}", path)
    assert found is not None  # by its suffix, .py
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    sys.modules[found.name] = module  # dataclasses look their module up there
    try:
        found.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        sys.modules.pop(found.name, None)
        raise _import_failed(str(path), spec, error) from error
    return module


def _module(name: str, spec: str) -> ModuleType:
    _importable_from(Path.cwd())
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:
        raise _import_failed(name, spec, error) from error


def _importable_from(folder: Path) -> None:
    # For good, not for the import alone: the user's functions may import when they are called.
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


def _import_failed(place: str, spec: str, error: BaseException) -> SecateurError:
    return SecateurError(
        f"importing {place} for {spec} failed with {in_a_line(error)}{_where(error)}; fix it or pass another"
    )


def _meant(spec: str) -> str:
    """torchvision's network of this name; else those of this package with similar ones."""
    from torchvision import models

    known = spec in models.list_models(module=models)
    return f"; did you mean torchvision:{spec}?" if known else _nearest(spec, NETS)


def _nearest(name: str, names: Iterable[str]) -> str:
    near = get_close_matches(name, list(names))
    return f"; nearest: {', '.join(near)}" if near else ""


def _where(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    theirs = [f for f in frames if f.filename not in (__file__, importlib.__file__) and f.filename[0] != "<"]
    return f" ({theirs[-1].filename} line {theirs[-1].lineno})" if theirs else ""
