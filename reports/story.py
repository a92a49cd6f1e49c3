"""What the stages of a run came to, in a line each."""

from collections.abc import Iterator

from ..rundir.outcomes import LatencyRow, SearchStage, Seconds, SpeedStage, Stages, TransferStage


def story(stages: Stages) -> Iterator[str]:
    """What the search improved, who taught, and how fast the slim network is, as far as a run went."""
    if stages.search:
        yield search_line(stages.search)
    if stages.transfer and (line := teachers_line(stages.transfer)):
        yield line
    if stages.speed:
        yield from speed_lines(stages.speed)


def search_line(search: SearchStage) -> str:
    """From the coarse proposal to the winner, by the loss that both have before any fine-tuning.

    >>> from secateur.rundir.outcomes import InterimRecord
    >>> start, winner = (InterimRecord(source="", loss=x, n=9, macs=1, parameters=1) for x in (0.0741, 0.056))
    >>> search_line(SearchStage(winner=winner, start=start, evaluations=74, stopped=4))
    'search: 74 subnetworks; holdout loss 0.0741 by importance alone, 0.0560 of the winner, before fine-tuning'
    """
    losses = f"holdout loss {search.start.loss:.4f} by importance alone, {search.winner.loss:.4f} of the winner"
    return f"search: {search.evaluations} subnetworks; {losses}, before fine-tuning"


def teachers_line(transfer: TransferStage) -> str:
    """Which share of fine-tuning each interim teacher of the bank was used for; nothing, where none was.

    >>> from secateur.rundir.outcomes import TeacherRecord
    >>> taught = tuple(TeacherRecord(macs=macs, loss=0.1, open=x) for macs, x in ((9, 1.0), (8, 0.2), (7, 0.125)))
    >>> teachers_line(TransferStage(method="ckt", epochs=9, seed=0, precision="float32", teachers=taught))
    'bank: the dense network taught, and 2 interim subnetworks in 20%, 12% of the steps, those that were better'
    """
    if len(transfer.teachers or ()) == 1:
        return "bank: the dense network taught; what it outputs for a view of an image is stored once"
    interim = sorted(transfer.teachers or (), key=lambda teacher: -teacher.macs)[1:]
    used = [f"{teacher.open:.0%}" for teacher in interim if teacher.open]
    if not used:
        return ""
    plural = "s" * (len(used) > 1)
    return (
        f"bank: the dense network taught, and {len(used)} interim subnetwork{plural} in {', '.join(used)} of the "
        "steps, those that were better"
    )


def speed_lines(speed: SpeedStage) -> Iterator[str]:
    """How fast the slim network is beside the dense one.

    >>> dense, slim = (Seconds(median=ms / 1e3, low=ms / 1e3, high=ms / 1e3 + 1e-4, n=30) for ms in (5, 2))
    >>> row = LatencyRow(engine="torch", batch=1, dense=dense, slim=slim, speedup=2.5)
    >>> print(*speed_lines(SpeedStage(latency=(row,), device="cpu, x86_64", threads=2)), sep="\\n")
    speed in torch, 2 threads, cpu, x86_64; ms, median (quartiles) of passes in turn:
      1 image: dense 5 (5-5.1), slim 2 (2-2.1), 2.50 times as fast
    """
    threads = f"{speed.threads} thread{'s' * (speed.threads != 1)}"
    engine = speed.latency[0].engine
    yield f"speed in {engine}, {threads}, {speed.device}; ms, median (quartiles) of passes in turn:"
    for row in speed.latency:
        images = f"{row.batch} image{'s' * (row.batch != 1)}"
        dense, slim = map(milliseconds, passes(row))
        yield f"  {images}: dense {dense}, slim {slim}, {row.speedup or 1:.2f} times as fast"


def passes(row: LatencyRow) -> list[Seconds]:
    """The dense network's, and the slim one's if there is one."""
    return [row.dense, *([row.slim] if row.slim else [])]


def milliseconds(seconds: Seconds) -> str:
    """The median, and the quartiles behind it."""
    return f"{1e3 * seconds.median:.4g} ({1e3 * seconds.low:.4g}-{1e3 * seconds.high:.4g})"
