"""The run directory's run.json: the configuration, what is done, and what it cost, so that the same command resumes."""

import hashlib
import json
import os
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any, get_type_hints

import msgspec

from ..errors import SecateurError
from ..files import ensure_folder, read_json, write_json
from ..models.zoo.names import is_python
from ..progress import Progress, silent
from .choices import CHOICE
from .config import GROUPS, RunConfig, ask
from .outcomes import Record, StageOutcome, Stages, parse
from .turn import HOLDER, LOCK, Turn

FORMAT = "secateur/run/1"
KINDS = {  # of each option; what has choices is checked by whoever reads it
    name: str if CHOICE in getattr(get_type_hints(each, include_extras=True)[name], "__metadata__", ()) else kind
    for each in (RunConfig, *GROUPS)
    for name, kind in get_type_hints(each).items()
}
LARGEST = 1 << 64  # of a whole number among the options: seeds are smaller, and so is all else
FORMER_DEFAULTS = {"batch": 128, "augment": "crop-flip"}  # of options that once did not exist: what every run then did
CHANGED_DEFAULTS = {  # before there was --runtime, and since
    "divisor": (1, "auto"),
    "neurons": ("hidden", "all"),
    "method": ("ckt", "aligned"),
}
WIDTH_STEPS = "steps of widths"  # as the fingerprints call those that were measured
TUNING = {"method", "epochs", "batch", "lr", "optimizer", "weight_decay"}  # what may be another for a point
FREE = {"workers"}  # options that change no result
LEFTOVERS = {"run.partial", LOCK, HOLDER}  # what a run leaves that was killed at once


class Book(Record, frozen=True, kw_only=True):
    """What run.json holds; ``asked`` is the configuration, flat."""

    format: str
    asked: dict[str, Any]
    versions: dict[str, str]
    stages: Stages
    fingerprints: dict[str, str] = {}  # noqa: RUF012  # msgspec copies it
    spent: dict[str, float] | None = None  # seconds of starts that ended within a stage, by its name
    began: str | None = None  # when, and on which machine; no earlier version wrote it

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it; an option that is not set is written as null."""
        return {**super().to_dict(), "asked": self.asked}


class Manifest:
    """``run.json`` of one run directory. A stage is entered when it is done, and never done twice."""

    def __init__(self, folder: Path, config: RunConfig, progress: Progress = silent) -> None:
        self.folder, self.path = folder, folder / "run.json"
        if not self.path.exists():
            require_run_or_empty(folder)
            ensure_folder(folder)
        self._turn = Turn(folder, progress)
        with self._turn.taken():
            if not self.path.exists():
                self._write(_begun(config))
        self._book = read_manifest(folder)
        require_same(folder, config)

    @property
    def stages(self) -> Stages:
        """The stages done so far."""
        return self._book.stages

    def require(self, name: str, fingerprint: str) -> None:
        """Note a fingerprint; raise SecateurError where it is not the one the run began with."""
        with self._turn.taken():
            book = read_manifest(self.folder)
            before = book.fingerprints.get(name, fingerprint)
            self._write(msgspec.structs.replace(book, fingerprints={**book.fingerprints, name: before}))
        if before != fingerprint:
            raise SecateurError(
                f"the {name} of {self.folder} changed since the run began ({before} then, {fingerprint} now); "
                "pass a different --out"
            )

    def stage(self, name: str, work: Callable[[], StageOutcome], shared: bool = False) -> StageOutcome:
        """The outcome of a stage: done now and entered with its seconds, or as it was entered before.

        Of several processes in one run one alone does a stage, and the others wait for it, unless they can share it.
        """
        with nullcontext() if shared else self._turn.taken():
            self._book = read_manifest(self.folder)
            if getattr(self._book.stages, name) is None:
                with self._spending(name) as seconds:
                    outcome = work()
                self._enter(name, msgspec.structs.replace(outcome, seconds=round(seconds(), 2)))
        done: StageOutcome = getattr(self._book.stages, name)
        return done

    @contextmanager
    def _spending(self, name: str) -> Iterator[Callable[[], float]]:
        """Yields the seconds of a stage so far, over all starts; those of a start that ends in it are kept."""
        start, before = time.perf_counter(), (self._book.spent or {}).get(name, 0.0)
        try:
            yield lambda: before + time.perf_counter() - start
        except BaseException:  # Ctrl-C, too
            spent = round(time.perf_counter() - start, 2)
            with suppress(SecateurError), self._turn.taken():
                book = read_manifest(self.folder)
                total = {**(book.spent or {}), name: (book.spent or {}).get(name, 0.0) + spent}
                self._write(msgspec.structs.replace(book, spent=total))
            raise

    def _enter(self, name: str, outcome: StageOutcome) -> None:
        with self._turn.taken():  # it may be held already: it counts how often
            book = read_manifest(self.folder)
            if getattr(book.stages, name) is None:
                stages = msgspec.structs.replace(book.stages, **{name: outcome})
                spent = {other: each for other, each in (book.spent or {}).items() if other != name}
                self._write(msgspec.structs.replace(book, stages=stages, spent=spent or None))
            else:
                self._book = book

    def _write(self, book: Book) -> None:
        write_json(self.path, book.to_dict())
        self._book = book


def require_of_python(folder: Path) -> None:
    """Raise SecateurError where the folder holds a command's run, which a search in Python would write over."""
    if (folder / "run.json").exists() and not is_python(str(read_manifest(folder).asked.get("model"))):
        raise SecateurError(f"{folder} holds a run of the command line; pass a different folder")


