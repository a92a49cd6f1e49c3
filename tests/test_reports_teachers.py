"""The table of teachers in a report."""

from secateur.reports.teachers import TEACHERS, candidates_of, teachers
from secateur.rundir.outcomes import BankStage, CandidateRecord, Stages

DENSE = CandidateRecord(macs=4_000_000, loss=0.3, gain=0.02, error=0.001, taken=True)
BETTER = CandidateRecord(macs=3_000_000, loss=0.31, gain=0.01, error=0.002, taken=True)
WORSE = CandidateRecord(macs=2_000_000, loss=0.5, gain=-0.001, error=0.004, taken=False)


def judged(*candidates: CandidateRecord) -> Stages:
    return Stages(bank=BankStage(teachers=(), missing=0, candidates=candidates))


def test_each_candidate_has_a_row_with_its_gain_and_whether_it_teaches() -> None:
    rows = list(teachers((DENSE, BETTER, WORSE)))
    assert [len(row) for row in rows] == [len(TEACHERS)] * 3
    assert rows[1] == ["interim 1", "3M", "0.3100", "+0.0100", "0.0020", "yes"]
    assert rows[2][3:] == ["-0.0010", "0.0040", "no"]


def test_the_dense_network_gains_nothing_on_itself() -> None:
    assert next(teachers((DENSE, WORSE))) == ["dense", "4M", "0.3000", "-", "-", "yes"]


def test_where_no_other_was_judged_there_is_no_table() -> None:
    assert candidates_of(judged(DENSE, WORSE)) == (DENSE, WORSE)
    assert not candidates_of(judged(DENSE))
    assert not candidates_of(judged())
    assert not candidates_of(Stages())
