"""What a person sees while a run is under way, and at its end."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from secateur.reports import terminal as console

Capture = pytest.CaptureFixture[str]


def clock(monkeypatch: pytest.MonkeyPatch, *seconds: float) -> None:
    ticks: Iterator[float] = iter(seconds)
    monkeypatch.setattr(console, "time", SimpleNamespace(perf_counter=lambda: next(ticks)))


def stages() -> dict[str, dict[str, Any]]:
    def arm(macs: int, parameters: int, holdout: float, test: float) -> dict[str, Any]:
        scores = {
            "holdout": {"loss": 1.0, "accuracy": holdout, "n": 360},
            "test": {"loss": 1.0, "accuracy": test, "n": 359},
        }
        return {**scores, "macs": macs, "parameters": parameters}

    arms = {
        "dense": arm(40_000_000, 270_000, 0.9876, 0.9765),
        "pruned": arm(20_000_000, 135_000, 0.5432, 0.4321),
        "tuned": arm(20_000_000, 135_000, 0.9753, 0.9642),
    }
    return {"dense": {"seconds": 1.2}, "search": {"seconds": 62.6}, "test": {**arms, "seconds": 3.0}}


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


def test_the_table_has_the_figures_their_n_and_where_the_network_lies(capsys: Capture) -> None:
    console.print_result(stages(), Path("runs/x"), False)
    said = capsys.readouterr().out
    rows = {line.split("│")[1].strip(): line for line in said.splitlines() if line.startswith("│")}
    assert "40M (100.0%)" in rows["dense"]
    assert "98.76%" in rows["dense"]
    assert "43.21%" in rows["only pruned"]
    for figure in ("20M (50.0%)", "135K (50.0%)", "97.53%", "96.42%"):
        assert figure in rows["fine-tuned"]
    assert "n = 360 holdout and 359 test images" in said
    assert "search 63" in said
    assert "runs/x/best" in said
    assert "memory bank" not in said


@pytest.mark.parametrize(("there", "said"), [(1, "has 1 teacher of 4:"), (2, "has 2 teachers of 5:")])
def test_a_bank_that_lacks_teachers_is_told(capsys: Capture, there: int, said: str) -> None:
    bank = {"teachers": [{"macs": 1, "loss": 0.1}] * there, "missing": 3, "seconds": 1.0}
    console.print_result({**stages(), "bank": bank}, Path("runs/x"), False)
    assert said in capsys.readouterr().out


def test_a_dense_network_that_knows_nothing_is_doubted(capsys: Capture) -> None:
    usual, told = stages(), "no better than chance: are --weights, --mean and --std right?"
    usual["dense"]["classes"] = 10
    console.print_result(usual, Path("runs/x"), False)
    assert told not in capsys.readouterr().out
    usual["test"]["dense"]["holdout"]["accuracy"] = 0.11
    console.print_result(usual, Path("runs/x"), False)
    assert told in " ".join(capsys.readouterr().out.split())


def test_a_method_that_took_nothing_says_so_and_a_student_that_starts_anew_is_not_called_dense(capsys: Capture) -> None:
    found = {**stages(), "learn": {"form": "masks", "seconds": 1.0}}
    console.print_result(found, Path("runs/x"), False)
    assert "nothing was pruned" not in capsys.readouterr().out
    found["test"]["pruned"] = found["test"]["dense"]
    found["dense"]["weights"] = "none"
    console.print_result(found, Path("runs/x"), False)
    said = capsys.readouterr().out
    assert "nothing was pruned: more --epochs find more" in said
    assert "│ untrained" in said
    assert "│ dense" not in said


@pytest.mark.parametrize(("shares", "told"), [((0.0, 0.0), True), ((0.0, 0.2), False)])
def test_a_bank_whose_interim_teachers_taught_nothing_is_told(
    capsys: Capture, shares: tuple[float, ...], told: bool
) -> None:
    interims = [{"macs": 20e6 + n, "loss": 0.5, "open": share} for n, share in enumerate(shares)]
    transfer = {"teachers": [{"macs": 40e6, "loss": 0.2, "open": 0.9}, *interims], "seconds": 1.0}
    console.print_result({**stages(), "transfer": transfer}, Path("runs/x"), False)
    assert ("interim subnetworks taught nothing" in capsys.readouterr().out) is told


def test_a_bank_of_the_dense_network_alone_is_told_once(capsys: Capture) -> None:
    transfer = {"teachers": [{"macs": 40e6, "loss": 0.2, "open": 0.9}], "seconds": 1.0}
    console.print_result({**stages(), "transfer": transfer}, Path("runs/x"), False)
    assert "taught nothing" not in capsys.readouterr().out


def test_json_is_one_object_and_nothing_else(capsys: Capture) -> None:
    console.print_result(stages(), Path("runs/x"), True)
    said = capsys.readouterr()
    assert json.loads(said.out) == {"out": "runs/x", **stages()}
    assert said.out.count("\n") == 1
    assert said.err == ""


def test_the_table_of_a_large_network_fits_eighty_columns(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    large = stages()
    for arm in ("dense", "pruned", "tuned"):
        large["test"][arm].update(macs=4_089_184_256, parameters=25_557_032)
    console.print_result(large, Path("runs/x"), False)
    said = capsys.readouterr().out
    assert said.count("4.089G") == said.count("25.56M") == 3
