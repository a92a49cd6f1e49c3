"""A signal ends the program with one line, within two seconds, whatever it is doing."""

import os
import signal
import sys
import threading
from contextlib import suppress
from types import FrameType, TracebackType

PATIENCE = 1.5  # seconds for the program to end by itself: a long call into a library notices no signal
LINE = "secateur: stopped; the same command resumes here"
SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
_said, _silent = threading.Event(), threading.Event()


class Stopped(KeyboardInterrupt):
    """A signal asked the program to end; ``status`` is the exit status to end with."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.status = 128 + number


def end_on_signals() -> None:
    """From now on SIGINT, SIGTERM and SIGHUP raise ``Stopped`` in the main thread; a second one ends at once.

    If the program has not ended ``PATIENCE`` seconds later, it is ended: files are written whole or not at all, so
    only the step in flight is lost. Of several processes the first alone says so: not those that it forks, such as
    workers of a loader, nor the others of torchrun.
    """
    if os.environ.get("RANK", "0") != "0":
        _silent.set()
    if hasattr(os, "register_at_fork"):  # not on Windows
        os.register_at_fork(after_in_child=_silent.set)
    if threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup and a shell's "&" leave it
                signal.signal(number, _stop)
        sys.excepthook, sys.unraisablehook = _uncaught, _unraisable


def say_stopped() -> None:
    """Print how to resume, in the first of several processes."""
    _said.set()
    if not _silent.is_set():
        with suppress(OSError):
            print(LINE, file=sys.stderr, flush=True)


def _stop(number: int, frame: FrameType | None) -> None:
    signal.signal(number, _end)
    timer = threading.Timer(PATIENCE, _end, (number, None))
    timer.daemon = True
    timer.start()
    raise Stopped(number)


def _end(number: int, frame: FrameType | None) -> None:
    """End now, with all that was printed."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()
    if not _said.is_set():
        say_stopped()
    os._exit(128 + number)


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """One line and its status for a signal, also where a library failed as it cleaned up; else the traceback."""
    if stopped := _signal_behind(error):
        _end(stopped.status - 128, None)
    else:
        sys.__excepthook__(kind, error, trace)


def _signal_behind(error: BaseException | None) -> Stopped | None:
    """The signal that an error is, or that was being handled when it was raised."""
    while error is not None and not isinstance(error, Stopped):
        error = error.__context__
    return error if isinstance(error, Stopped) else None


def _unraisable(unraised: "sys.UnraisableHookArgs") -> None:
    """Nothing for a signal that fell into a callback, where nobody can catch it: ``PATIENCE`` ends the program."""
    if not isinstance(unraised.exc_value, Stopped):
        sys.__unraisablehook__(unraised)
