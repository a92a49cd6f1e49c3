"""The search, the widths and the training as figures."""

import json
from math import nan
from pathlib import Path

import numpy as np
from left import BUDGET, GROUPS, architecture, searched, tuned

from secateur.reports.plots import history, training, widths
from secateur.rundir.front import Width
from secateur.rundir.results import Results


def test_the_best_so_far_falls_and_counts_only_what_the_budget_allows(tmp_path: Path) -> None:
    axes = history([Results.of(searched(tmp_path / "run", losses=(0.3, nan, 0.4, 0.2)))]).axes
    (best,) = axes.lines
    assert np.asarray(best.get_xdata()).tolist() == [1, 2, 3, 4, 5]
    assert np.asarray(best.get_ydata()).tolist() == [np.inf, 0.3, 0.3, 0.3, 0.2]  # the dense network comes first


def test_trials_are_told_apart_by_their_source(tmp_path: Path) -> None:
    plot = history([Results.of(searched(tmp_path / "run", losses=(0.3, nan)))])
    assert {name: len(notes) for name, notes in plot.notes.items()} == {"trials-dense": 1, "trials-refine": 1}
    assert len({str(points.get_facecolor()) for points in plot.axes.collections}) == 2


def test_what_was_stopped_early_is_told_apart_and_is_no_best(tmp_path: Path) -> None:
    folder = searched(tmp_path / "run", losses=(0.3,))
    stopped = {"source": "refine", "loss": 0.01, "accuracy": 1.0, "n": 20, "macs": BUDGET, "parameters": 1}
    with (folder / "bank" / "records.jsonl").open("a") as file:
        file.write(json.dumps(stopped) + "\n")
    plot = history([Results.of(folder)])
    assert [len(notes) for notes in plot.notes.values()] == [1, 1, 1]
    assert "trials-stopped-early" in plot.notes
    assert np.asarray(plot.axes.lines[0].get_ydata())[-1] == 0.3


def test_widths_stand_before_their_dense_ones_in_order() -> None:
    groups = architecture(20_000_000, 0.2)["groups"]
    axes = widths({name: Width(width=each["width"], dense=each["dense"]) for name, each in groups.items()}).axes
    dense, kept = ([bar.get_height() for bar in bars] for bars in axes.containers)
    assert dense == list(GROUPS.values())
    assert kept == [width / 2 for width in GROUPS.values()]
    assert [label.get_text() for label in axes.get_xticklabels()] == list(GROUPS)


def test_training_goes_over_epochs(tmp_path: Path) -> None:
    (line,) = training([Results.of(tuned(tmp_path / "run"))], "fine-tuning").axes.lines
    assert np.asarray(line.get_xdata()).tolist() == [1.0, 2.0]
    assert np.asarray(line.get_ydata()).tolist() == [1.0, 0.5]
