"""What a run came to, to look at: the Pareto plot and a page that opens offline."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Point(Protocol):
    """A subnetwork on a Pareto plot."""

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one image."""

    @property
    def loss(self) -> float:
        """Mean holdout cross-entropy, nats."""


def pareto(
    front: Sequence[Point], dense_macs: int, budget_macs: float, winner: Point, mark: str = "budget"
) -> "Figure":
    """Holdout loss over MACs of the interim subnetworks that no other beats, before any fine-tuning.

    ``mark`` says what ``budget_macs`` are.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    macs, losses = [p.macs / 1e6 for p in front], [p.loss for p in front]
    axes.step(macs, losses, where="post", color="#0072B2", lw=1.5, zorder=2)
    axes.scatter(macs, losses, s=28, color="#0072B2", zorder=3, label="front, before fine-tuning")
    axes.scatter([winner.macs / 1e6], [winner.loss], s=130, marker="*", color="#D55E00", zorder=4, label="winner")
    axes.axvline(budget_macs / 1e6, color="#555555", ls="--", lw=1, label=f"{mark}, {budget_macs / 1e6:.4g}M")
    axes.axvline(dense_macs / 1e6, color="#555555", ls=":", lw=1, label=f"dense, {dense_macs / 1e6:.4g}M")
    axes.set(xlabel="MACs of one image, millions", ylabel="holdout loss, nats")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.25)
    axes.legend(frameon=False)
    return figure


def page(title: str, command: str, stages: Mapping[str, Any], architecture: Mapping[str, Any], svg: str) -> str:
    """One self-contained HTML page: the answer, the front, the widths, the teachers, seconds, how to repeat it.

    ``stages`` is what a run returned, ``architecture`` its architecture.json, ``svg`` the Pareto plot.
    """
    arms = {"teacher": "teacher", "dense": "dense", "pruned": "pruned, before fine-tuning"}
    arms["tuned"] = "pruned and fine-tuned"
    figures = stages["test"]
    rows = [[label, *_figures(figures[name], figures["dense"])] for name, label in arms.items() if name in figures]
    n = {split: figures["dense"][split]["n"] for split in ("holdout", "test")}
    head = ["", "MACs", "parameters", f"holdout accuracy (n = {n['holdout']})", f"test accuracy (n = {n['test']})"]
    groups = architecture["groups"].items()
    widths = [[name, str(g["dense"]), str(g["width"]), _bar(g["width"] / g["dense"])] for name, g in groups]
    banked = stages["bank"]["teachers"] if "bank" in stages else []
    opened = stages["transfer"]["gates_open"] or [None] * len(banked)
    teachers = [
        [f"{t['macs'] / 1e6:.4g}M", f"{t['loss']:.3f}", "-" if share is None else f"{share:.1%}"]
        for t, share in zip(banked, opened, strict=True)
    ]
    seconds = [[name, f"{stage['seconds']:.0f}"] for name, stage in stages.items()]
    body = [
        f"<h1>{escape(title)}</h1>",
        _table(head, rows),
        "<p>One MAC is two FLOPs. Test images were read once, at the end.</p>",
        f"<h2>Front</h2><figure>{svg[svg.index('<svg') :]}</figure>",
        "<h2>Widths</h2>" + _table(["channel group", "dense", "kept", ""], widths),
        "<h2>Teachers in the memory bank</h2>" + _table(["MACs", "holdout loss", "steps its gate was open"], teachers),
        "<h2>Seconds</h2>" + _table(["stage", "seconds"], seconds),
        f"<h2>Again</h2><pre>{escape(command)}</pre>",
    ]
    return f"<!doctype html><meta charset=utf-8><title>{escape(title)}</title><style>{STYLE}</style>{''.join(body)}"


def _figures(arm: Mapping[str, Any], dense: Mapping[str, Any]) -> list[str]:
    costs = [f"{arm[c] / 1e6:.4g}M ({arm[c] / dense[c]:.1%})" for c in ("macs", "parameters")]
    return [*costs, *(f"{arm[split]['accuracy']:.2%}" for split in ("holdout", "test"))]


def _bar(share: float) -> str:
    return f"<i style='width:{100 * share:.0f}px'></i>"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Cells are text that this module made, or names of layers, which hold no markup."""
    lines = ["<tr>" + "".join(f"<td>{cell}" for cell in row) for row in rows]
    return "<table><tr>" + "".join(f"<th>{cell}" for cell in head) + "".join(lines) + "</table>"


STYLE = """
:root{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;max-width:52rem;margin:2rem auto;padding:0 1rem}
table{border-collapse:collapse}th,td{text-align:left;padding:.2rem 1rem .2rem 0;border-bottom:1px solid #8884}
th{font-weight:600}i{display:inline-block;height:.6em;background:#0072b2}
figure{margin:0;background:#fff}svg{max-width:100%;height:auto}pre{white-space:pre-wrap}
"""
