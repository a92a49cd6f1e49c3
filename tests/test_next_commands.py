"""The commands that are printed after others can be typed."""

import shlex
from pathlib import Path

import pytest

from secateur.__main__ import app
from secateur.reports.next_commands import AFTER, after_search, after_transfer, next_commands
from secateur.rundir.config import ask


def typed(text: str) -> list[list[str]]:
    return [shlex.split(line.partition("  secateur ")[2]) for line in text.splitlines()]


@pytest.mark.parametrize("command", AFTER)
@pytest.mark.parametrize("target", ["runs/r56", "runs/a run"])
def test_every_command_that_follows_parses_whatever_the_folder(command: str, target: str) -> None:
    for words in typed(next_commands(command, target)):
        app.parse_args(words, exit_on_error=False, print_error=False)
        assert target in words


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
