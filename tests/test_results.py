"""What is read back of a run directory."""

import json
from math import nan
from pathlib import Path

import pytest
from left import BUDGET, searched, tuned

from secateur.errors import SecateurError
from secateur.files import append_json, read_json, write_json
from secateur.models.score import Score
from secateur.rundir.config import ask
from secateur.rundir.manifest import Manifest
from secateur.rundir.results import Results


def test_a_finished_run_has_three_arms_with_their_figures_and_files(tmp_path: Path) -> None:
    run = Results.of(tuned(tmp_path / "run"))
    assert [arm.name for arm in run.arms] == ["dense", "pruned", "tuned"]
    assert run.arms[-1].figures.test == Score(0.1, 0.9712, 359)
    assert run.arms[-1].weights == tmp_path / "run" / "best" / "weights.safetensors"
    assert (run.command.split()[1], run.title) == ("run", "resnet20 on digits at 10%")


def test_a_run_that_is_only_searched_has_two_and_no_test_figures(tmp_path: Path) -> None:
    run = Results.of(searched(tmp_path / "run"))
    assert [(arm.name, arm.figures.holdout.n) for arm in run.arms if arm.figures.holdout] == [
        ("dense", 100),
        ("pruned", 200),
    ]
    assert (run.level("test"), run.dots("test"), run.level("loss")) == (None, [], 0.1)
    assert run.command.startswith("secateur search resnet20 --flops 10% --trials 4 --out ")


def test_points_that_were_tuned_are_arms_too(tmp_path: Path) -> None:
    folder = tuned(tmp_path / "run") / "points" / "12-kd"
    folder.mkdir(parents=True)
    figures = {"tuned": {"macs": 12, "parameters": 3, "test": {"loss": 0.2, "accuracy": 0.9, "n": 359}}}
    (folder / "architecture.json").write_text(json.dumps({"figures": figures}))
    run = Results.of(tmp_path / "run")
    assert [arm.name for arm in run.arms] == ["dense", "pruned", "tuned", "12-kd"]
    assert [(dot.macs, dot.value) for dot in run.dots("test")] == [(BUDGET, 0.9712), (12, 0.9)]


def test_a_trial_without_a_finite_loss_is_counted_and_a_line_cut_short_is_not(tmp_path: Path) -> None:
    folder = searched(tmp_path / "run", losses=(0.3, nan, nan))
    with (folder / "bank" / "records.jsonl").open("a") as file:
        file.write('{"source": "ref')
    run = Results.of(folder)
    assert (len(run.trials), run.lost) == (4, 2)


def test_a_finalists_second_score_is_no_trial(tmp_path: Path) -> None:
    folder = searched(tmp_path / "run")
    again = {"source": "refine", "loss": 0.2, "accuracy": 0.9, "n": 200, "macs": BUDGET, "parameters": 1}
    with (folder / "bank" / "records.jsonl").open("a") as file:
        file.write(json.dumps(again) + "\n")
    assert len(Results.of(folder).trials) == 5


def test_a_folder_that_is_no_run_or_has_no_front_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(SecateurError, match="pass the folder of a run"):
        Results.of(tmp_path)
    (searched(tmp_path / "run") / "front.json").write_text("")
    with pytest.raises(SecateurError, match=r"front\.json is damaged"):
        Results.of(tmp_path / "run")
    (tmp_path / "run" / "front.json").unlink()
    with pytest.raises(SecateurError, match=r"front\.json is gone; restore it"):
        Results.of(tmp_path / "run")
    Manifest(tmp_path / "begun", ask())
    with pytest.raises(SecateurError, match="has no front yet; finish it: secateur search resnet20"):
        Results.of(tmp_path / "begun")


@pytest.mark.parametrize("left", [None, [], [1], [2]], ids=["gone", "empty", "cut at a line's end", "without a line"])
def test_a_history_that_is_shorter_than_its_training_is_named(left: list[int] | None, tmp_path: Path) -> None:
    folder = searched(tmp_path / "run")
    book, path = read_json(folder / "run.json"), folder / "dense" / "metrics.jsonl"
    book["stages"]["dense"] = {"epochs": 2, "seconds": 1.0}
    write_json(folder / "run.json", book)
    path.parent.mkdir()
    for epoch in left or ():
        line = {"epoch": epoch, "epochs": 2, "step": 6 * epoch, "steps": 12}
        append_json(path, {**line, "loss": 1.0, "learning_rate": 0.1, "seconds": 1.0})
    if left == []:
        path.touch()
    with pytest.raises(SecateurError, match=r"dense.metrics\.jsonl is damaged \(.*; restore it"):
        Results.of(folder)
