"""Results as tables in the terminal."""

from collections.abc import Sequence
from math import inf
from pathlib import Path

from rich.console import Console
from rich.table import Table

from ..models.costs.units import format_quantity
from ..rundir.front import Front, FrontPoint, ReusedCosts
from ..rundir.measured import DivisorTimes, Measured
from ..rundir.outcomes import (
    CandidateRecord,
    EvaluationStage,
    Figures,
    Stages,
)
from ..rundir.results import untrained
from .learned import learned_line
from .story import milliseconds, passes, story
from .teachers import candidates_of
from .titles import title_of

BUSY = 2.0  # upper by lower quartile of a time, from which on it is not to be trusted
ARMS = ("teacher", "dense", "pruned", "tuned")


def show_result(stages: Stages, folder: Path) -> None:
    """The figures of a finished run."""
    console = Console()
    if stages.test:
        show_figures(stages.test, console, untrained(stages))
    console.print(*story(stages), sep="\n", highlight=False, soft_wrap=True)
    _show_teachers(stages, console)
    if stages.learn and (line := learned_line(stages.learn)):
        console.print(line)
    _show_doubts(stages, console)
    console.print(_seconds(stages))
    console.print(f"slim network: {folder / 'best'}   report: {folder / 'report.html'}", soft_wrap=True)


def show_front(front: Front, stages: Stages, folder: Path) -> None:
    """The points of a searched front."""
    table, dense = Table("MACs", "parameters", "holdout loss", "holdout", ""), front.points[0].costs.dense
    for point in front.points:
        kept, score = point.costs.kept, point.score
        costs = _costs(kept.macs, dense.macs), _costs(kept.parameters, dense.parameters)
        table.add_row(*costs, f"{score.loss:.4f}", str(score), "winner" * is_winner(point, front))
    console = Console()
    console.print(table)
    _show_teachers(stages, console)
    n = front.points[0].score.n
    console.print(f"n = {n} holdout images, before fine-tuning, batch norm with each batch's statistics")
    console.print(_seconds(stages))
    console.print(f"front: {folder / 'front.json'}   picture: {folder / 'pareto.png'}", soft_wrap=True)


def is_winner(point: FrontPoint, front: Front) -> bool:
    """Whether a point has the winner's widths; the winner itself was scored again, on the whole holdout."""
    return point.groups == front.winner.groups


def show_point(figures: EvaluationStage | Figures, folder: Path) -> None:
    """The figures of one fine-tuned point, or of one network that was trained."""
    console = Console()
    if isinstance(figures, EvaluationStage):
        show_figures(figures, console)
    else:
        quantities = f"{format_quantity(figures.macs)} MACs, {format_quantity(figures.parameters)} parameters"
        console.print(f"{quantities}: {figures.holdout} on the holdout, {figures.test} on the test images")
    console.print(f"slim network: {folder}", soft_wrap=True)


def show_reused(reused: ReusedCosts, folder: Path) -> None:
    """What an architecture comes to on a network."""
    macs, parameters = _costs(reused.macs, reused.dense.macs), _costs(reused.parameters, reused.dense.parameters)
    how = "the very channels" if reused.exact else "the widths over its depth"
    print(f"{macs} MACs, {parameters} parameters; {how} found on {reused.found_on}\nslim network: {folder}")


def show_figures(figures: EvaluationStage, console: Console, untrained: bool = False) -> None:
    """The dense, the pruned and the fine-tuned network, a row each."""
    table = Table("", "MACs", "parameters", "holdout", "test")  # 80 columns
    for name in ARMS:
        row: Figures | None = getattr(figures, name)
        if row and row.holdout and row.test:
            costs = _costs(row.macs, figures.dense.macs), _costs(row.parameters, figures.dense.parameters)
            scores = map(str, (row.holdout, row.test))
            table.add_row(title_of(name, untrained), *costs, *scores)
    console.print(table)
    if figures.dense.holdout and figures.dense.test:
        n = figures.dense.holdout.n, figures.dense.test.n
        console.print(f"n = {n[0]} holdout and {n[1]} test images; one MAC is two FLOPs")


