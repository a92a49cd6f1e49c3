"""A signal ends the program with one line and the shell's exit status, whatever the program is doing."""

import os
import signal
import subprocess
import sys
from contextlib import suppress

import pytest

LINE = "secateur: stopped; the same command resumes here\n"
PROGRAM = """
import signal, sys, time
from secateur.signals import SIGNALS, end_on_signals, say_stopped
for each in SIGNALS:
    signal.signal(each, signal.SIG_DFL)  # whatever the shell of the tests ignores
{before}
end_on_signals()
print("ready", flush=True)
{work}
"""
RESTING = "time.sleep(600)"
CAUGHT = """
try:
    time.sleep(600)
except KeyboardInterrupt as stopped:
    say_stopped()
    sys.exit(stopped.status)
"""
WITH_A_WORKER = """
import os
if os.fork() == 0:
    print("ready", flush=True)
time.sleep(600)
"""
DEAF = """
while True:
    try:
        while True:
            time.sleep(600)
    except KeyboardInterrupt:  # as a long call into a library, which notices no signal
        pass
"""

IN_A_CLEAN_UP = """
try:
    time.sleep(600)
finally:
    raise AssertionError("as of a library that was not ready to be stopped")
"""
IN_A_CALLBACK = """
import os, weakref
class Held: ...
def gone(_):
    os.kill(os.getpid(), signal.SIGTERM)
    while True:
        pass
held = Held()
reference = weakref.ref(held, gone)
del held  # what is raised in its callback reaches nobody
time.sleep(600)
"""


def ended(work: str, *signals: int, before: str = "", rank: str = "0", ready: int = 1) -> tuple[int, str]:
    """How the program ends when its group is sent these signals, and what it prints."""
    words, place = [sys.executable, "-c", PROGRAM.format(before=before, work=work)], {**os.environ, "RANK": rank}
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=place, start_new_session=True
    ) as process:
        assert process.stdout
        assert process.stderr
        assert [process.stdout.readline() for _ in range(ready)] == ["ready\n"] * ready
        try:
            for number in signals:
                os.killpg(process.pid, number)
            return process.wait(60), process.stderr.read()
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("work", [CAUGHT, DEAF])
def test_every_signal_ends_it_with_one_line_and_its_own_status(number: int, work: str) -> None:
    assert ended(work, number) == (128 + number, LINE)


def test_a_signal_before_anything_catches_it_prints_no_traceback() -> None:
    assert ended(RESTING, signal.SIGTERM) == (143, LINE)


def test_a_library_that_fails_as_it_cleans_up_hides_no_signal() -> None:
    assert ended(IN_A_CLEAN_UP, signal.SIGTERM) == (143, LINE)


def test_an_error_without_a_signal_has_its_traceback() -> None:
    status, said = ended('raise AssertionError("of a mistake")')
    assert status == 1
    assert "Traceback" in said
    assert "of a mistake" in said
    assert LINE not in said


def test_a_signal_in_a_callback_that_nothing_can_catch_prints_no_traceback() -> None:
    assert ended(IN_A_CALLBACK) == (143, LINE)


def test_what_else_a_callback_raises_is_printed() -> None:
    other = IN_A_CALLBACK.replace("os.kill(os.getpid(), signal.SIGTERM)", "raise OSError")
    waits = other.replace("time.sleep(600)", 'print("ready", flush=True)\n' + RESTING)
    status, said = ended(waits, signal.SIGTERM, ready=2)
    assert status == 143
    assert "Exception ignored in" in said
    assert "OSError" in said


def test_a_forked_worker_that_the_signal_reaches_too_says_nothing() -> None:
    assert ended(WITH_A_WORKER, signal.SIGINT, ready=2) == (130, LINE)


@pytest.mark.parametrize(("rank", "said"), [("0", LINE), ("1", "")])
def test_of_several_processes_the_first_says_it(rank: str, said: str) -> None:
    assert ended(RESTING, signal.SIGTERM, rank=rank) == (143, said)


def test_a_second_signal_ends_it_at_once() -> None:
    assert ended(DEAF, signal.SIGINT, signal.SIGINT) == (130, LINE)


def test_a_signal_the_shell_ignores_stays_ignored() -> None:
    hung_up = "signal.signal(signal.SIGHUP, signal.SIG_IGN)"  # as nohup does
    assert ended(CAUGHT, signal.SIGHUP, signal.SIGTERM, before=hung_up) == (143, LINE)


def test_the_command_hears_signals_before_its_imports() -> None:
    text = "import sys, signal; sys.modules['secateur.errors'] = None; import secateur.__main__"
    heard = "print(signal.getsignal(signal.SIGTERM) is signal.SIG_DFL)"
    said = subprocess.run(
        [sys.executable, "-c", f"try:\n    exec({text!r})\nexcept ImportError:\n    {heard}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout == "False\n"
