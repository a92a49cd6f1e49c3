"""The commands that are printed after others can be typed."""

import shlex
from pathlib import Path

import pytest

from secateur.__main__ import app
from secateur.reports.next_commands import (
    AFTER,
    after_evaluate,
    after_export,
    after_report,
    after_reuse,
    after_search,
    after_transfer,
    next_commands,
)
from secateur.rundir.config import ask


def typed(text: str) -> list[list[str]]:
    return [shlex.split(line.partition("  secateur ")[2]) for line in text.splitlines()]


@pytest.mark.parametrize("command", AFTER)
@pytest.mark.parametrize("target", ["runs/r56", "runs/a run"])
def test_every_command_that_follows_parses_whatever_the_folder(command: str, target: str) -> None:
    for words in typed(next_commands(command, target)):
        app.parse_args(words, exit_on_error=False, print_error=False)
        assert command == "doctor" or target in words


def test_a_search_is_continued_with_its_own_options() -> None:
    options = ask("resnet56", flops="40%", freeze=("layer1.*",)).command_line
    first, *others = typed(after_search(options, Path("runs/a run")))
    for words in (first, *others):
        app.parse_args(words, exit_on_error=False, print_error=False)
    assert first == ["run", "resnet56", "--flops", "40%", "--freeze", "layer1.*", "--out", "runs/a run"]
    assert [words[0] for words in others] == ["transfer", "report"]


def test_a_point_is_reported_with_its_run_and_a_reused_network_is_not() -> None:
    assert [words[:2] for words in typed(after_transfer(Path("runs/x/points/p")))] == [
        ["export", "runs/x/points/p"],
        ["report", "runs/x"],
    ]
    assert [words[:2] for words in typed(after_transfer(Path("slim")))] == [["export", "slim"]]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A finished run and a point of it, as far as is looked at."""
    folder = tmp_path / "a run"
    for part in ("best", "points/p"):
        (folder / part).mkdir(parents=True)
    (folder / "run.json").touch()
    return folder


def test_what_follows_the_use_of_a_run_can_be_typed(run: Path) -> None:
    point = str(run / "points/p")
    for text, first in (
        (after_report([run]), ["evaluate", str(run)]),
        (after_export(Path(point)), ["evaluate", point]),
        (after_evaluate(point), ["export", point]),
        (after_reuse(run, fresh=False), ["transfer", str(run)]),
    ):
        commands = typed(text)
        assert commands[0][:2] == first
        for words in commands:
            app.parse_args(words, exit_on_error=False, print_error=False)
    assert typed(after_evaluate(point))[1] == ["report", str(run)]


def test_a_network_of_no_run_is_tested_on_data_and_a_search_alone_has_no_network(run: Path, tmp_path: Path) -> None:
    assert typed(after_export(tmp_path)) == [["evaluate", str(tmp_path), "--data", "imagefolder:DIR"]]
    (run / "best").rmdir()
    assert after_report([run]) == ""
