"""The picture of a search."""

from dataclasses import dataclass
from io import BytesIO

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from secateur.report import page, pareto

DENSE, BUDGET = 40_000_000, 20_000_000


@dataclass(frozen=True)
class Point:
    macs: int
    loss: float


FRONT = (Point(19_900_000, 0.9), Point(26_000_000, 0.5), Point(40_000_000, 0.2))


def drawn(front: tuple[Point, ...], winner: Point) -> tuple[Figure, Axes]:
    figure = pareto(front, DENSE, BUDGET, winner)
    figure.savefig(BytesIO(), format="png")
    (axes,) = figure.axes
    return figure, axes


def test_the_axes_say_what_they_show_and_in_which_unit() -> None:
    _, axes = drawn(FRONT, FRONT[0])
    assert "MACs" in axes.get_xlabel()
    assert "millions" in axes.get_xlabel()
    assert "holdout loss" in axes.get_ylabel()
    assert "nats" in axes.get_ylabel()


@pytest.mark.parametrize(("word", "macs"), [("budget", BUDGET), ("dense", DENSE)])
def test_the_budget_and_the_dense_cost_are_lines_with_their_figures(word: str, macs: int) -> None:
    _, axes = drawn(FRONT, FRONT[0])
    (line,) = [line for line in axes.lines if str(line.get_label()).startswith(word)]
    assert np.asarray(line.get_xdata()).tolist() == [macs / 1e6] * 2
    assert str(line.get_label()) == f"{word}, {macs // 10**6}M"


def test_the_cost_of_a_tiny_network_is_not_rounded_away() -> None:
    axes = pareto([Point(83_024, 1.4)], 166_048, 83_024, Point(83_024, 1.4)).axes[0]
    assert {"budget, 0.08302M", "dense, 0.166M"} <= {str(line.get_label()) for line in axes.lines}


def test_every_point_of_the_front_and_the_winner_are_where_they_belong() -> None:
    _, axes = drawn(FRONT, FRONT[1])
    front, winner = axes.collections
    assert np.asarray(front.get_offsets()).tolist() == [[p.macs / 1e6, p.loss] for p in FRONT]
    assert np.asarray(winner.get_offsets()).tolist() == [[26.0, 0.5]]


def test_a_front_of_one_point_is_drawn_too() -> None:
    only = Point(DENSE, 0.3)
    figure, axes = drawn((only,), only)
    assert isinstance(figure, Figure)
    left, right = axes.get_xlim()
    assert left < DENSE / 1e6 < right
    assert left < BUDGET / 1e6 < right


@pytest.mark.parametrize("form", ["png", "svg"])
def test_it_is_written_as_a_file(form: str) -> None:
    figure, _ = drawn(FRONT, FRONT[0])
    file = BytesIO()
    figure.savefig(file, format=form)
    assert len(file.getvalue()) > 1000


def test_the_legend_names_everything_once() -> None:
    _, axes = drawn(FRONT, FRONT[0])
    legend = axes.get_legend()
    assert legend is not None
    words = [text.get_text().split(",")[0] for text in legend.get_texts()]
    assert sorted(words) == ["budget", "dense", "front", "winner"]


def test_the_page_says_what_came_out_and_needs_nothing_else() -> None:
    split = {"loss": 0.1, "n": 100}
    arm = {"holdout": {**split, "accuracy": 0.99}, "test": {**split, "accuracy": 0.9712}, "parameters": 1000}
    arms = {"dense": {**arm, "macs": DENSE}, "pruned": {**arm, "macs": BUDGET}, "tuned": {**arm, "macs": BUDGET}}
    bank = {"teachers": [{"macs": DENSE, "loss": 0.05}], "seconds": 1.0}
    stages = {"bank": bank, "transfer": {"gates_open": [1.0], "seconds": 2.0}, "test": {**arms, "seconds": 3.0}}
    groups = {"layer1.0.conv1": {"dense": 16, "width": 7, "kept": list(range(7))}}
    html = page("a <b> net", "secateur run x", stages, {"groups": groups}, "<?xml?><svg id='plot'></svg>")
    for shown in (
        "a &lt;b&gt; net",
        "97.12%",
        "50.0%",
        "layer1.0.conv1",
        "<svg id='plot'>",
        "secateur run x",
        "100.0%",
    ):
        assert shown in html
    assert "http" not in html
    without_bank = {**stages, "transfer": {"gates_open": [], "seconds": 2.0}}
    assert "<td>-" in page("net", "x", without_bank, {"groups": groups}, "<svg></svg>")
