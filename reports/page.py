"""The page about runs: one file that opens offline, with the Pareto picture and its table beside it."""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from importlib.resources import files
from io import StringIO
from pathlib import Path
from typing import TypeAlias

from ..errors import SecateurError
from ..files import ensure_folder, write_text
from ..models.costs.units import format_quantity
from ..models.score import Score
from ..rundir.classes import Classes
from ..rundir.measured import Measured
from ..rundir.outcomes import Seconds, SpeedStage
from ..rundir.results import Arm, Results
from ..signatures import checked
from . import classes
from .pareto import compared, write_csv
from .plots import GREY, INK, PALE, STYLES, Plot, history, training, widths
from .teachers import TEACHERS, WORTH, candidates_of, teachers
from .titles import title_of

TRAININGS = {
    "learning": "Learning the widths",
    "fine-tuning": "Fine-tuning",
    "dense": "Training of the dense network",
    "teacher": "Training of the teacher",
}
COSTS = ("macs", "parameters")
EPOCHS = "The mean loss of every epoch, and the holdout score after it, dashed, on at most 1,000 images."
FRONT = "pareto.png and pareto.svg for papers, front.csv for tables"
SCORED = "; scored as the search does, batch norm from each batch, where the table above has running statistics"
THEMED = {
    INK: "var(--ink)",
    "#000000": "var(--ink)",
    GREY: "var(--soft)",
    PALE: "var(--line)",
    STYLES[0][0]: "var(--blue)",
}


WORDS = (
    "The holdout is images that the search compares networks on; test images are read once, at the end. "
    "Only pruned: the channels that stay, before any training. One MAC is two FLOPs."
)
CLOSED = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"  # browsers fetch nothing for it
NARROW = 5.0  # inches: a plot that a phone shows whole
LEGIBLE, LARGEST = 4.4, 8.0  # rem for an inch of a plot, at least and at most
MANY = 6  # columns; a phone shows the rows of a wider table as cards
LONG = 40  # letters of a cell, from which on it is broken into lines
Cell: TypeAlias = str | tuple[str, str]  # what it says, and beside it in small letters


@checked
def report(
    *folders: Path | str, out: Path | str | None = None, measure: str = "loss", published: Path | str | None = None
) -> Path:
    """The page about run directories, which opens offline; beside it pareto.png, pareto.svg and front.csv.

    Args:
        *folders: run directories, of ``secateur run`` or ``sc.find``; several are laid over each other.
        out: the folder to write to; by default the run's own, or for several ``report`` beside the first.
        measure: ``"loss"`` or ``"accuracy"`` on the holdout before fine-tuning, or ``"test"``, accuracy after it.
        published: a CSV of other people's points, as of ``sc.pareto``.

    Returns:
        The path of report.html.

    >>> import secateur as sc
    >>> data = sc.open_data("digits", (3, 8, 8))
    >>> net = sc.Supernet.of(sc.constructor("resnet20", 10)().eval(), data.example)
    >>> found = sc.find(net, data, "40%", trials=1, views=0, out="run")
    >>> sc.report("run").name
    'report.html'
    """
    if not folders:
        raise SecateurError("no run to report on; pass its folder")
    runs = [Results.of(folder) for folder in folders]
    usual = runs[0].folder if len(runs) == 1 else runs[0].folder.parent / "report"
    return write(runs, Path(out or usual), measure, published)


def write(runs: Sequence[Results], out: Path, measure: str = "loss", published: Path | str | None = None) -> Path:
    """report.html in the folder ``out``, and beside it pareto.png, pareto.svg and front.csv. Returns the page."""
    from matplotlib import rc_context

    plot = compared(runs, measure, published)
    ensure_folder(out)
    with rc_context({"svg.hashsalt": "pareto"}):  # the same bytes each time
        plot.figure.savefig(out / "pareto.png", dpi=150)
        plot.figure.savefig(out / "pareto.svg", metadata={"Date": None})
    plot.figure.set_size_inches(NARROW, 4.4 + 0.1 * len(runs))  # of a legend that grows
    write_csv(runs, out / "front.csv")
    write_text(out / "report.html", page(runs, plot))
    return out / "report.html"


