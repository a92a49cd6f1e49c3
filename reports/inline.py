"""A run as HTML that stands in a notebook, pictures within."""

from base64 import b64encode
from html import escape
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from ..models.costs.units import format_quantity
from ..rundir.front import FrontPoint
from ..rundir.results import Results
from .pareto import compared
from .plots import widths

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HEAD = ("MACs", "parameters", "holdout loss", "holdout", "")


def front_and_widths(folder: Path | str) -> str:
    """A table of the front of a run, winner first; its Pareto plot; and the winner's widths."""
    run = Results.of(folder)
    front = run.front
    others = sorted(
        (each for each in front.points if each.groups != front.winner.groups), key=lambda p: p.costs.kept.macs
    )
    rows = _row(front.winner, "winner") + "".join(map(_row, others))
    head = "".join(f"<th>{name}</th>" for name in HEAD)
    pictures = (compared([run]).figure, widths(front.winner.groups).figure)
    return f"<table><tr>{head}</tr>{rows}</table>{''.join(map(_picture, pictures))}"


def _row(point: FrontPoint, note: str = "") -> str:
    kept, dense = point.costs.kept, point.costs.dense
    costs = (
        f"{format_quantity(each)} ({each / whole:.1%})"
        for each, whole in ((kept.macs, dense.macs), (kept.parameters, dense.parameters))
    )
    cells = (*costs, f"{point.score.loss:.4f}", str(point.score), note)
    return f"<tr>{''.join(f'<td>{escape(each)}</td>' for each in cells)}</tr>"


def _picture(figure: "Figure") -> str:
    """A figure as an image that needs no file."""
    file = BytesIO()
    figure.savefig(file, format="png", dpi=100)
    return f'<img src="data:image/png;base64,{b64encode(file.getvalue()).decode()}">'
