"""A signal ends the program with one line and the shell's exit status, whatever the program is doing."""

import signal
import subprocess
import sys

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
DEAF = """
while True:
    try:
        while True:
            time.sleep(600)
    except KeyboardInterrupt:  # as a long call into a library, which notices no signal
        pass
"""


def ended(work: str, *signals: int, before: str = "") -> tuple[int, str]:
    """How the program ends when it is sent these signals, and what it prints."""
    words = [sys.executable, "-c", PROGRAM.format(before=before, work=work)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stderr
        assert process.stdout.readline() == "ready\n"
        try:
            for number in signals:
                process.send_signal(number)
            return process.wait(60), process.stderr.read()
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("work", [CAUGHT, DEAF])
def test_every_signal_ends_it_with_one_line_and_its_own_status(number: int, work: str) -> None:
    assert ended(work, number) == (128 + number, LINE)


def test_a_signal_before_anything_catches_it_prints_no_traceback() -> None:
    assert ended(RESTING, signal.SIGTERM) == (143, LINE)


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
