import pytest
from chains import plain

from secateur.errors import SecateurError
from secateur.search.allocation import ALLOCATION_RULES, uniform
from secateur.search.config import SearchConfig, sampler_called
from secateur.search.greedy import Greedy
from secateur.search.importance.magnitude import l1
from secateur.search.samplers.cmaes_sampler import CmaEsSampler
from secateur.search.samplers.samplers import SAMPLERS

NET = plain((8, 12))
SPAN = NET.span("50%")


def test_a_sampler_of_no_known_name_is_refused() -> None:
    with pytest.raises(
        SecateurError, match="no sampler is called 'bohb'; pass tpe, cmaes, gp, nsga2, random or greedy"
    ):
        sampler_called("bohb")


def test_samplers_go_by_their_names_and_greedy_is_one_of_them() -> None:
    for name, sampler in SAMPLERS.items():
        assert sampler_called(name) is sampler
        assert SearchConfig(SPAN, sampler=sampler).sampler_name == name
    assert sampler_called("greedy") == Greedy()
    assert SearchConfig(SPAN, sampler=Greedy(l1)).sampler_name == "greedy"


@pytest.mark.parametrize(
    ("wrong", "fix"),
    [
        ({"trials": -1}, "trials=-1; pass 0 or more"),
        ({"images": 0}, "images=0; pass 1 or more"),
        ({"scores": {}}, "scores is empty; pass at least one"),
        ({"rules": {}}, "rules is empty; pass at least one"),
    ],
    ids=str,
)
def test_a_search_that_cannot_be_is_refused(wrong: dict[str, object], fix: str) -> None:
    with pytest.raises(SecateurError, match=fix):
        SearchConfig(SPAN, **wrong)  # type: ignore[arg-type]


def test_cmaes_has_one_objective() -> None:
    SearchConfig(SPAN, sampler=CmaEsSampler)
    with pytest.raises(SecateurError, match="cmaes has one objective; pass one budget"):
        SearchConfig(NET.span("40%..80%"), sampler=CmaEsSampler)


def test_only_what_is_not_the_default_makes_another_study() -> None:
    assert SearchConfig(SPAN).extensions == SearchConfig(SPAN, rules=dict(ALLOCATION_RULES)).extensions == ""
    found = SearchConfig(SPAN, scores={"a": l1, "b": l1}, rules={"mine": uniform}).extensions
    assert found == ", scores a+b, rules mine"
    flat = SearchConfig(SPAN, curves={"flat": lambda _: []}, curve_rules={"mine": uniform}).extensions
    assert flat == ", curves flat, curve rules mine"
