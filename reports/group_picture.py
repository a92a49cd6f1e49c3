"""The channel groups of a network over its depth, as a picture."""

from collections.abc import Sequence
from math import ceil, sqrt
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import SecateurError
from ..models.costs.profile import Line, Profile

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMS = (".svg", ".png")
# Okabe and Ito, Color Universal Design (2008), with the grey that R adds to their palette
COLOURS = {"can be pruned": "#0072B2", "pruning changes a norm": "#E69F00", "frozen": "#999999"}
LEGIBLE = 0.085  # inches that a line of the smallest letters takes
NAME = 46  # letters of a name, at most


def require_place(path: Path) -> None:
    """Raise SecateurError where no picture can be written at ``path``."""
    if path.suffix.lower() not in FORMS:
        raise SecateurError(f"picture {path} ends in neither .svg nor .png; pass a path with one of these endings")
    if not path.parent.is_dir():
        raise SecateurError(f"picture {path} is in no folder that exists; create {path.parent} or pass another path")


def over_depth(profile: Profile, name: str) -> "Figure":
    """A band for each channel group, from the first layer that makes or reads it to the last; MACs below.

    ``name`` of the network goes into the title. Groups that lie in no layer are left out.
    """
    from matplotlib.figure import Figure

    lines = sorted((line for line in profile.lines if _at(line)), key=lambda line: (_at(line)[0], _at(line)[-1]))
    layers = [layer.name for layer in profile.layers]
    row, column = min(14 / len(lines), 0.28), min(12 / len(layers), 0.34)
    tall, wide = max(row * len(lines), 3.0), max(column * len(layers), 5.5)
    left, below = (LEGIBLE * 0.8 * min(max(map(len, names)), NAME) for names in ([x.name for x in lines], layers))
    figure = Figure(figsize=(wide + left + 1, tall + below + 2.6), layout="constrained")
    bands, bars = figure.subplots(2, sharex=True, height_ratios=(tall, 1.3))
    _draw_bands(bands, lines, min(row, column))
    _draw_bars(bars, profile)
    _name(bands.yaxis, [f"{_end(line.name)}  {line.width}" for line in lines], row)
    _name(bars.xaxis, [_end(layer) for layer in layers], column)
    bars.tick_params(axis="x", rotation=90)
    title = f"{name}: {len(profile.prunable)} of {len(profile.lines)} channel groups can be pruned"
    bands.set_title(title, loc="left", fontsize=11, fontweight="bold", pad=28)
    return figure


def _draw_bands(axes: "Axes", lines: Sequence[Line], pitch: float) -> None:
    """One row a group; the wider the group, the thicker its band. Dots where layers make and read it."""
    widest = max((line.width for line in lines if _at(line)[1:] or not line.frozen), default=1)
    dot = min(40 * pitch, 5.5)
    for kind, colour in COLOURS.items():
        rows = [(y, line) for y, line in enumerate(lines) if _kind(line) == kind]
        thick = [58 * pitch * min(max(sqrt(line.width / widest), 0.2), 1) for _, line in rows]
        ends = ([y for y, _ in rows], [_at(line)[0] for _, line in rows], [_at(line)[-1] for _, line in rows])
        axes.hlines(*ends, linewidth=thick, color=colour, alpha=0.35, label=kind, zorder=2)
        for side, face in (("read_at", "white"), ("made_at", colour)):
            at = [(x, y) for y, line in rows for x in getattr(line, side)]
            x, y = zip(*at, strict=True) if at else ((), ())
            axes.scatter(x, y, s=dot**2, facecolor=face, edgecolor=colour, lw=0.8, zorder=3)
    axes.set_ylim(len(lines) - 0.3, -0.7)
    axes.set_ylabel("channel group and its width (thicker: wider)", fontsize=8.5, labelpad=10)
    axes.grid(alpha=0.15, lw=0.5)
    axes.tick_params(axis="both", length=0)
    axes.spines[:].set_visible(False)
    _explain(axes, [kind for kind in COLOURS if any(_kind(line) == kind for line in lines)])


def _explain(axes: "Axes", kinds: Sequence[str]) -> None:
    """The legend, in one row above."""
    from matplotlib.lines import Line2D

    bands = [Line2D([], [], lw=6, color=COLOURS[kind], alpha=0.35, label=kind) for kind in kinds]
    dots = [
        Line2D([], [], ls="", marker="o", ms=5.5, color="#555555", mfc=face, label=label)
        for face, label in (("#555555", "a layer makes it"), ("white", "a layer reads it"))
    ]
    axes.legend(
        handles=[*bands, *dots],
        loc="lower left",
        bbox_to_anchor=(0, 1),
        ncols=len(bands) + len(dots),
        borderaxespad=0.4,
        frameon=False,
        fontsize=8.5,
    )


def _draw_bars(axes: "Axes", profile: Profile) -> None:
    """The share of the MACs in each layer, in the colour of the best that can be done to it."""
    total, kinds = max(profile.dense_macs, 1), _kinds(profile)
    for kind, colour in COLOURS.items():
        at = [x for x, each in enumerate(kinds) if each == kind]
        axes.bar(at, [100 * profile.layers[x].macs / total for x in at], width=0.75, color=colour)
    axes.set_xlim(-0.8, len(kinds) - 0.2)
    axes.set_ylabel("MACs, %", fontsize=8.5)
    axes.set_xlabel("layers in order of execution; each bar in the colour of its most prunable group", fontsize=8.5)
    axes.tick_params(axis="y", labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.25)
    axes.set_axisbelow(True)


def _kinds(profile: Profile) -> list[str]:
    """Of each layer, the kind of the most prunable group in it."""
    order = list(COLOURS)
    best = [len(order) - 1] * len(profile.layers)
    for line in profile.lines:
        for x in _at(line):
            best[x] = min(best[x], order.index(_kind(line)))
    return [order[kind] for kind in best]


def _kind(line: Line) -> str:
    if line.frozen is not None:
        return "frozen"
    return "pruning changes a norm" if line.normed else "can be pruned"


def _at(line: Line) -> list[int]:
    """The layers that a group lies in, in order."""
    return sorted({*line.made_at, *line.read_at})


def _name(axis: Any, names: Sequence[str], pitch: float) -> None:
    """Names at every place that has room for its letters. ``pitch``: inches between places."""
    step = ceil(LEGIBLE / pitch)
    axis.set_ticks(range(0, len(names), step), names[::step], fontsize=min(8.0, 60 * pitch * step))


def _end(name: str) -> str:
    return name if len(name) <= NAME else f"…{name[1 - NAME :]}"