def show_measured(measured: Measured) -> None:
    """Accuracy, costs and times."""
    console, dense = Console(), measured.networks["dense"]
    table = Table("", "MACs", "parameters", "test", "n")
    for name, row in measured.networks.items():
        costs = _costs(row.macs, dense.macs), _costs(row.parameters, dense.parameters)
        table.add_row(name, *costs, str(row.test), str(row.test.n))
    console.print(table)
    times = Table("engine", "batch", *(f"{name}, ms" for name in measured.networks), "speed-up")
    for each in measured.latency:
        speedup = f"{each.speedup:.2f} x" if each.speedup else ""
        times.add_row(each.engine, str(each.batch), *map(milliseconds, passes(each)), speedup)
    console.print(times)
    threads = f"{measured.threads} thread{'s' * (measured.threads != 1)}"
    print(f"medians and quartiles of alternating passes; {threads}, {measured.device}")
    if any(seconds.high > BUSY * seconds.low for row in measured.latency for seconds in passes(row)):
        print("the quartiles are far apart: this machine is busy; measure again when it is not")
    if measured.macs_saved is not None:
        saved = measured.macs_saved
        print(f"MACs saved: {saved:.1%}, {1 / (1 - saved):.2f} x if time followed them")
    for engine, found in (measured.divisors or {}).items():
        print(_advice(engine, found))


def _advice(engine: str, found: DivisorTimes) -> str:
    """Which multiples of widths pay here."""
    times = (f"{1e3 * each.median:.4g} ms in multiples of {divisor}" for divisor, each in found.seconds.items())
    return f"{engine}, uniform widths with as many MACs, one image: {', '.join(times)}: {found.advice} here"


def _show_worth(candidates: Sequence[CandidateRecord], console: Console) -> None:
    """What interim subnetworks are worth as teachers, the best of them in figures."""
    best = max(candidates, key=lambda each: each.gain)
    taken = sum(each.taken for each in candidates)
    gain = f"{best.gain:+.4f} ± {best.error:.4f} nats"
    console.print(f"worth teaching beside the dense network: {taken} of {len(candidates)} candidates, at best {gain}")


def _show_teachers(stages: Stages, console: Console) -> None:
    """What a bank lacks, and whether it was filled in vain."""
    if stages.bank and stages.bank.missing:
        count = len(stages.bank.teachers)
        has = f"{count} teacher{'s' * (count != 1)} of {count + stages.bank.missing}"
        console.print(f"the memory bank has {has}: the search met no other between the dense network and the winner")
    if interim := candidates_of(stages)[1:]:
        _show_worth(interim, console)
    teachers = stages.transfer.teachers if stages.transfer else None
    smaller = sorted(teachers or (), key=lambda teacher: teacher.macs)[:-1]
    if smaller and not any(teacher.open for teacher in smaller):
        console.print("the bank's interim teachers were never used: none was better than the student")


def _show_doubts(stages: Stages, console: Console) -> None:
    """What is likely a mistake: a network at chance level, or one from which nothing was removed."""
    if stages.test is None:
        return
    holdout, classes = stages.test.dense.holdout, stages.dense.classes if stages.dense else None
    if holdout and holdout.accuracy is not None and holdout.accuracy <= 1.5 / (classes or inf):
        console.print("the dense network does no better than chance: are --weights, --mean and --std right?")
    _show_leak(stages.test.dense, console)
    if stages.learn and stages.test.pruned.macs == stages.test.dense.macs:
        console.print(
            "nothing was pruned: more --epochs prune more, and so does a higher --strength, --tolerance or --spread"
        )


def _show_leak(dense: Figures, console: Console) -> None:
    """A holdout that the dense network has learned by heart ranks widths by that."""
    if dense.holdout and dense.test and dense.holdout.surely_above(dense.test):
        console.print(
            f"the dense network reaches {dense.holdout} on the holdout and {dense.test} on the test images: it was "
            "probably trained on the holdout; pass --holdout DIR of images that it has not seen"
        )


def _seconds(stages: Stages) -> str:
    return "seconds: " + ", ".join(f"{name} {stage.seconds:.0f}" for name, stage in stages.done().items())


def _costs(cost: int, dense: int) -> str:
    """A cost, and its share of the dense network's."""
    return f"{format_quantity(cost)} ({cost / dense:.1%})"
