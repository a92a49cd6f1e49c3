import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secateur.digests import KEY, digest, sealed, unsealed

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
RECORDS = st.dictionaries(st.text().filter(lambda key: key != KEY), VALUES, max_size=4)


@given(RECORDS)
def test_a_record_is_intact_after_json_in_any_layout(record: dict[str, object]) -> None:
    for indent in (None, 1):
        text = json.dumps(sealed(record), indent=indent)
        assert json.dumps(unsealed(json.loads(text))) == json.dumps(record)


@given(RECORDS, st.data())
def test_a_flipped_bit_is_found_or_changes_nothing(record: dict[str, object], data: st.DataObject) -> None:
    text = bytearray(json.dumps(sealed(record)).encode())
    text[data.draw(st.integers(0, len(text) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    try:
        found = unsealed(json.loads(text.decode()))
    except ValueError:
        return
    lost_its_digest = len(found) == len(record) + 1 and KEY not in found  # the flip is in the key itself
    assert json.dumps(found) == json.dumps(record) or lost_its_digest


@pytest.mark.parametrize("value", [None, 3, [], [{"a": 1}], {}, {"a": {KEY: "inner"}}])
def test_what_has_no_digest_is_taken_as_it_is(value: object) -> None:
    assert unsealed(value) == value


@pytest.mark.parametrize("seal", [None, 0, "", "0" * 32, ["a"]])
def test_a_digest_of_another_kind_is_another_digest(seal: object) -> None:
    with pytest.raises(ValueError, match="not what was written"):
        unsealed({"a": 1, KEY: seal})


def test_the_order_of_a_list_and_of_keys_counts() -> None:
    assert len({digest(value) for value in ([1, 2], [2, 1], {"a": 1, "b": 2}, {"b": 2, "a": 1})}) == 4
