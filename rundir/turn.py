"""Whose turn it is: of several processes in one run directory one alone works on a stage, and the others know which."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from ..files import writing
from ..progress import Progress, silent

LOCK, HOLDER = "run.lock", "holder.lock"
PATIENCE = 2.0  # seconds until a process that waits says for whom


class Turn:
    """A lock on a run directory. The system releases that of a process that ends, however it ends.

    The same process may take it again while it holds it. ``progress`` is told for which process this one waits.
    """

    def __init__(self, folder: Path, progress: Progress = silent) -> None:
        self.folder, self.progress = folder, progress
        self._lock = FileLock(folder / LOCK)

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Inside, no other process has it."""
        with writing(self.folder / LOCK):
            self._acquire()
        try:
            yield
        finally:
            self._lock.release()

    def _acquire(self) -> None:
        try:
            self._lock.acquire(timeout=PATIENCE)
        except Timeout:
            self.progress(f"waiting for {self._holder()}, which works in {self.folder}", 0, 1)
            self._lock.acquire()
        with suppress(OSError):  # a name for others to read, no more
            (self.folder / HOLDER).write_text(f"process {os.getpid()} on {socket.gethostname()}", encoding="utf-8")

    def _holder(self) -> str:
        """The process that has it now, as far as it is known."""
        with suppress(OSError, UnicodeDecodeError):
            return (self.folder / HOLDER).read_text(encoding="utf-8")[:100] or "another process"
        return "another process"
