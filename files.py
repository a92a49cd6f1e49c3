"""Folders that are written to."""

from pathlib import Path

from .errors import SecateurError


def ensure_folder(folder: Path | str) -> Path:
    """The folder, made where it is not there. Raises SecateurError where it cannot be."""
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SecateurError(f"the folder {folder} cannot be made ({error.strerror}); give another") from error
    return folder
