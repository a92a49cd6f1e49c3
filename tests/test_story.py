"""What a run came to, in sentences."""

from secateur.reports.story import story
from secateur.rundir.outcomes import (
    InterimRecord,
    LatencyRow,
    SearchStage,
    Seconds,
    SpeedStage,
    Stages,
    TeacherRecord,
    TransferStage,
)

START, WINNER = (InterimRecord(source="l1", loss=loss, n=9, macs=2, parameters=1) for loss in (0.5, 0.25))
SEARCH = SearchStage(start=START, winner=WINNER, evaluations=30, stopped=2)


def transfer(*open_: float | None) -> TransferStage:
    """Fine-tuning under the dense network and interim ones, smaller and smaller, used so often; last first."""
    teachers = [TeacherRecord(macs=9, loss=0.1, open=1.0)]
    teachers += [TeacherRecord(macs=8 - place, loss=0.2, open=each) for place, each in enumerate(open_)]
    return TransferStage(method="ckt", epochs=1, seed=0, precision="float32", teachers=tuple(teachers[::-1]))


def speed(*batches: int) -> SpeedStage:
    dense, slim = (Seconds(median=each, low=each, high=each, n=5) for each in (0.004, 0.001))
    rows = (LatencyRow(engine="torch", batch=batch, dense=dense, slim=slim, speedup=4.0) for batch in batches)
    return SpeedStage(latency=tuple(rows), device="cpu, x", threads=1)


def test_every_stage_that_is_done_has_its_line() -> None:
    assert list(story(Stages())) == []
    lines = [*story(Stages(search=SEARCH, transfer=transfer(0.5, 0.25), speed=speed(1, 32)))]
    assert [line.split(" ")[0] for line in lines] == ["search:", "bank:", "speed", "", ""]
    assert "0.5000 by importance alone, 0.2500 of the winner" in lines[0]
    assert "2 interim subnetworks in 50%, 25% of the steps" in lines[1]
    assert lines[2].startswith("speed in torch, 1 thread, cpu")
    assert lines[3:] == [
        "  1 image: dense 4 (4-4), slim 1 (1-1), 4.00 times as fast",
        "  32 images: dense 4 (4-4), slim 1 (1-1), 4.00 times as fast",
    ]


def test_teachers_that_were_never_used_are_not_named() -> None:
    assert [*story(Stages(transfer=transfer(0.0, None)))] == []
    (line,) = story(Stages(transfer=transfer(0.0, 0.25)))
    assert "1 interim subnetwork in 25%" in line


def test_a_bank_of_the_dense_network_alone_is_said() -> None:
    (line,) = story(Stages(transfer=transfer()))
    assert line.startswith("bank: the dense network taught; ")
