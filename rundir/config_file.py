"""The options of a run in a file, read by ``--config`` and written by ``--print-config``."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cyclopts import App, ArgumentCollection, CycloptsError
from cyclopts.config import ConfigFromFile, Json, Toml, Yaml

from ..errors import SecateurError, in_a_line
from .command_options import OutputOptions, PlaceOptions
from .config import RunConfig, flag

FORMATS: dict[str, type[ConfigFromFile]] = {".yaml": Yaml, ".yml": Yaml, ".toml": Toml, ".json": Json}
OPTION = "--config"


def options_from_file(words: Sequence[str]) -> tuple["_Options", ...]:
    """What the file behind ``--config`` says, for options that are not on the command line; nothing without one.

    Raises SecateurError for a file that is not there, or of another format.
    """
    path = _named(words)
    if path is None:
        return ()
    if path.suffix not in FORMATS:
        raise SecateurError(f"{OPTION} {path} has an unknown format; pass a file that ends in {', '.join(FORMATS)}")
    if not path.is_file():
        raise SecateurError(f"there is no file {path}; --print-config > {path} writes one")
    return (_Options(path, FORMATS[path.suffix](path, use_commands_as_keys=False)),)


@dataclass(frozen=True)
class _Options:
    """A file of options, of which whatever is wrong is an error of one line."""

    path: Path
    read: ConfigFromFile

    def __call__(self, app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
        """Set the options that are not on the command line."""
        try:
            self.read(app, commands, arguments)
        except CycloptsError:
            raise
        except Exception as error:  # by format the libraries raise YAMLError, TOMLDecodeError, TypeError, ...
            what = in_a_line(error)[:200]
            raise SecateurError(f"{self.path} is no file of options ({what}); --print-config shows one") from error


def print_options(config: RunConfig, *others: PlaceOptions | OutputOptions) -> None:
    """Print every option that is set or has a default, a line each, as YAML."""
    print("\n".join(option_lines(config, *others)))


def option_lines(config: RunConfig, *others: PlaceOptions | OutputOptions) -> list[str]:
    """The lines of such a file.

    >>> from secateur.rundir.config import ask
    >>> option_lines(ask("resnet56", lr=0.01), OutputOptions())[:2]
    ['model: "resnet56"', 'precision: "auto"']
    """
    beside = {name: value for each in others for name, value in asdict(each).items()}
    given = {name: value for name, value in beside.items() if value and name not in ("config", "print_config")}
    options = {"model": config.model, "precision": config.precision, **config.to_dict(), **given}
    return [f"{flag(name)}: {_plain(value)}" for name, value in options.items() if _is_set(value)]


def _named(words: Sequence[str]) -> Path | None:
    for word, following in zip(words, [*words[1:], ""], strict=True):
        if word.startswith(f"{OPTION}="):
            return Path(word.partition("=")[2])
        if word == OPTION:
            return Path(following)
    return None


def _is_set(value: Any) -> bool:
    return value is not None and value != ()


def _plain(value: Any) -> str:
    """As JSON has it, which YAML reads too."""
    return json.dumps(str(value) if isinstance(value, Path) else value, ensure_ascii=False)
