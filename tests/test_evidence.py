import numpy as np
import pytest
from scored import noise, residual

from secateur.models.compensation.gram import grams
from secateur.search.evidence import default_evidence, gather_evidence
from secateur.search.importance.magnitude import l1, l2
from secateur.search.importance.second_order import obs
from secateur.search.importance.taylor import taylor
from secateur.search.records import Records
from secateur.search.sensitivity import probes, sensitivity

NET, SPLIT = residual(), noise(40)


def same(found: object, expected: object) -> bool:
    return all(map(np.array_equal, found, expected))  # type: ignore[call-overload]


def test_without_grams_the_default_is_taylor_and_l1() -> None:
    found = default_evidence(Records(NET, SPLIT))
    assert list(found.scores) == ["taylor", "l1"]
    assert same(found.scores["taylor"], taylor(NET, SPLIT))
    assert same(found.scores["l1"], l1(NET, SPLIT))
    assert found.curves == {}


def test_with_grams_the_default_is_second_order_and_l1_and_error_curves() -> None:
    found = default_evidence(Records(NET, SPLIT, grams=grams(NET, SPLIT)))
    assert list(found.scores) == ["obs", "l1"]
    assert same(found.scores["obs"], obs(NET, SPLIT))
    for curve, score in zip(found.curves["obs"], found.scores["obs"], strict=True):
        assert np.sort(score).tolist() == curve[:-1][::-1].tolist()


@pytest.mark.parametrize("compensated", [False, True])
def test_a_users_scores_stand_alone_and_curves_come_on_top(compensated: bool) -> None:
    records = Records(NET, SPLIT, grams=grams(NET, SPLIT) if compensated else None)
    found = gather_evidence(records, {"mine": l2}, {})
    assert list(found.scores) == ["mine"]
    assert same(found.scores["mine"], l2(NET, SPLIT))
    assert found.curves == {}
    more = gather_evidence(records, None, {"alone": lambda records: [np.zeros(3)]})
    assert list(more.scores) == list(default_evidence(records).scores)
    assert list(more.curves) == (["obs", "alone"] if compensated else ["alone"])


def test_sensitivity_is_a_source_of_curves() -> None:
    records = Records(NET, SPLIT)
    curves = gather_evidence(records, {"l1": l1}, {"sensitivity": sensitivity}).curves["sensitivity"]
    assert [len(curve) for curve in curves] == [group.width + 1 for group in NET.groups]
    assert len(records.all) == len(probes(NET.space))
    assert {each.n for each in records.all} == {len(SPLIT)}
