"""Tensors on disk as safetensors: written whole, sealed, and checked when they are read."""

from collections.abc import Callable, Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_model, save_file, save_model
from torch import Tensor, nn

from ...errors import SecateurError, in_a_line
from ...files import write_whole
from ..seal import BLANK, is_intact, require_intact, seal


def write_tensors(
    tensors: dict[str, Tensor], path: Path, about: Mapping[str, str] | None = None, *, temporary: Path | None = None
) -> None:
    """Write tensors by name, whole and sealed; ``about`` is kept beside them. ``temporary`` as of ``write_whole``."""

    def write(partial: Path) -> None:
        _sealed(partial, lambda: save_file(tensors, partial, {**(about or {}), **BLANK}))

    write_whole(path, write, temporary)


def read_tensors(path: Path, fix: str, device: str = "cpu") -> tuple[dict[str, str], dict[str, Tensor]]:
    """What is kept beside the tensors, and the tensors. Raises SecateurError where the file is damaged, or none."""
    require_intact(path, fix)
    try:
        with safe_open(path, "pt", device=device) as file:
            return file.metadata() or {}, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise SecateurError(f"{path} cannot be read ({error}); {fix}") from error


def is_damaged(path: Path) -> bool:
    """Whether a file is not what ``write_tensors`` wrote: cut, changed, or none of safetensors."""
    try:
        with safe_open(path, "pt"):
            return not is_intact(path)
    except (OSError, SafetensorError):
        return True


def write_network(model: nn.Module, path: Path) -> None:
    """Write the weights of a network, sealed; modules may share tensors. In place: ``commit`` makes it whole."""
    _sealed(path, lambda: save_model(model, str(path), dict(BLANK)))


def read_network(model: nn.Module, path: Path, misfit: str, fix: str) -> None:
    """Fill a network with what ``write_network`` wrote. Raises SecateurError where it is damaged or of another one."""
    require_intact(path, fix)
    try:
        load_model(model, str(path))
    except (OSError, SafetensorError, RuntimeError) as error:
        first = " ".join(" ".join(str(error).splitlines()[:2]).split())  # torch lists every tensor
        raise SecateurError(f"{path} {misfit} ({first}); {fix}") from error


def _sealed(path: Path, write: Callable[[], object]) -> None:
    try:
        write()
    except SafetensorError as error:  # what the system says, in words of its own
        raise OSError(in_a_line(error)) from error
    seal(path)