def page(runs: Sequence[Results], front: Plot) -> str:
    """The answer, the front, the search, widths, what is frozen, training, seconds, and how to do it again."""
    title = runs[0].title if len(runs) == 1 else " · ".join(run.folder.name for run in runs)
    plots = {"front": front}
    if searches := [run for run in runs if not run.config.learns_widths]:
        plots["search"] = history(searches)
    plots |= {f"widths-{n}": widths(run.front.winner.groups) for n, run in enumerate(runs)}
    plots |= {name: training(runs, name) for name in dict.fromkeys(step for run in runs for step in run.steps)}
    notes = {f"{place}-{name}": texts for place, plot in plots.items() for name, texts in plot.notes.items()}
    body = "".join(_sections(runs, {place: drawn(plot, place) for place, plot in plots.items()}))
    style, script = (files(__package__).joinpath(f"page.{kind}").read_text() for kind in ("css", "js"))
    data = json.dumps(notes).replace("<", "\\u003c")
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f'<meta http-equiv="Content-Security-Policy" content="{CLOSED}">'
        f'<title>{escape(title)}</title><style>{style}</style><h1>{escape(title)}</h1>{body}<div id="tip"></div>'
        f'<script type="application/json" id="notes">{data}</script><script>{script}</script></html>\n'
    )


