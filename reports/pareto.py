"""The Pareto front of runs: a picture and a table."""

import csv
from collections.abc import Iterable, Sequence
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import SecateurError, in_a_line
from ..files import writing
from ..models.costs.units import COST_UNITS, format_quantity
from ..rundir.results import Dot, Results
from ..signatures import checked
from .plots import GREY, INK, Plot, cycled, evaluation

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PUBLISHED = "Dd<>ph8H"  # shapes, in turn
MEASURES = {
    "loss": "holdout loss before fine-tuning (lower is better)",
    "accuracy": "holdout accuracy before fine-tuning",
    "test": "test accuracy after fine-tuning",
}
FIELDS = ("run", "macs", "parameters", "macs_kept", "holdout_loss", "holdout_accuracy", "n", "source")


@checked
def pareto(*folders: Path | str, measure: str = "loss", published: Path | str | None = None) -> "Figure":
    """The Pareto plot of run directories, to be shown or saved.

    Args:
        *folders: run directories.
        measure: ``"loss"`` or ``"accuracy"`` on the holdout before fine-tuning, or ``"test"``, accuracy after it.
        published: a CSV of other people's points: name, macs (62M, or 50% of the first run's dense network), measure.

    >>> import secateur as sc
    >>> from safetensors.torch import save_model
    >>> save_model(sc.constructor("resnet20", 10)(), "weights.safetensors")
    >>> config = sc.Ask(weights="weights.safetensors", input="3x8x8", trials=1)
    >>> _ = sc.run(config, "run", until="search")
    >>> sc.pareto("run").savefig("pareto.png")
    """
    return compared([Results.of(folder) for folder in folders], measure, published).figure


def compared(runs: Sequence[Results], measure: str = "loss", published: Path | str | None = None) -> Plot:
    """A ``measure`` over MACs: fronts of runs, their dense networks and budgets, and other people's points.

    ``published`` is a CSV of ``name``, ``macs`` (62M, or 50% of the first run's dense network) and the measure.
    """
    if measure not in MEASURES:
        raise SecateurError(f"no measure is called {measure!r}; pass {', '.join(MEASURES)}")
    plot = Plot.of(7.0, 4.6)
    axes = plot.axes
    if len(runs) == 1 and measure != "test":
        cloud = [evaluation(each, measure) for each in runs[0].whole if isfinite(each.loss)]
        plot.dots(cloud, s=10, color=GREY, alpha=0.35, lw=0, label="evaluated")
    for run, style in zip(runs, cycled(len(runs)), strict=True):
        _draw_front(plot, run, measure, style=style, name=f"{run.folder.name}: " if len(runs) > 1 else "")
    others = list(_published(published, measure, runs[0].dense.macs)) if published else []
    for number, dot in enumerate(others):
        shape = PUBLISHED[number % len(PUBLISHED)]
        plot.dots([dot], s=44, marker=shape, facecolor="none", edgecolor=INK, label=dot.note)
    axes.set(xlabel="MACs of one image, millions", ylabel=_label(runs[0], measure), xlim=(0, None))
    if measure == "loss":
        axes.set_ylim(bottom=0)
    elif runs[0].dense.score.is_share:
        axes.yaxis.set_major_formatter("{x:.1%}")
    return plot.legend() if len(runs) == 1 else _shared_legend(plot, runs, others, measure)


def _shared_legend(plot: Plot, runs: Sequence[Results], others: Sequence[Dot], measure: str) -> Plot:
    """A name for each run, and once for all of them what the shapes are."""
    from matplotlib.lines import Line2D

    looks: dict[str, dict[str, object]] = {"dense": {"marker": "o", "mfc": "none"}, "budget": {"ls": "--", "lw": 1}}
    if measure != "test":
        looks["winner"] = {"marker": "*", "ms": 12}
    shapes = [Line2D([], [], **{"color": GREY, "ls": "", **each}, label=name) for name, each in looks.items()]  # type: ignore[arg-type]
    styles = zip(runs, cycled(len(runs)), strict=True)
    named = [Line2D([], [], color=colour, marker=shape, label=run.folder.name) for run, (colour, shape) in styles]
    notes = {dot.note for dot in others}
    published = [handle for handle in plot.axes.collections if handle.get_label() in notes]
    return plot.legend(3, handles=[*named, *shapes, *published])


def _label(run: Results, measure: str) -> str:
    """What lies on the axis; the metric of the run's task instead of accuracy."""
    return MEASURES[measure].replace("accuracy", run.dense.score.name)


def write_csv(runs: Sequence[Results], path: Path) -> None:
    """The points of the fronts as a table: a row each, MACs and parameters of one image, losses in nats."""
    with writing(path), path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(each.replace("accuracy", runs[0].dense.score.name) for each in FIELDS)
        for run in runs:
            for point in run.front.points:
                kept, score = point.costs.kept, point.score
                costs = (kept.macs, kept.parameters, f"{kept.macs / point.costs.dense.macs:.6f}")
                figures = (score.loss, score.value, score.n, point.provenance.source)
                rows.writerow((run.folder.name, *costs, *figures))


def _draw_front(plot: Plot, run: Results, measure: str, *, style: tuple[str, str], name: str) -> None:
    (colour, shape), dots, dense = style, run.dots(measure), run.dense.macs
    budget, level, winner = run.front.budget, run.level(measure), run.front.winner
    if measure == "test":
        plot.dots(dots, s=60, marker=shape, color=colour, zorder=4, label=f"{name}fine-tuned")
    else:
        plot.axes.step(
            [dot.macs / 1e6 for dot in dots], [dot.value for dot in dots], where="post", color=colour, lw=1.5
        )
        plot.dots(dots, s=28, marker=shape, color=colour, zorder=3, label=f"{name}front, before fine-tuning")
        value = winner.score.measured(measure)
        kept, score = winner.costs.kept, winner.score
        figures = f"{format_quantity(kept.macs)} MACs, {format_quantity(kept.parameters)} parameters"
        said = f"{name}winner, on the whole holdout: {figures}, loss {score.loss:.4f}, {score}"
        best = [Dot(kept.macs, value, said)]
        looks = {"s": 150, "marker": "*", "color": colour, "edgecolor": INK, "zorder": 4, "label": f"{name}winner"}
        plot.dots([dot for dot in best if isfinite(dot.value)], **looks)
    if level is not None and isfinite(level):
        label = f"{name}dense, {format_quantity(dense)}"
        reached = [Dot(dense, level, label)]
        plot.dots(reached, s=60, marker=shape, facecolor="none", edgecolor=colour, lw=1.5, label=label)
    label = f"{name}{budget.mark}, {format_quantity(budget.macs)}"
    plot.axes.axvline(budget.macs / 1e6, color=colour if name else GREY, ls="--", lw=1, label=label)


def _published(path: Path | str, measure: str, dense: int) -> Iterable[Dot]:
    """The rows of a table of other people's points that hold the measure."""
    try:
        rows = csv.DictReader(Path(path).read_text(encoding="utf-8").splitlines())
        for row in (row for row in rows if row[measure]):
            macs = COST_UNITS["macs"].read(row["macs"]).of(dense)
            value = float(row[measure].rstrip("%")) / (100 if row[measure].endswith("%") else 1)
            if not isfinite(value):
                raise ValueError(f"{measure} {row[measure]!r} is not finite")
            yield Dot(round(macs), value, row["name"])
    except (OSError, KeyError, ValueError, TypeError, AttributeError, csv.Error) as error:
        raise SecateurError(
            f"{path} is no table of published points ({in_a_line(error)[:200]}); "
            f"pass a CSV with the columns name, macs, {measure}"
        ) from error
