"""The words that the help lists are those that are read."""

import subprocess
import sys
from pathlib import Path

import pytest

from secateur.__main__ import app
from secateur.models.precision import PRECISIONS
from secateur.rundir.choices import Method, Precision, Sampler, shown_default, words
from secateur.rundir.options import JOINT_METHODS, SEARCH
from secateur.search.config import GREEDY
from secateur.search.samplers.samplers import SAMPLERS
from secateur.transfer.methods import METHODS


def test_the_choices_are_what_the_readers_take() -> None:
    assert {*words(Method)} == {SEARCH, *METHODS, *JOINT_METHODS}
    assert words(Sampler) == (*SAMPLERS, GREEDY)
    assert words(Precision) == PRECISIONS


def test_a_switch_that_is_off_has_no_default_to_show() -> None:
    assert [shown_default(value) for value in (False, (), 0, "ckt")] == [None, None, 0, "ckt"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete_commands_options_and_choices(shell: str) -> None:
    script = app.generate_completion(shell=shell)  # type: ignore[arg-type]
    for word in ("transfer", "--sampler", "cmaes", "ckt-queue", "blockwise", "--divisor", "onnxruntime", "adamw"):
        assert word in script


def test_bash_offers_the_choices_of_an_option(tmp_path: Path) -> None:
    (tmp_path / "completion").write_text(app.generate_completion(shell="bash"))
    typed = 'COMP_WORDS=(secateur run --sampler ""); COMP_CWORD=3; _secateur; echo "${COMPREPLY[@]}"'
    done = subprocess.run(["bash", "-c", f"source {tmp_path}/completion; {typed}"], capture_output=True, text=True)
    assert done.stdout.split() == [*words(Sampler)], done.stderr


def test_the_help_of_a_run_is_in_groups_in_the_order_of_its_questions() -> None:
    done = subprocess.run([sys.executable, "-m", "secateur", "run", "--help"], capture_output=True, text=True)
    titles = [line.strip("╭─╮ ") for line in done.stdout.splitlines() if line.startswith("╭")]
    assert titles == [
        "What you ask",
        "Data",
        "Search",
        "Allowed widths",
        "Training",
        "Other methods: pdd, kddp, blockwise",
        "Where it runs, and what it leaves",
    ]
