"""The run directory: what was asked, what is done, and what it cost, so that the same line goes on."""

import hashlib
import json
import platform
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeAlias

from filelock import FileLock

from ..errors import SecateurError
from ..files import ensure_folder
from .config import RunConfig

FORMAT = "secateur/run/1"
BEGUN = {"run.partial", "run.lock"}  # what a run that was killed at once leaves
Outcome: TypeAlias = dict[str, Any]  # plain JSON values


class Manifest:
    """``run.json`` of one run directory. Every stage is entered when it is done, and never done twice."""

    def __init__(self, folder: Path, ask: RunConfig) -> None:
        self.folder, self.path = folder, folder / "run.json"
        if not self.path.exists():
            _empty(folder)
            ensure_folder(folder)
        self._lock = FileLock(folder / "run.lock")  # against other processes that work on the same run
        with self._lock:
            if not self.path.exists():
                self._book: dict[str, Any] = {
                    "format": FORMAT,
                    "asked": _plain(ask),
                    "versions": _versions(),
                    "stages": {},
                }
                self._write()
        self._book = _read(self.path)
        _compare(folder, self._book, ask)

    def require(self, name: str, fingerprint: str) -> None:
        """Note a fingerprint; raise SecateurError where it is not the one the run began with."""
        with self._lock:
            self._book = _read(self.path)
            before = self._book.setdefault("fingerprints", {}).setdefault(name, fingerprint)
            self._write()
        if before != fingerprint:
            raise SecateurError(
                f"the {name} of {self.folder} changed since the run began ({before} then, {fingerprint} now); "
                "give another --out"
            )

    def stage(self, name: str, work: Callable[[], Outcome], shared: bool = False) -> Outcome:
        """The outcome of a stage: done now and entered with its seconds, or as it was entered before.

        Of several processes in one run one alone does a stage, and the others wait for it, unless they can share it.
        """
        with nullcontext() if shared else self._lock:
            self._book = _read(self.path)
            if name not in self._book["stages"]:
                start = time.perf_counter()
                outcome = {**work(), "seconds": round(time.perf_counter() - start, 2)}
                with self._lock:  # it may be held already: it counts how often
                    self._book = _read(self.path)
                    self._book["stages"].setdefault(name, outcome)
                    self._write()
        return dict(self._book["stages"][name])

    @property
    def stages(self) -> dict[str, Outcome]:
        """All stages done so far, in order."""
        return dict(self._book["stages"])

    def _write(self) -> None:
        partial = self.path.with_suffix(".partial")
        partial.write_text(json.dumps(self._book, indent=1))
        partial.replace(self.path)


def require_same(folder: Path, ask: RunConfig) -> None:
    """Raise SecateurError where the folder holds a run that was asked for otherwise."""
    if (folder / "run.json").exists():
        _compare(folder, read_manifest(folder), ask)


def config_of(folder: Path) -> RunConfig:
    """What the run in ``folder`` was asked."""
    found: dict[str, Any] = read_manifest(folder)["asked"]
    given: dict[str, Any] = {n: tuple(value) if isinstance(value, list) else value for n, value in found.items()}
    return RunConfig(**given)


def read_manifest(folder: Path) -> dict[str, Any]:
    """``run.json`` of a run directory."""
    return _read(folder / "run.json")


def sha256(path: Path | str) -> str:
    """16 hex digits of a file's content."""
    with open(path, "rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):  # hashlib.file_digest needs Python 3.11
            digest.update(block)
    return digest.hexdigest()[:16]


def _compare(folder: Path, there: dict[str, Any], ask: RunConfig) -> None:
    usual = _plain(RunConfig())
    for option, value in _plain(ask).items():
        before = there["asked"].get(option, usual[option])  # a version without the option did as usual
        if before != value:
            raise SecateurError(
                f"{folder} holds another run ({option} {before} there, {value} here); give another --out"
            )


def _plain(ask: RunConfig) -> dict[str, Any]:
    """As run.json has it."""
    plain: dict[str, Any] = json.loads(json.dumps(asdict(ask)))
    return plain


def _empty(folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(file.name not in BEGUN for file in folder.iterdir())):
        raise SecateurError(f"{folder} is there and is not a run of secateur; give another --out or empty it")


def _read(path: Path) -> dict[str, Any]:
    try:
        book = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise SecateurError(f"{path} cannot be read ({error}); give the folder of a run") from error
    if not isinstance(book, dict) or book.get("format") != FORMAT or not {"asked", "stages"} <= book.keys():
        raise SecateurError(f"{path} is not of format {FORMAT!r}; give another --out")
    return book


def _versions() -> dict[str, str]:
    names = ("secateur", "torch", "torchvision", "optuna", "numpy", "faiss-cpu")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}
