"""What a person sees: progress bars with time left, and the result as a table."""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from math import inf
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import TimeRemainingColumn as TimeLeft
from rich.table import Table

from ..models.costs.units import format_quantity
from ..rundir.results import paying, untrained

BUSY = 2.0  # upper by lower quartile of a time, from which on it is not to be trusted
COSTS = {"macs": "MACs", "parameters": "parameters"}
LINE_EVERY = 10.0  # seconds between plain lines, where there is no terminal


@contextmanager
def bars(quiet: bool) -> Iterator[Any]:
    """A callback (what, done, total): bars on a terminal, plain lines elsewhere, nothing if ``quiet``."""
    if quiet:
        yield lambda what, done, total: None
    elif sys.stderr.isatty():
        yield from _on_terminal()
    else:
        yield _Lines()


def print_result(stages: dict[str, dict[str, Any]], folder: Path, as_json: bool) -> None:
    """The figures of a finished run, as a table or as one JSON object on stdout."""
    if as_json:
        print(json.dumps({"out": str(folder), **stages}))
        return
    console = Console()
    _figures(stages["test"], console, untrained(stages))
    _teachers(stages, console)
    _gates(stages, console)
    _doubts(stages, console)
    console.print(_seconds(stages))
    console.print(f"slim network: {folder / 'best'}   report: {folder / 'report.html'}", soft_wrap=True)


def print_front(stages: dict[str, dict[str, Any]], folder: Path, as_json: bool) -> None:
    """The points of a searched front, as a table or as one JSON object on stdout."""
    points = json.loads((folder / "front.json").read_text())["points"]
    rows = [{**point["costs"]["kept"], **point["figures"]["holdout"]} for point in points]
    if as_json:
        print(json.dumps({"out": str(folder), **stages, "front": rows}))
        return
    table, dense = Table("MACs", "parameters", "holdout loss", "holdout"), points[0]["costs"]["dense"]
    for row in rows:
        table.add_row(*_costs(row, dense), f"{row['loss']:.4f}", f"{row['accuracy']:.2%}")
    console = Console()
    console.print(table)
    _teachers(stages, console)
    console.print(f"n = {rows[0]['n']} holdout images, without fine-tuning; batch norm from each batch, as yet")
    console.print(_seconds(stages))
    console.print(f"front: {folder / 'front.json'}   picture: {folder / 'pareto.png'}", soft_wrap=True)


def print_tuned(figures: dict[str, Any], folder: Path, as_json: bool) -> None:
    """The figures of one fine-tuned point, as a table or as one JSON object on stdout."""
    if as_json:
        print(json.dumps({"out": str(folder), **figures}))
        return
    console = Console()
    _figures(figures, console)
    console.print(f"slim network: {folder}", soft_wrap=True)


def _teachers(stages: dict[str, dict[str, Any]], console: Console) -> None:
    bank = stages.get("bank", {})
    if missing := bank.get("missing"):
        there = len(bank["teachers"])
        has = f"{there} teacher{'s' * (there != 1)} of {there + missing}"
        console.print(f"the memory bank has {has}: the search met no other between the dense network and the winner")


def _gates(stages: dict[str, dict[str, Any]], console: Console) -> None:
    """Whether a bank was filled in vain."""
    smaller = sorted(stages.get("transfer", {}).get("teachers", ()), key=lambda teacher: teacher["macs"])[:-1]
    if smaller and not any(teacher["open"] for teacher in smaller):
        console.print("the bank's interim subnetworks taught nothing: none was better than the student")


def print_reused(about: dict[str, Any], folder: Path, as_json: bool) -> None:
    """What an architecture came to on a network, or one JSON object on stdout."""
    if as_json:
        print(json.dumps({"out": str(folder), **about}))
        return
    macs, parameters = (
        f"{format_quantity(about[c])} {word} ({about[c] / about['dense'][c]:.1%})" for c, word in COSTS.items()
    )
    how = "the very channels" if about["exact"] else "the widths over its depth"
    print(f"{macs}, {parameters}; {how} found on {about['found_on']}\nslim network: {folder}")


def print_exported(about: dict[str, Any], as_json: bool) -> None:
    """What was written, as a line or as one JSON object on stdout."""
    about = {**about, "path": str(about["path"])}
    if as_json:
        print(json.dumps(about))
        return
    kind = f"ONNX, opset {about['opset']}" if about["opset"] else "torch.export"
    print(f"{about['path']}: {kind}, input {' x '.join(about['inputs'])}, normalised images")
    print(f"differs from torch by {about['difference']:.1e} at most (limit {about['tolerance']:.0e})")


