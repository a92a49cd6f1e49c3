"""The table of classes in a report."""

from secateur.reports.classes import caption, cells, head, worst_first
from secateur.rundir.classes import Classes, ClassRow


def row(name: str, dense: float, tuned: float, **more: float) -> ClassRow:
    return ClassRow(name=name, n=50, dense=dense, pruned=0.1, tuned=tuned, **more)


ACCURACY = Classes(metric="accuracy", rows=(row("cat", 0.9, 0.92), row("dog", 0.8, 0.6), row("owl", 0.7, 0.7)))
ERROR = Classes(metric="MAE", higher_is_better=False, rows=(row("near", 1.0, 0.5), row("far", 1.0, 1.25)))


def test_what_lost_most_comes_first() -> None:
    assert [each.name for each in worst_first(ACCURACY, untrained=False)] == ["dog", "owl", "cat"]


def test_of_a_metric_that_should_be_low_what_rose_most_comes_first() -> None:
    assert [each.name for each in worst_first(ERROR, untrained=False)] == ["far", "near"]
    assert cells(ERROR.rows[1], ERROR, untrained=False)[1:] == ["1", "1.25", "+0.25", "0.1"]
    assert "1 of 2 classes gained, 1 lost, 0 stayed" in caption(ERROR, untrained=False)


def test_shares_are_percent_and_their_changes_points() -> None:
    assert head(ACCURACY, untrained=False) == ["class", "dense", "fine-tuned", "change, points", "only pruned"]
    assert cells(ACCURACY.rows[1], ACCURACY, untrained=False) == [("dog", "n = 50"), "80.0%", "60.0%", "-20.0", "10.0%"]


def test_a_student_that_started_untrained_is_compared_with_its_teacher() -> None:
    taught = Classes(metric="accuracy", rows=(row("cat", 0.1, 0.9, teacher=0.95),))
    assert head(taught, untrained=True)[1] == "teacher"
    assert cells(taught.rows[0], taught, untrained=True)[1:4] == ["95.0%", "90.0%", "-5.0"]
