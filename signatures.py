"""Arguments of another type than a function takes: one line that says which, and what to pass."""

import inspect
import numbers
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from functools import cache, wraps
from typing import Annotated, Any, Literal, ParamSpec, TypeVar, Union, get_args, get_origin

from .errors import SecateurError

P = ParamSpec("P")
R = TypeVar("R")

MADE = {  # how values of these types are made
    "Supernet": "sc.Supernet.of(model, data.example)",
    "Data": "sc.Data.of(train, holdout, test), each a map-style data set",
    "Split": "a part of a data set, such as data.test",
    "Subnetwork": "a subnetwork, such as found.best()",
    "MemoryBank": "the bank of a search, found.bank",
    "Recipe": "sc.Recipe(batch=32, learning_rate=0.01)",
    "RunConfig": 'sc.Ask("resnet20", flops="50%")',
    "Task": "sc.Classification(), sc.Segmentation(classes) or sc.Task(...)",
    "Module": "an nn.Module",
    "Path": "a path",
    "Mapping": "a dict",
    "Sequence": "a list",
}
INSTEAD = {"ExportedProgram": "the eager module that was exported"}  # of values that are of no use anywhere
SHORT = 60  # characters of a value that is shown
AMOUNTS = ("budget", "flops", "params", "memory")  # of costs: text, though a number is what comes to mind
NUMBERS: dict[Any, type] = {int: numbers.Integral, float: numbers.Real}


def checked(function: Callable[P, R]) -> Callable[P, R]:
    """The function, which raises SecateurError for arguments that do not fit its annotations.

    >>> @checked
    ... def half(epochs: int, method: str = "kd") -> int:
    ...     return epochs // 2
    >>> half(4)
    2
    >>> half("4")
    Traceback (most recent call last):
    secateur.errors.SecateurError: epochs='4' is of type str; pass an int
    """
    signature = inspect.signature(function)

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError as error:
            names = [name for name in signature.parameters if name not in ("self", "cls")]
            raise SecateurError(f"{function.__name__}: {error}; its arguments are {', '.join(names)}") from error
        for name, value in bound.arguments.items():
            parameter = signature.parameters[name]
            if parameter.kind is not parameter.VAR_KEYWORD:
                for each in value if parameter.kind is parameter.VAR_POSITIONAL else [value]:
                    _require(name, each, _hint(parameter.annotation, function))
        return function(*args, **kwargs)

    return call


def require_fields(value: Any) -> None:
    """Raise SecateurError where a field of a dataclass does not fit its annotation."""
    require_values(type(value), {field.name: getattr(value, field.name) for field in fields(value)})


def require_values(kind: Any, values: Mapping[str, Any]) -> None:
    """Raise SecateurError where one of these values does not fit the annotation of that field of a dataclass."""
    for field in fields(kind):
        if field.name in values:
            _require(field.name.rstrip("_"), values[field.name], _hint(field.type, kind.__init__))


def _require(name: str, value: Any, hint: Any) -> None:
    if not fits(value, hint):
        raise SecateurError(f"{_fact(name, value)}; {_fix(name, value, hint)}")


def fits(value: Any, hint: Any) -> bool:
    """Whether a value is what an annotation says, as far as that can be seen without going through data.

    >>> fits(3, float), fits(True, int), fits(["a", 1], Sequence[str]), fits(None, int | None)
    (True, False, False, True)
    """
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return any(fits(value, each) for each in arguments)
    if origin is Annotated:
        return fits(value, arguments[0])
    if origin is Literal:  # whoever reads a word checks that it is one of them
        return isinstance(value, tuple(map(type, arguments)))
    if hint is None or hint is Any:
        return value is None or hint is Any
    if origin is None:
        return not isinstance(hint, type) or _is_of(value, hint)
    return _holds(value, origin, arguments)


