"""A line on what a method that learned widths did."""

from secateur.reports.learned import learned_line, spread
from secateur.rundir.outcomes import LearnStage


def test_of_many_epochs_twelve_are_shown_by_number() -> None:
    learn = LearnStage(form="masks", dense=(100,), widths=tuple((100 - n,) for n in range(100)))
    line = learned_line(learn)
    assert "after epochs 1, 10, 19, " in line
    assert line.endswith("0%, 9%, 18%, 27%, 36%, 45%, 54%, 63%, 72%, 81%, 90%, 99% of 100")
    assert spread(1, 12) == [0]


def test_a_run_of_an_earlier_version_has_no_line() -> None:
    assert learned_line(LearnStage(form="masks", widths=((1,),))) == ""
