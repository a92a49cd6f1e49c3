"""Results of runs as figures: the search, widths along the depth, training."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from math import isfinite
from typing import TYPE_CHECKING, Any, TypeAlias

from ..models.score import PERCENT
from ..rundir.front import Width
from ..rundir.outcomes import InterimRecord
from ..rundir.results import Dot, Results, StepRecord

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, GREY, PALE = "#222222", "#808080", "#cccccc"
# Okabe and Ito, Color Universal Design (2008), less the yellow, which white paper swallows; with a shape each
STYLES = (("#0072b2", "o"), ("#d55e00", "s"), ("#009e73", "^"), ("#cc79a7", "v"), ("#e69f00", "P"), ("#56b4e9", "X"))
Notes: TypeAlias = dict[str, list[str]]


@dataclass(frozen=True, eq=False)
class Plot:
    """A figure of one plot, and a tooltip for each point: texts by the id of the points."""

    figure: "Figure"
    axes: "Axes"
    notes: Notes = field(default_factory=dict)

    @classmethod
    def of(cls, width: float, height: float) -> "Plot":
        """An empty one, inches wide and high, on which nothing overlaps."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(width, height), layout="constrained")
        axes = figure.subplots()
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color=PALE, lw=0.5)
        axes.set_axisbelow(True)
        return cls(figure, axes)

    def dots(self, dots: Sequence[Dot], **looks: Any) -> None:
        """Points at (millions of MACs, value) with their notes as tooltips."""
        name = f"dots-{len(self.notes)}"
        self.notes[name] = [dot.note for dot in dots]
        self.axes.scatter([dot.macs / 1e6 for dot in dots], [dot.value for dot in dots], gid=name, **looks)

    def legend(self, columns: int = 2, **handles: Any) -> "Plot":
        """What the colours mean, below."""
        self.figure.legend(loc="outside lower center", ncols=columns, frameon=False, **handles)
        return self


def history(runs: Sequence[Results]) -> Plot:
    """The lowest holdout loss so far over the evaluations of a search, all of them beside it where it is one run."""
    plot = Plot.of(5.0, 3.6)
    axes = plot.axes
    for run, (colour, _) in zip(runs, cycled(len(runs)), strict=True):
        met = [_loss_within(each, run) for each in run.trials]
        best = list(accumulate(met, min))
        label = "best within the budget" if len(runs) == 1 else run.folder.name
        axes.step(range(1, len(best) + 1), best, where="post", color=colour, lw=1.5, label=label)
    for source, (colour, shape) in zip(_sources(runs[0]) if len(runs) == 1 else (), cycled(9, 1), strict=False):
        tried = [(n, t) for n, t in enumerate(runs[0].trials, 1) if _source(t, runs[0]) == source and isfinite(t.loss)]
        name = f"trials-{source.replace(' ', '-')}"
        plot.notes[name] = [f"evaluation {n}, {evaluation(t, 'loss').note}" for n, t in tried]
        x, y = [n for n, _ in tried], [t.loss for _, t in tried]
        axes.scatter(x, y, s=16, marker=shape, color=colour, gid=name, label=source, lw=0, alpha=0.8)
    axes.set(xlabel="evaluations", ylabel="holdout loss (lower is better)")
    axes.set_ylim(bottom=0)
    return plot.legend(3)


def widths(groups: Mapping[str, Width]) -> Plot:
    """The channels of each group that stay, over the depth of the network, before its dense width."""
    plot = Plot.of(max(5.0, 0.2 * len(groups)), 3.6)
    axes, places = plot.axes, range(len(groups))
    for name, colour, label in (("dense", PALE, "dense"), ("width", STYLES[0][0], "kept")):
        axes.bar(places, [getattr(group, name) for group in groups.values()], color=colour, width=0.7, label=label)
    axes.set_xticks(places, list(groups), rotation=90, fontsize=8)
    axes.set(ylabel="channels", xlim=(-0.7, len(groups) - 0.3))
    axes.grid(visible=False, axis="x")
    return plot.legend()


def training(runs: Sequence[Results], name: str) -> Plot:
    """The training loss of every epoch, and the holdout score after it, dashed, on an axis on the right."""
    plot = Plot.of(5.0, 3.0)
    axes = plot.axes
    for run, (colour, shape) in zip(runs, cycled(len(runs)), strict=True):
        steps = [step for step in run.steps.get(name, ()) if isfinite(step.loss)]
        looks: dict[str, Any] = {"color": colour, "marker": shape, "ms": 3, "lw": 1.2}
        axes.plot(_epochs(steps), [step.loss for step in steps], label=run.folder.name, **looks)
    axes.set(xlabel="epochs", ylabel="training loss", xlim=(0, None))
    axes.locator_params(axis="x", integer=True)
    axes.set_ylim(bottom=0)
    _holdout(axes, runs, name)
    return plot.legend(3) if len(runs) > 1 else plot


def _holdout(axes: "Axes", runs: Sequence[Results], name: str) -> None:
    """The holdout scores of trainings, where they were measured, on an axis on the right."""
    scored = [[step for step in run.steps.get(name, ()) if step.holdout is not None] for run in runs]
    if not any(scored):
        return
    metric = next(step.metric for steps in scored for step in steps)
    right = axes.twinx()
    right.spines["top"].set_visible(False)
    for steps, (colour, _) in zip(scored, cycled(len(runs)), strict=True):
        values = [step.holdout for step in steps if step.holdout is not None]
        right.plot(_epochs(steps), values, color=colour, ls="--", lw=1.2)
    right.set_ylabel(f"holdout {metric} (dashed)")
    if metric in PERCENT:
        right.yaxis.set_major_formatter(lambda share, _: f"{100 * share:.4g}%")


def _epochs(steps: Sequence[StepRecord]) -> list[float]:
    """How many epochs were over at each of these."""
    last = max((step.epoch for step in steps), default=0) + 1  # an earlier version counted from 0
    return [step.step / step.steps * (step.epochs or last) for step in steps]


def evaluation(trial: InterimRecord, measure: str) -> Dot:
    """A trial of a search."""
    note = f"{trial.source}: {trial.macs / 1e6:.4g}M MACs, loss {trial.loss:.4f}, {trial.score}"
    return Dot(trial.macs, trial.score.measured(measure), note)


def _loss_within(trial: InterimRecord, run: Results) -> float:
    """A trial's loss, not a number where it breaks the budget, so that no minimum counts it."""
    allowed = trial.macs <= run.front.budget.macs and trial.n == run.dense.n
    return trial.loss if allowed and isfinite(trial.loss) else float("inf")


def _source(trial: InterimRecord, run: Results) -> str:
    """Proposals of the coarse search say which score and rule made them; in a picture they are one."""
    if trial.n < run.dense.n:
        return "stopped early"
    return trial.source if trial.source in ("dense", "start", "refine", "greedy") else "coarse"


def _sources(run: Results) -> list[str]:
    return list(dict.fromkeys(_source(trial, run) for trial in run.trials))


def cycled(count: int, first: int = 0) -> list[tuple[str, str]]:
    """``count`` colours and shapes."""
    return [STYLES[(first + number) % len(STYLES)] for number in range(count)]
