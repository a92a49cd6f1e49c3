"""What a person sees while a run is under way, and at its end."""

import sys
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace

import pytest

from secateur.progress import Epoch, Evaluation
from secateur.reports import terminal as console

Capture = pytest.CaptureFixture[str]


def clock(monkeypatch: pytest.MonkeyPatch, *seconds: float) -> None:
    ticks: Iterator[float] = iter(seconds)
    monkeypatch.setattr(console, "time", SimpleNamespace(perf_counter=lambda: next(ticks)))


def test_without_a_terminal_there_are_plain_lines_with_the_time_left(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    clock(monkeypatch, 0, 5, 12, 13, 40)
    with console.bars(False) as progress:
        progress("fine search", 0, 40)
        progress("fine search", 5, 40)  # five seconds after the last line: too soon
        progress("fine search", 10, 40)
        progress("fine search", 11, 40)
        progress("fine search", 40, 40)
    said = capsys.readouterr()
    # 10 in 12 seconds leave 30 in 36
    assert said.err.splitlines() == ["fine search: 0/40", "fine search: 10/40, 36 s left", "fine search: 40/40"]
    assert said.out == ""


def test_the_time_left_does_not_count_what_an_earlier_run_did(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    clock(monkeypatch, 0, 10)
    with console.bars(False) as progress:
        progress("fine search", 30, 40)
        progress("fine search", 35, 40)
    assert capsys.readouterr().err.splitlines()[-1] == "fine search: 35/40, 10 s left"


def test_every_new_piece_of_work_gets_its_line_at_once(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    clock(monkeypatch, 0, 1, 2)
    with console.bars(False) as progress:
        for what in ("coarse search", "fine search", "memory bank"):
            progress(what, 1, 100)
    assert [line.split(":")[0] for line in capsys.readouterr().err.splitlines()] == [
        "coarse search",
        "fine search",
        "memory bank",
    ]


def test_quiet_says_nothing(capsys: Capture) -> None:
    with console.bars(True) as progress:
        progress("fine search", 1, 2)
        progress("fine search", 2, 2)
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "")


def test_a_terminal_gets_bars_on_stderr(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with console.bars(False) as progress:
        progress("fine search", 1, 3)
        progress("fine search", 3, 3)
    said = capsys.readouterr()
    assert "fine search" in said.err
    assert "3/3" in said.err
    assert said.out == ""


EPOCH = Epoch(epoch=2, epochs=10, step=16, steps=80, loss=0.75, learning_rate=0.05, seconds=1.0, holdout=0.5, n=100)
EVALUATION = Evaluation(
    search="fine search", source="refine", macs=9, parameters=1, loss=0.4, value=0.9, metric="accuracy", n=100, best=0.3
)


@pytest.mark.parametrize("terminal", [False, True])
def test_every_epoch_has_a_line_with_loss_learning_rate_and_holdout(
    terminal: bool, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    with console.bars(False) as observer:
        observer("fine-tuning", 16, 80)
        observer.on_epoch(EPOCH)
        observer.on_epoch(replace(EPOCH, metric="MAE", holdout=2.5))
    said = capsys.readouterr().err
    assert "epoch 2/10: loss 0.7500, lr 0.05, holdout 50.00%" in said
    assert "holdout 2.5 MAE" in said


@pytest.mark.parametrize("terminal", [False, True])
def test_the_best_loss_so_far_shows_while_a_search_runs(
    terminal: bool, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    with console.bars(False) as observer:
        observer("fine search", 1, 2)
        observer.on_evaluation(EVALUATION)
        observer("fine search", 2, 2)
        observer.on_evaluation(replace(EVALUATION, best=0.2))
    assert (
        f"fine search{'' if terminal else ': 2/2'}, best loss 0.{'2' if terminal else '3'}000"
        in capsys.readouterr().err
    )