def print_evaluated(outcome: dict[str, Any], as_json: bool) -> None:
    """Accuracy, costs and times as tables, or as one JSON object on stdout."""
    if as_json:
        print(json.dumps(outcome))
        return
    console, networks = Console(), outcome["networks"]
    table = Table("", "MACs", "parameters", "test", "n")
    for name, row in networks.items():
        table.add_row(name, *_costs(row, networks["dense"]), f"{row['test']['accuracy']:.2%}", str(row["test"]["n"]))
    console.print(table)
    times = Table("engine", "batch", *(f"{name}, ms" for name in networks), "speed-up")
    for row in outcome["latency"]:
        shown = (f"{1e3 * row[n]['median']:.4g} ({_quartiles(row[n])})" for n in networks)
        times.add_row(row["engine"], str(row["batch"]), *shown, f"{row['speedup']:.2f} x" if "speedup" in row else "")
    console.print(times)
    print(f"medians and quartiles of passes in turn; {outcome['threads']} threads, {outcome['device']}")
    if any(row[name]["high"] > BUSY * row[name]["low"] for row in outcome["latency"] for name in networks):
        print("quartiles lie far apart: this machine is busy; measure again when it is not")
    if "slim" in networks:
        print(f"MACs saved: {outcome['macs_saved']:.1%}, {1 / (1 - outcome['macs_saved']):.2f} x if time followed them")
        print("\n".join(_advice(engine, found) for engine, found in outcome["divisors"].items()))


def _quartiles(seconds: dict[str, float]) -> str:
    return f"{1e3 * seconds['low']:.4g}-{1e3 * seconds['high']:.4g}"


def _advice(engine: str, divisors: dict[str, Any]) -> str:
    """Which multiples of widths pay here."""
    shown = (
        f"{1e3 * seconds['median']:.4g} ms in multiples of {each}" for each, seconds in divisors["seconds"].items()
    )
    pays = paying(divisors["suggested"])
    return f"{engine}, uniform widths of as many MACs, one image: {', '.join(shown)}: {pays} here"


def _seconds(stages: dict[str, dict[str, Any]]) -> str:
    return "seconds: " + ", ".join(f"{name} {stage['seconds']:.0f}" for name, stage in stages.items())


def _costs(row: dict[str, Any], dense: dict[str, Any]) -> list[str]:
    """MACs and parameters, and their share of the dense network's."""
    return [f"{format_quantity(row[cost])} ({row[cost] / dense[cost]:.1%})" for cost in COSTS]


def _doubts(stages: dict[str, dict[str, Any]], console: Console) -> None:
    """What is likely a mistake: a network that knows nothing, or from which nothing was taken."""
    dense, pruned = stages["test"]["dense"], stages["test"]["pruned"]
    if dense["holdout"]["accuracy"] <= 1.5 / stages["dense"].get("classes", inf):
        console.print("the dense network does no better than chance: are --weights, --mean and --std right?")
    if "learn" in stages and pruned["macs"] == dense["macs"]:
        console.print("nothing was pruned: more --epochs find more, where the method has one a higher --strength")


def _figures(figures: dict[str, Any], console: Console, anew: bool = False) -> None:
    """The dense, the pruned and the fine-tuned network, a row each."""
    table = Table("", "MACs", "parameters", "holdout", "test")
    names = {
        "teacher": "teacher",
        "dense": "untrained" if anew else "dense",
        "pruned": "only pruned",
        "tuned": "fine-tuned",
    }  # 80 columns
    for name, title in names.items():
        if name not in figures:
            continue
        row, dense = figures[name], figures["dense"]
        table.add_row(
            title,
            *_costs(row, dense),
            *(f"{row[split]['accuracy']:.2%}" for split in ("holdout", "test")),
        )
    n = {split: figures["dense"][split]["n"] for split in ("holdout", "test")}
    console.print(table)
    console.print(f"n = {n['holdout']} holdout and {n['test']} test images; one MAC is two FLOPs")


def _on_terminal() -> Iterator[Any]:
    columns = (TextColumn("{task.description:<28}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeLeft())
    tasks: dict[str, TaskID] = {}
    with Progress(*columns, console=Console(stderr=True)) as progress:

        def show(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(what, total=total)
            progress.update(tasks[what], completed=done)

        yield show


class _Lines:
    """A line when something begins or ends, and every ten seconds between, with the time left."""

    def __init__(self) -> None:
        self._what, self._start, self._said, self._from = "", 0.0, 0.0, 0

    def __call__(self, what: str, done: int, total: int) -> None:
        now = time.perf_counter()
        if what != self._what:
            self._what, self._start, self._said, self._from = what, now, now, done
        elif done < total and now - self._said < LINE_EVERY:
            return
        self._said = now
        done_here = done - self._from
        left = f", {(now - self._start) / done_here * (total - done):.0f} s left" if done_here and done < total else ""
        print(f"{what}: {done}/{total}{left}", file=sys.stderr, flush=True)
