"""A file of ``torch.save``, read without running or importing anything that it names."""

from collections import OrderedDict
from pathlib import Path
from typing import Any
from warnings import catch_warnings, simplefilter
from zipfile import ZipFile

import torch
from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

from ...errors import SecateurError, in_a_line


class Inert:
    """Stands in for a NumPy scalar or type: takes any arguments and any state, and keeps none."""

    def __init__(self, *_: object) -> None: ...

    def __setstate__(self, _: object) -> None: ...


class Empty:
    """Stands in for any other class: what is made of it is an empty dictionary that knows the name of the class."""

    def __new__(cls, *_: object) -> Any:
        """The dictionary; it holds what the file puts in, as a dictionary of the class would."""
        made: OrderedDict[Any, Any] = OrderedDict()
        made.__dict__["stands_for"] = cls.__name__
        return made


def read_torch_file(path: Path) -> object:
    """What ``torch.save`` wrote: tensors, plain values, and stand-ins for whatever else is beside them.

    Raises SecateurError where the file cannot be read so.
    """
    _require_bounded(path)
    try:
        with safe_globals([(_stand_in(name), name) for name in _foreign(path)]), catch_warnings():
            simplefilter("ignore")  # torch's advice on a TorchScript program: the error below has it
            stored: object = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise SecateurError(_refusal(path, error)) from error
    return stored


def _require_bounded(path: Path) -> None:
    """Raise SecateurError where a file claims more bytes than it has; torch never compresses what it stores."""
    claimed, there = _claimed(path), path.stat().st_size
    if claimed > there:
        raise SecateurError(f"weights {path} claim {claimed:,} bytes and the file has {there:,}; pass another file")


def _claimed(path: Path) -> int:
    """How many bytes a file unfolds to; 0 where torch.load says it better: torch's older form, a program, damage."""
    try:
        with ZipFile(path) as archive:
            entries = archive.infolist()
            if any(entry.filename.endswith("/constants.pkl") for entry in entries):
                return 0  # a TorchScript program, which torch.load refuses unread
            return sum(entry.file_size for entry in entries)
    except Exception:
        return 0


def class_of(value: object) -> str | None:
    """The class that a value stands in for, by its full name; None where it is what it seems."""
    return getattr(value, "stands_for", None)


def _foreign(path: Path) -> list[str]:
    """The full names in a file that torch does not read by itself; none where it is no file of torch's usual form."""
    try:
        return get_unsafe_globals_in_checkpoint(str(path))
    except Exception:  # torch.load says it better
        return []


def _stand_in(name: str) -> type:
    """A class of its own for each name: nothing is looked up."""
    return type(name, (Inert if name.startswith("numpy.") else Empty,), {})


def _refusal(path: Path, error: Exception) -> str:
    """Why a file is refused, and the line that converts it."""
    what = in_a_line(error)
    if "TorchScript" in what:
        return (
            f"weights {path} are a TorchScript program, not tensors by name; where you trust the file: "
            f"torch.save(torch.jit.load({str(path)!r}).state_dict(), 'new.pt')"
        )
    if "GLOBAL " not in what:
        return (
            f"weights {path} are no PyTorch file ({type(error).__name__}); "
            "re-save them as a plain state dict: torch.save(model.state_dict(), path)"
        )
    name = what.partition("GLOBAL ")[2].partition(" ")[0]
    if "is blocked" in what:
        return f"weights {path} would run {name} as they are read; pass other weights"
    return (
        f"weights {path} hold more than tensors ({name}); where you trust the file: "
        f"torch.save(torch.load({str(path)!r}, weights_only=False)['model'], 'new.pt')"
    )
