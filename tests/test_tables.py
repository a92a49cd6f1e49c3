"""Results as tables in the terminal."""

from pathlib import Path

import msgspec
import pytest

from secateur.models.score import Score
from secateur.reports.tables import show_result
from secateur.rundir.outcomes import (
    BankStage,
    CandidateRecord,
    EvaluationStage,
    Figures,
    LearnStage,
    NetworkStage,
    Stages,
    TeacherRecord,
    TransferStage,
)

Capture = pytest.CaptureFixture[str]


def arm(macs: int, parameters: int, holdout: float, test: float) -> Figures:
    return Figures(holdout=Score(1.0, holdout, 360), test=Score(1.0, test, 359), macs=macs, parameters=parameters)


def stages(dense: NetworkStage | None = None, **more: object) -> Stages:
    test = EvaluationStage(
        dense=arm(40_000_000, 270_000, 0.9876, 0.9765),
        pruned=arm(20_000_000, 135_000, 0.5432, 0.4321),
        tuned=arm(20_000_000, 135_000, 0.9753, 0.9642),
        seconds=62.6,
    )
    done = {"dense": dense or NetworkStage(seconds=1.2), "test": test, **more}
    return Stages(**done)  # type: ignore[arg-type]


def test_the_table_has_the_figures_their_n_and_where_the_network_lies(capsys: Capture) -> None:
    show_result(stages(), Path("runs/x"))
    said = capsys.readouterr().out
    rows = {line.split("│")[1].strip(): line for line in said.splitlines() if line.startswith("│")}
    assert "40M (100.0%)" in rows["dense"]
    assert "98.76%" in rows["dense"]
    assert "43.21%" in rows["only pruned"]
    for figure in ("20M (50.0%)", "135K (50.0%)", "97.53%", "96.42%"):
        assert figure in rows["fine-tuned"]
    assert "n = 360 holdout and 359 test images" in said
    assert "dense 1, test 63" in said
    assert "runs/x/best" in said
    assert "memory bank" not in said


@pytest.mark.parametrize(("there", "said"), [(1, "has 1 teacher of 4:"), (2, "has 2 teachers of 5:")])
def test_a_bank_that_lacks_teachers_is_told(capsys: Capture, there: int, said: str) -> None:
    bank = BankStage(teachers=(TeacherRecord(macs=1, loss=0.1),) * there, missing=3)
    show_result(stages(bank=bank), Path("runs/x"))
    assert said in capsys.readouterr().out


def test_what_candidates_for_teachers_are_worth_is_said(capsys: Capture) -> None:
    dense, one, two = (
        CandidateRecord(macs=9 - i, loss=0.5, gain=gain, error=0.0021, taken=i == 0)
        for i, gain in enumerate((0.3, -0.002, 0.0034))
    )
    bank = BankStage(teachers=(TeacherRecord(macs=9, loss=0.1),), missing=0, candidates=(dense, one, two))
    show_result(stages(bank=bank), Path("runs/x"))
    said = " ".join(capsys.readouterr().out.split())
    assert "worth teaching beside the dense network: 0 of 2 candidates, at best +0.0034 ± 0.0021 nats" in said


@pytest.mark.parametrize(("accuracy", "doubted"), [(0.11, True), (0.98, False)])
def test_a_dense_network_at_chance_level_is_doubted(capsys: Capture, accuracy: float, doubted: bool) -> None:
    found = stages(NetworkStage(classes=10))
    assert found.test
    dense = arm(40_000_000, 270_000, accuracy, accuracy)
    found = msgspec.structs.replace(found, test=msgspec.structs.replace(found.test, dense=dense))
    show_result(found, Path("runs/x"))
    said = " ".join(capsys.readouterr().out.split())
    assert ("no better than chance: are --weights, --mean and --std right?" in said) is doubted


def test_a_method_that_removed_nothing_says_so_and_an_untrained_student_is_not_called_dense(capsys: Capture) -> None:
    learn = LearnStage(form="masks", widths=())
    show_result(stages(learn=learn), Path("runs/x"))
    assert "nothing was pruned" not in capsys.readouterr().out
    found = stages(NetworkStage(weights="none"), learn=learn)
    assert found.test
    same = msgspec.structs.replace(found.test, pruned=found.test.dense)
    show_result(msgspec.structs.replace(found, test=same), Path("runs/x"))
    said = capsys.readouterr().out
    assert "nothing was pruned: more --epochs prune more" in said
    assert "│ untrained" in said
    assert "│ dense" not in said


def test_channels_closed_by_epoch_are_listed(capsys: Capture) -> None:
    learn = LearnStage(form="masks over channels", dense=(16, 64), widths=((16, 44), (16, 4)))
    show_result(stages(learn=learn), Path("runs/x"))
    said = " ".join(capsys.readouterr().out.split())
    assert "channels closed after each epoch of learning (masks over channels): 25%, 75% of 80" in said


def taught(*shares: float) -> TransferStage:
    """A fine-tuning whose dense teacher was used, and smaller ones for these shares of the steps."""
    smaller = (TeacherRecord(macs=20_000_000 + n, loss=0.5, open=share) for n, share in enumerate(shares))
    teachers = (TeacherRecord(macs=40_000_000, loss=0.2, open=0.9), *smaller)
    return TransferStage(method="ckt", epochs=1, seed=0, precision="float32", teachers=teachers)


@pytest.mark.parametrize(("shares", "told"), [((0.0, 0.0), True), ((0.0, 0.2), False), ((), False)])
def test_a_bank_whose_interim_teachers_were_never_used_is_told(
    capsys: Capture, shares: tuple[float, ...], told: bool
) -> None:
    show_result(stages(transfer=taught(*shares)), Path("runs/x"))
    assert ("interim teachers were never used" in capsys.readouterr().out) is told


def test_the_table_of_a_large_network_fits_eighty_columns(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    large = arm(4_089_184_256, 25_557_032, 0.9, 0.9)
    found = msgspec.structs.replace(stages(), test=EvaluationStage(dense=large, pruned=large, tuned=large))
    show_result(found, Path("runs/x"))
    said = capsys.readouterr().out
    assert said.count("4.089G") == said.count("25.56M") == 3


@pytest.mark.parametrize(("holdout", "warned"), [(0.92, True), (0.60, False)])
def test_a_holdout_that_the_network_knows_by_heart_is_doubted(capsys: Capture, holdout: float, warned: bool) -> None:
    """As 92% of 48 holdout images and 57% of 160 test images are; 60% are within the errors."""
    dense = Figures(holdout=Score(0.3, holdout, 48), test=Score(1.2, 0.575, 160), macs=40, parameters=4)
    arms = EvaluationStage(dense=dense, pruned=dense, tuned=dense)
    show_result(Stages(test=arms), Path("runs/x"))
    said = " ".join(capsys.readouterr().out.split())
    assert ("probably trained on the holdout; pass --holdout DIR" in said) == warned
