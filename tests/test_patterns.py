import pytest

from secateur.errors import SecateurError
from secateur.models.patterns import matching, value_for

NAMES = ["conv1", "layer1.0", "layer1.1", "layer2.0"]


def test_names_that_match_keep_their_own_order() -> None:
    assert matching(NAMES, ["layer2.*", "layer1.?"]) == NAMES[1:]
    assert matching(NAMES, ["*"]) == NAMES
    assert matching(NAMES, []) == []


def test_a_name_that_matches_two_patterns_is_there_once() -> None:
    assert matching(NAMES, ["conv1", "conv*"]) == ["conv1"]


def test_a_pattern_without_a_match_is_refused_with_the_first_twenty_names() -> None:
    names = [f"layer{number}" for number in range(30)]
    with pytest.raises(SecateurError, match=r"called 'conv\*'; the groups are layer0, .*layer19$"):
        matching(names, ["layer1", "conv*"])


def test_the_first_pattern_that_matches_gives_the_value() -> None:
    values = {"layer1.0": 1, "layer1.*": 2, "*": 3}
    assert [value_for(name, values, 0) for name in NAMES] == [3, 1, 2, 3]
    assert value_for("conv1", {"layer*": 1}, 0) == 0
