"""Files that are written whole or not at all, and read so that damage is named."""

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock

from .digests import sealed, unsealed
from .errors import SecateurError, in_a_line

RESTORE = "restore it from a copy or start the run again"


def ensure_folder(folder: Path | str) -> Path:
    """The folder, made where it is not there. Raises SecateurError where it cannot be."""
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SecateurError(f"the folder {folder} cannot be made ({error.strerror}); pass a different one") from error
    return folder


def write_whole(path: Path, write: Callable[[Path], object], partial: Path | None = None) -> None:
    """Let ``write`` fill a temporary file beside ``path``, then rename it: a kill leaves what was there before.

    File and folder are synced, so that the same holds when the power fails. The temporary file is ``partial``, or the
    name of ``path`` that ends in ``.partial``: one name, so that what a kill leaves is written over. Processes that may
    write at the same time do so one after another, under a lock.
    """
    partial = partial or path.with_suffix(".partial")
    try:
        with writing(path):
            write(partial)
        commit(partial, path)
    except SecateurError:  # the disk is full: what is there of it is of no use
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise


def commit(partial: Path, path: Path) -> None:
    """Put a temporary file that is complete in the place of ``path``."""
    with writing(path):
        _sync(partial)
        partial.replace(path)
        _sync(path.parent)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Whatever the system says while ``path`` is written, as a full or read-only disk does, as a SecateurError."""
    try:
        yield
    except OSError as error:
        raise SecateurError(
            f"{path} cannot be written ({error.strerror or error}{_free(path)}); "
            "make room there or pass a different place, and the same command resumes"
        ) from error


@contextmanager
def alone(lock: Path) -> Iterator[None]:
    """Inside, no other process has this lock. The system releases that of a process that ends, however it ends."""
    with writing(lock):
        held = FileLock(lock)
        held.acquire()
    try:
        yield
    finally:
        held.release()


def free_bytes(path: Path) -> int:
    """How much may be written at a place, whether it is there yet or not."""
    while not path.exists() and path != path.parent:
        path = path.parent
    return shutil.disk_usage(path).free


def _free(path: Path) -> str:
    with suppress(OSError):
        return f", {free_bytes(path):,} bytes are free"
    return ""


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    write_whole(path, lambda partial: partial.write_text(text, encoding="utf-8"))


def write_json(path: Path, record: Mapping[str, Any], indent: int | None = 1) -> None:
    """Write a record as JSON with its digest, whole or not at all."""
    write_text(path, json.dumps(sealed(record), indent=indent))


def read_json(path: Path, fact: str = "is damaged", fix: str = RESTORE) -> Any:
    """The value in a JSON file, its digest checked where it has one.

    Raises SecateurError, naming the file, where it cannot be read, holds no JSON, or was changed.
    """
    with _reading(path, fact, fix):
        return unsealed(json.loads(path.read_text(encoding="utf-8")))


def whole_lines(path: Path) -> list[str]:
    """The complete lines of a text file; none where there is no file. A last line that a kill cut short is left out."""
    with _reading(path, "is damaged", RESTORE):
        text = path.read_text(encoding="utf-8") if path.exists() else ""
    return text[: text.rfind("\n") + 1].splitlines()


def read_json_lines(path: Path) -> list[Any]:
    """The values of a JSON lines file, their digests checked; none where there is no file.

    A line that a kill cut short is left out.
    """
    with _reading(path, "is damaged", RESTORE):
        return [unsealed(json.loads(line)) for line in whole_lines(path)]


@contextmanager
def _reading(path: Path, fact: str, fix: str) -> Iterator[None]:
    """Whatever is wrong with a file of text or JSON: gone, cut, of other bytes, too deep, of endless digits."""
    try:
        yield
    except SecateurError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        what = error.strerror if isinstance(error, OSError) and error.strerror else in_a_line(error)
        raise SecateurError(f"{path} {fact} ({what}); {fix}") from error


def append_line(path: Path, line: str) -> None:
    """Add a line to a text file; a last line that a kill cut short is removed first."""
    with writing(path), path.open("a+b") as file:
        file.truncate(_complete(file.tell(), path))
        file.write(f"{line}\n".encode())


def append_json(path: Path, record: Mapping[str, Any]) -> None:
    """Add a record with its digest to a JSON lines file; a line that a kill cut short is removed first."""
    append_line(path, json.dumps(sealed(record)))


def _complete(size: int, path: Path) -> int:
    """The bytes up to and with the last line end of a file of this size."""
    block, end = 1 << 16, size
    with path.open("rb") as file:
        while end:
            start = max(0, end - block)
            file.seek(start)
            if (found := file.read(end - start).rfind(b"\n")) >= 0:
                return start + found + 1
            end = start
    return 0


def _sync(path: Path) -> None:
    """Have the disk keep a file or a folder; a system that cannot open folders (Windows) is left as it is."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except PermissionError:
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