def drawn(plot: Plot, place: str) -> str:
    """A plot as SVG to stand in a page: in the page's colours, text as text, the same bytes each time."""
    from matplotlib import rc_context

    file = StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": place}):
        plot.figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    svg = file.getvalue()
    svg = re.sub(r"<metadata>.*?</metadata>| xmlns(:\w+)?=\"[^\"]*\"", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    svg = re.sub(r' id="([^"]*)"', lambda found: _named(found[1], place, plot, svg), svg)
    for colour, themed in THEMED.items():
        svg = svg.replace(colour, themed)
    least, most = (size * plot.figure.get_figwidth() for size in (LEGIBLE, LARGEST))
    return svg.replace("<svg ", f'<svg style="min-width: {least:.0f}rem; max-width: {most:.0f}rem" ', 1)


def _named(name: str, place: str, plot: Plot, svg: str) -> str:
    """The id of what is pointed at, with its place in the page; or of what the drawing itself refers to; or none."""
    if name in plot.notes:
        return f' id="{place}-{name}"'
    return f' id="{name}"' if f"#{name}" in svg else ""


def _sections(runs: Sequence[Results], svgs: dict[str, str]) -> Iterator[str]:
    many = len(runs) > 1
    for run in runs:
        yield f"<p class=answer>{escape(run.folder.name) + ': ' if many else ''}{_answer(run)}</p>"
    yield _table(_head(runs[0].dense.score.name, many), [cells for run in runs for cells in _rows(run, many)])
    for run in runs:
        yield f"<p class=note>{escape(run.folder.name) + ': ' if many else ''}{escape(about(run))}</p>"
    yield f"<p class=note>{WORDS}</p>"
    searches = [run for run in runs if not run.config.learns_widths]
    yield "<h2>Front</h2>" + _figure(svgs["front"], FRONT + (SCORED if searches else ""))
    if searches:
        yield "<h2>Search</h2>" + _figure(svgs["search"], "; ".join(_trials(run, many) for run in searches))
    whose = [f" of {escape(run.folder.name)}" if many else "" for run in runs]
    for number, (run, name) in enumerate(zip(runs, whose, strict=True)):
        yield f"<h2>Widths{name}</h2>{_figure(svgs[f'widths-{number}'], f'The winner, along the depth.{_grid(run)}')}"
        yield _table(["frozen", "because it"], [[group, why] for group, why in run.front.winner.frozen.items()])
    for run, name in zip(runs, whose, strict=True):
        if run.classes:
            yield f"<h2>Classes{name}</h2>" + _classes(run.classes, run.untrained)
    for name, what in TRAININGS.items():
        if name in svgs:
            yield f"<h2>{what}</h2>" + _figure(svgs[name], EPOCHS)
    for run, name in zip(runs, whose, strict=True):
        if candidates := candidates_of(run.stages):
            yield f"<h2>Teachers{name}</h2>" + _table(TEACHERS, teachers(candidates)) + f"<p class=note>{WORTH}</p>"
    for run, name in zip(runs, whose, strict=True):
        yield from _closing(run, name)


def _closing(run: Results, whose: str) -> Iterator[str]:
    """Speed, what each stage cost, and how to do it again."""
    if run.timed:
        yield f"<h2>Latency{whose}</h2>" + _latency(run.timed, run.measured)
    yield f"<h2>Cost{whose}</h2>" + _table(["stage", "seconds"], _seconds(run))
    yield f"<h2>Again{whose}</h2><pre>{escape(run.command)}</pre>"
    yield f"<p class=note>{escape(', '.join(f'{name} {version}' for name, version in run.versions.items()))}</p>"


def _answer(run: Results) -> str:
    """The best network of the run beside the dense one, in a sentence."""
    dense, *_, best = run.arms[:3]
    beside = next(arm for arm in run.arms if arm.name == "teacher") if run.untrained else dense
    split = "test" if best.figures.test else "holdout"
    before, after = (getattr(arm.figures, split) for arm in (beside, best))
    costs = ", ".join(f"{getattr(best.figures, c) / getattr(dense.figures, c):.1%} of the {c}" for c in COSTS)
    tuned = "" if split == "test" else " before fine-tuning"
    metric = f" {after.name}" if after.is_share else ""  # others are shown with their name
    said = f"<strong>{after}</strong> {split}{metric}{tuned} with {costs.replace('macs', 'MACs')}"
    return f"{said}; the {'teacher' if run.untrained else 'dense network'} has {before}{_speed(run.timed)}"


def about(run: Results) -> str:
    """What was asked, on which images, when and where, as far as the run says it."""
    test, dense = run.stages.test, run.stages.dense
    counts = {
        "to train on": dense.images if dense else None,
        "in the holdout": test.dense.holdout.n if test and test.dense.holdout else None,
        "to test": test.dense.test.n if test and test.dense.test else None,
    }
    images = ", ".join(f"{count:,} {purpose}" for purpose, count in counts.items() if count)
    said = [f"Asked: {run.title}", f"Images: {images}" if images else "", f"Begun {run.began}" if run.began else ""]
    return ". ".join(filter(None, said)) + "."


def _speed(timed: Measured | SpeedStage | None) -> str:
    """How fast one image is in every engine, where that was measured."""
    rows = [each for each in timed.latency if each.batch == 1 and each.speedup] if timed else []
    times = (f"{each.speedup:.2f} times as fast in {escape(each.engine)}" for each in rows)
    return f". One image is {', '.join(times)}" if rows else ""


def _head(metric: str, many: bool) -> list[str]:
    return [
        *(["run"] if many else []),
        "network",
        f"test {metric}",
        "MACs",
        "one image",
        "parameters",
        "weights",
        f"holdout {metric}",
    ]


def _rows(run: Results, many: bool) -> Iterator[list[Cell]]:
    dense = run.arms[0].figures
    for arm in run.arms:
        macs, parameters = (_cost(getattr(arm.figures, c), getattr(dense, c)) for c in COSTS)
        size = f"{arm.weights.stat().st_size / 1e6:.3g} MB" if arm.weights else "-"
        yield [
            *([run.folder.name] if many else []),
            title_of(arm.name, run.untrained),
            _score(arm.figures.test),
            macs,
            _image(run, arm),
            parameters,
            size,
            _score(arm.figures.holdout),
        ]


def _image(run: Results, arm: Arm) -> str:
    """How long it takes for one image, in torch, where that was measured."""
    if run.timed is None or arm.name not in ("dense", "tuned"):
        return "-"
    row = run.timed.latency[0]
    seconds = row.dense if arm.name == "dense" else row.slim
    return f"{1e3 * seconds.median:.3g} ms" if seconds else "-"


def _score(score: Score | None) -> Cell:
    return (str(score), f"n = {score.n}") if score else "-"


def _cost(cost: int, dense: int) -> Cell:
    return format_quantity(cost), f"{cost / dense:.1%}"


def _grid(run: Results) -> str:
    """The multiples of widths, where the run measured them."""
    runtime = run.config.constraints.runtime
    return f" Multiples of {run.grid}: the smallest that paid in {runtime} there." if run.grid else ""


def _trials(run: Results, many: bool) -> str:
    early = len(run.trials) - len(run.whole)
    said = f"{len(run.trials)} subnetworks on {run.dense.n} holdout images, {early} of them stopped early"
    lost = f", {run.lost} without a finite loss" if run.lost else ""
    return (f"{escape(run.folder.name)}: " if many else "") + said + lost


def _latency(timed: Measured | SpeedStage, measured: Measured | None) -> str:
    """Medians with the middle half of the passes, dense and slim in turn; and what `evaluate` says beside."""
    head = ["engine", "images", "dense", "slim", "speed-up"]
    rows = [
        [each.engine, str(each.batch), _time(each.dense), _time(each.slim), f"{each.speedup or 1:.2f} x"]
        for each in timed.latency
    ]
    said = [f"{timed.device}, {timed.threads} thread{'s' * (timed.threads != 1)}."]
    if measured:
        pays = (f"{engine}: {found.advice}" for engine, found in (measured.divisors or {}).items())
        said += [f"MACs saved: {measured.macs_saved or 0:.1%}.", f"For one image, {', '.join(pays)}."]
    return _table(head, rows) + f"<p class=note>{escape(' '.join(said))}</p>"


def _time(seconds: Seconds | None) -> Cell:
    if seconds is None:
        return "-"
    low, middle, high = (f"{1e3 * each:.3g}" for each in (seconds.low, seconds.median, seconds.high))
    return f"{middle} ms", f"{low} to {high}"


def _classes(found: Classes, untrained: bool) -> str:
    """The classes that lost most; behind a click all others, where they are many."""
    head, ordered = classes.head(found, untrained), classes.worst_first(found, untrained)
    rows = [classes.cells(row, found, untrained) for row in ordered]
    said = f"<p class=note>{escape(classes.caption(found, untrained))}</p>"
    if len(rows) <= classes.FEW:
        return said + _table(head, rows)
    rest = f"<details><summary>All {len(rows)} classes</summary>{_table(head, rows)}</details>"
    return f"{said}<p class=note>The {classes.MOST} that lost most:</p>{_table(head, rows[: classes.MOST])}{rest}"


def _seconds(run: Results) -> Iterator[list[str]]:
    seconds = {name: stage.seconds for name, stage in run.stages.done().items()}
    for name, spent in {**seconds, "all": sum(seconds.values())}.items():
        yield [name, f"{spent:.0f}"]


def _figure(svg: str, caption: str) -> str:
    return f"<figure><div class=wide>{svg}</div><figcaption>{caption}</figcaption></figure>"


def _table(head: Sequence[str], rows: Iterable[Sequence[Cell]]) -> str:
    cells = ["<tr>" + "".join(map(_cell, row, head)) for row in rows]
    cards = " class=cards" if len(head) > MANY else ""
    names = "".join(f"<th>{escape(name)}" for name in head)
    return f"<div class=wide><table{cards}><tr>{names}{''.join(cells)}</table></div>"


def _cell(cell: Cell, column: str) -> str:
    text, aside = (cell, "") if isinstance(cell, str) else cell
    small = f" <small>{escape(aside)}</small>" if aside else ""
    return f'<td{" class=text" if len(text) > LONG else ""} data-column="{escape(column)}">{escape(text)}{small}'