def write_anew(folder: Path, config: RunConfig, stages: Stages, marks: dict[str, str]) -> None:
    """run.json of a search in Python, which may go on in its folder with other options."""
    require_of_python(folder)
    book = msgspec.structs.replace(_begun(config), stages=stages, fingerprints=marks)
    with Turn(folder).taken():
        write_json(folder / "run.json", book.to_dict())


def read_manifest(folder: Path) -> Book:
    """``run.json`` of a run directory. Raises SecateurError where there is none, or it is damaged."""
    path = folder / "run.json"
    book = read_json(path, "cannot be read", "pass the folder of a run")
    if not isinstance(book, dict) or book.get("format") != FORMAT or not {"asked", "stages"} <= book.keys():
        raise SecateurError(f"{path} is not of format {FORMAT!r}; pass a different --out")
    return parse({"versions": {}, **book}, Book, path)


def require_same(folder: Path, config: RunConfig) -> None:
    """Raise SecateurError where the folder holds a run of another configuration."""
    found = differences(folder, config)
    if not found:
        return
    option, (before, value) = next(iter(found.items()))
    line = transfer_line(folder, config)
    way = f"fine-tune that one without another search: {line}, or " if line else ""
    raise SecateurError(
        f"{folder} holds another run ({option} {before} there, {value} here); {way}pass a different --out"
        f"{' or --overwrite' if not line else ''}"
    )


def differences(folder: Path, config: RunConfig) -> dict[str, tuple[Any, Any]]:
    """The options in which the run in a folder differs from a configuration: its value and the other's."""
    if not (folder / "run.json").exists():
        return {}
    asked, defaults = read_manifest(folder).asked, _plain(ask())
    found = {}
    for name, value in _plain(config).items():
        before = asked.get(name, defaults[name])  # a version without the option worked at its default
        former = name not in asked and value == FORMER_DEFAULTS.get(name)
        changed = name in CHANGED_DEFAULTS and "runtime" not in asked and {before, value} == {*CHANGED_DEFAULTS[name]}
        if before != value and not former and not changed and name not in FREE:
            found[name] = (before, value)
    return found


def transfer_line(folder: Path, config: RunConfig) -> str | None:
    """The command for a configuration that differs from the run in a folder in fine-tuning alone, if its bank is there.

    None where it needs a search of its own.
    """
    found = differences(folder, config)
    tuning = found.keys() <= TUNING and None not in (new for _, new in found.values())
    if not found or not tuning or config.learns_widths or read_manifest(folder).stages.bank is None:
        return None
    typed = {"model": config.model, "data": config.images.data}
    code = "".join(f" --{name} {value}" for name, value in typed.items() if ".py" in value)
    code += f" --storage {config.search.storage}" if config.search.storage else ""
    options = " ".join(f"--{name.replace('_', '-')} {new}" for name, (_, new) in found.items())
    return f"secateur transfer {folder}{code} {options}"


def config_of(folder: Path) -> RunConfig:
    """The configuration of the run in ``folder``."""
    found: dict[str, Any] = read_manifest(folder).asked
    found = found if "runtime" in found else _read(found, found.get("method"))
    try:
        if endless := [name for name, value in found.items() if isinstance(value, int) and value > LARGEST]:
            raise OverflowError(f"{endless[0]} is {found[endless[0]]}")
        return ask(**{name: msgspec.convert(value, KINDS.get(name, Any)) for name, value in found.items()})
    except (TypeError, AttributeError, OverflowError, msgspec.ValidationError) as error:
        raise SecateurError(f"the configuration in {folder / 'run.json'} is damaged ({error})") from error


def with_former_defaults(config: RunConfig, folder: Path) -> RunConfig:
    """The configuration, with what a run in ``folder`` began with where a version without the option made it."""
    if not (folder / "run.json").exists():
        return config
    asked, now = read_manifest(folder).asked, config.to_dict()
    former = {name: value for name, value in FORMER_DEFAULTS.items() if name not in asked and now[name] is None}
    changed = {name: asked[name] for name, (_, today) in CHANGED_DEFAULTS.items() if now[name] == today}
    return config.with_options(**former, **(_read(changed, config.transfer.method) if "runtime" not in asked else {}))


def _read(asked: dict[str, Any], method: object) -> dict[str, Any]:
    """The options without the neurons that other methods than kddp do not read, and that all runs once wrote down."""
    return {name: value for name, value in asked.items() if name != "neurons" or method == "kddp"}


def sha256(path: Path | str) -> str:
    """16 hex digits of a file's content."""
    with open(path, "rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):  # hashlib.file_digest needs Python 3.11
            digest.update(block)
    return digest.hexdigest()[:16]


def _plain(config: RunConfig) -> dict[str, Any]:
    """As run.json has it."""
    plain: dict[str, Any] = json.loads(json.dumps(config.to_dict()))
    return plain


def require_run_or_empty(folder: Path) -> None:
    """Raise SecateurError where the folder holds anything but a run."""
    if (folder / "run.json").exists():
        return
    if folder.exists() and (not folder.is_dir() or any(file.name not in LEFTOVERS for file in folder.iterdir())):
        raise SecateurError(f"{folder} exists and is not a run of secateur; pass a different --out or empty it")


def _begun(config: RunConfig) -> Book:
    """The book of a run that has done nothing yet."""
    return Book(format=FORMAT, asked=_plain(config), versions=_versions(), stages=Stages(), began=_now())


def _now() -> str:
    return f"{date.today().isoformat()} on {platform.system()} {platform.machine()}, {os.cpu_count()} cores"


def _versions() -> dict[str, str]:
    names = ("secateur", "torch", "torchvision", "optuna", "numpy", "faiss-cpu")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}
