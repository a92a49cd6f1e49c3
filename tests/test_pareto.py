"""The picture of a search, and its table."""

import csv
from pathlib import Path

import numpy as np
import pytest
from left import BUDGET, DENSE, searched, tuned
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection

import secateur as sc
from secateur.reports.pareto import compared, write_csv
from secateur.rundir.results import Results


def axes_of(*folders: Path, measure: str = "loss", published: Path | str | None = None) -> Axes:
    (axes,) = sc.pareto(*folders, measure=measure, published=published).axes
    return axes


def places(axes: Axes, label: str) -> list[list[float]]:
    """Where the points stand that bear this label."""
    (found,) = [c for c in axes.collections if isinstance(c, PathCollection) and str(c.get_label()).startswith(label)]
    listed: list[list[float]] = np.asarray(found.get_offsets()).tolist()
    return listed


def test_the_axes_say_what_they_show_and_in_which_unit(tmp_path: Path) -> None:
    axes = axes_of(searched(tmp_path / "run"))
    assert axes.get_xlabel() == "MACs of one image, millions"
    assert axes.get_ylabel() == "holdout loss before fine-tuning (lower is better)"


def test_points_winner_dense_and_budget_stand_where_they_belong(tmp_path: Path) -> None:
    axes = axes_of(searched(tmp_path / "run"))
    assert places(axes, "front") == [[20.0, 0.2], [30.0, 0.15]]
    assert places(axes, "winner") == [[20.0, 0.2]]
    assert places(axes, "dense, 40M") == [[40.0, 0.1]]
    assert len(places(axes, "evaluated")) == 4  # the fifth gave no number
    (line,) = [line for line in axes.lines if line.get_label() == "budget, 20M"]
    assert np.asarray(line.get_xdata()).tolist() == [BUDGET / 1e6] * 2


def test_several_runs_lie_over_each_other_by_name(tmp_path: Path) -> None:
    axes = axes_of(searched(tmp_path / "one"), tuned(tmp_path / "two"))
    for name in ("one", "two"):
        assert places(axes, f"{name}: front") == [[20.0, 0.2], [30.0, 0.15]]
    assert not [c for c in axes.collections if c.get_label() == "evaluated"]


def test_the_legend_of_several_runs_has_a_line_for_each_and_says_once_what_the_shapes_are(tmp_path: Path) -> None:
    figure = sc.pareto(*(searched(tmp_path / name) for name in ("one", "two", "three")))
    said = [text.get_text() for legend in figure.legends for text in legend.get_texts()]
    assert said == ["one", "two", "three", "dense", "budget", "winner"]


def test_by_test_accuracy_what_was_tuned_is_shown(tmp_path: Path) -> None:
    axes = axes_of(tuned(tmp_path / "run"), measure="test")
    assert axes.get_ylabel() == "test accuracy after fine-tuning"
    assert places(axes, "fine-tuned") == [[20.0, 0.9712]]
    assert places(axes, "dense") == [[40.0, 0.96]]


def test_published_points_are_read_as_people_write_them(tmp_path: Path) -> None:
    table = tmp_path / "others.csv"
    table.write_text("name,macs,test,loss\nHRank,50%,93.5%,\nFPGM,22.1M,0.921,\nno test,10M,,0.3\n")
    axes = axes_of(tuned(tmp_path / "run"), measure="test", published=str(table))
    assert places(axes, "HRank") == [[20.0, 0.935]]
    assert places(axes, "FPGM") == [[22.1, 0.921]]
    assert not [c for c in axes.collections if c.get_label() == "no test"]


@pytest.mark.parametrize(
    "text", ["name,macs\nA,50%\n", "name,macs,loss\nA,fifty,0.3\n", "name,macs,loss\nA,5M,low\n", None]
)
def test_a_table_that_is_none_is_refused(tmp_path: Path, text: str | None) -> None:
    table = tmp_path / "others.csv"
    if text:
        table.write_text(text)
    with pytest.raises(sc.SecateurError, match=r"not a share or|pass a CSV with the columns name, macs, loss"):
        axes_of(searched(tmp_path / "run"), published=table)


def test_a_measure_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(sc.SecateurError, match="no measure is called 'speed'; pass loss, accuracy, test"):
        axes_of(searched(tmp_path / "run"), measure="speed")


def test_every_point_says_its_figures(tmp_path: Path) -> None:
    plot = compared([Results.of(searched(tmp_path / "run"))])
    told = [note for notes in plot.notes.values() for note in notes]
    assert "refine: 20M MACs, 0.1333M par." in told
    assert sum(len(np.asarray(c.get_offsets())) for c in plot.axes.collections) == len(told)


def test_the_table_has_a_row_for_each_point_of_each_run(tmp_path: Path) -> None:
    runs = [Results.of(searched(tmp_path / name)) for name in ("one", "two")]
    write_csv(runs, tmp_path / "front.csv")
    rows = list(csv.DictReader((tmp_path / "front.csv").read_text().splitlines()))
    assert [row["run"] for row in rows] == ["one", "one", "two", "two"]
    assert (int(rows[0]["macs"]), float(rows[0]["macs_kept"])) == (BUDGET, BUDGET / DENSE["macs"])
    assert (float(rows[0]["holdout_loss"]), int(rows[0]["n"])) == (0.2, 100)