def _holds(value: Any, origin: Any, arguments: tuple[Any, ...]) -> bool:
    """Whether it is a function, or a container and what it holds fits."""
    if origin is Callable:
        return callable(value) and _takes(value, arguments[0])
    if origin is tuple:
        each = arguments[:1] * len(value) if isinstance(value, (tuple, list)) and ... in arguments else arguments
        return isinstance(value, (tuple, list)) and len(value) == len(each) and all(map(fits, value, each))
    if origin is Sequence:
        known = isinstance(value, (str, tuple, list))
        return hasattr(value, "__getitem__") and (not known or all(fits(each, arguments[0]) for each in value))
    if origin is Mapping:
        return isinstance(value, Mapping) and all(fits(each, arguments[1]) for each in value.values())
    return isinstance(value, origin)


def _takes(function: Callable[..., Any], arguments: Any) -> bool:
    """Whether it can be called with as many arguments, as far as its signature says."""
    try:
        inspect.signature(function).bind(*arguments) if isinstance(arguments, list) else None
    except TypeError:
        return False
    except ValueError:  # built in, without a signature
        return True
    return True


def _is_of(value: Any, kind: type) -> bool:
    if getattr(kind, "_is_protocol", False):
        methods = [name for name, member in vars(kind).items() if inspect.isfunction(member) and name[0] != "_"]
        return all(hasattr(type(value), name) for name in methods)
    if kind in NUMBERS and isinstance(value, bool):
        return False
    return isinstance(value, NUMBERS.get(kind, kind))


def _fact(name: str, value: Any) -> str:
    if value is None:
        return f"{name} is None"
    if isinstance(value, type):
        return f"{name} is the class {value.__name__}, not what {value.__name__}(...) makes"
    if inspect.isroutine(value):
        return f"{name} is the function {value.__name__}"
    short = isinstance(value, (str, int, float, tuple, list)) and len(repr(value)) <= SHORT
    return (
        f"{name}={value!r} is of type {type(value).__name__}" if short else f"{name} is of type {type(value).__name__}"
    )


def _fix(name: str, value: Any, hint: Any) -> str:
    """What to pass; a number for a budget is likely a share."""
    if (instead := INSTEAD.get(type(value).__name__)) is not None:
        return f"pass {instead}"
    number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if name in AMOUNTS and number and value > 0:
        share = f"{100 * value if value <= 1 else value:.4g}%" if value <= 100 else f"{value / 1e6:.4g}M"
        return f'did you mean "{share}"?'
    if name in AMOUNTS:
        return 'pass "50%" or "62M"'
    if get_origin(hint) is Sequence:
        return f"pass a list, each item {_name(get_args(hint)[0])}"
    if isinstance(value, Mapping) and (mapping := _mapping(hint)):
        return f"pass a dict, each value {_name(get_args(mapping)[1])}"
    return f"pass {_name(hint)}"


def _mapping(hint: Any) -> Any:
    """The annotation of a mapping, alone or among others; None where there is none."""
    union = get_origin(hint) in (Union, types.UnionType)
    return next((each for each in (get_args(hint) if union else (hint,)) if get_origin(each) is Mapping), None)


def _name(hint: Any) -> str:
    """An annotation in words."""
    if get_origin(hint) in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(_name(each) for each in get_args(hint) if each is not type(None)))
    if get_origin(hint) is Annotated:
        return _name(get_args(hint)[0])
    if get_origin(hint) is Literal:
        return " or ".join(map(repr, get_args(hint)))
    if get_origin(hint) is tuple:
        return f"({', '.join('...' if each is ... else each.__name__ for each in get_args(hint))})"
    if get_origin(hint) is Callable and isinstance(get_args(hint)[0], list):
        count = len(get_args(hint)[0])
        return f"a function of {count} argument{'s' * (count != 1)}"
    kind = getattr(get_origin(hint) or hint, "__name__", str(hint))
    return MADE.get(kind, f"a{'n' * (kind[0] in 'aeiouAEIOU')} {kind}")


def _hint(annotation: Any, function: Callable[..., Any]) -> Any:
    """The annotation itself, where it was written as text; Any where there is none, or only type checkers know it."""
    if annotation is inspect.Parameter.empty:
        return Any
    return _evaluated(annotation, function) if isinstance(annotation, str) else annotation


@cache
def _evaluated(text: str, function: Callable[..., Any]) -> Any:
    try:
        return eval(text, getattr(function, "__globals__", {}))  # the package's own source
    except NameError:
        return Any
