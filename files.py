"""Files that are written whole or not at all, and lines of JSON that survive a kill."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .errors import SecateurError


def ensure_folder(folder: Path | str) -> Path:
    """The folder, made where it is not there. Raises SecateurError where it cannot be."""
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SecateurError(f"the folder {folder} cannot be made ({error.strerror}); pass a different one") from error
    return folder


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Let ``write`` fill a temporary file beside ``path``, then rename it: a kill leaves what was there before.

    File and folder are synced, so that the same holds when the power fails. The temporary file ends in ``.partial``.
    """
    partial = path.with_suffix(".partial")
    write(partial)
    commit(partial, path)


def commit(partial: Path, path: Path) -> None:
    """Put a temporary file that is complete in the place of ``path``."""
    _sync(partial)
    partial.replace(path)
    _sync(path.parent)


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    write_whole(path, lambda partial: partial.write_text(text, encoding="utf-8"))


def write_json(path: Path, value: object, indent: int | None = 1) -> None:
    """Write plain values as JSON, whole or not at all."""
    write_text(path, json.dumps(value, indent=indent))


def whole_lines(path: Path) -> list[str]:
    """The complete lines of a text file; none where there is no file. A last line that a kill cut short is left out."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    return text[: text.rfind("\n") + 1].splitlines()


def read_json_lines(path: Path) -> list[Any]:
    """The values of a JSON lines file; none where there is no file. A line that a kill cut short is left out."""
    return [json.loads(line) for line in whole_lines(path)]


def append_line(path: Path, line: str) -> None:
    """Add a line to a text file; a last line that a kill cut short is removed first."""
    with path.open("a+b") as file:
        file.truncate(_complete(file.tell(), path))
        file.write(f"{line}\n".encode())


def append_json(path: Path, value: object) -> None:
    """Add a value to a JSON lines file; a line that a kill cut short is removed first."""
    append_line(path, json.dumps(value))


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
