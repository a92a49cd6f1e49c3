"""The configuration in a run directory, with the code that its user typed: a file names none that is run."""

from pathlib import Path

from ..data import augment, sources
from ..errors import SecateurError
from ..models.zoo import names
from ..rundir.config import RunConfig

IS_CODE = {
    "model": names.is_code,
    "data": sources.is_code,
    "augment": augment.is_code,
    "task": bool,  # always a function
    "teacher": names.is_code,
}
KEPT = ("model", "data", "augment", "task")  # those that a run began with


def with_typed(config: RunConfig, folder: Path, **typed: str | None) -> RunConfig:
    """The configuration of the run in ``folder``, its ``model`` and its ``data`` as they were typed, where they were.

    Raises SecateurError where one of those that are asked for is None, and the run names a function for it.
    """
    there = {name: value or "" for name, value in config.to_dict().items() if name in IS_CODE}
    untyped = {name: there[name] for name in typed if typed[name] is None and IS_CODE[name](there[name])}
    if any(map(names.is_python, untyped.values())):
        options = " ".join(f"--{name} path/to/file.py:function" for name in untyped)
        raise SecateurError(f"{folder} was searched in Python, with objects that no file holds; pass {options}")
    if untyped:
        options = " ".join(f"--{name} {code}" for name, code in untyped.items())
        raise SecateurError(
            f"{folder / 'run.json'} names the code {' and '.join(untyped.values())}, and what a file names is not run; "
            f"if you trust it, type it: {options}"
        )
    return config.with_options(**{name: typed[name] for name in KEPT if typed.get(name)})
