"""architecture.json is what its one definition says, and anything else is refused in one line."""

import json
import re
from typing import Any

from chains import plain
from hypothesis import given
from hypothesis import strategies as st

from secateur.errors import SecateurError
from secateur.models.files.schema import Architecture
from secateur.models.subnetwork import Subnetwork

NET = plain((12, 16, 10))
KEPT = Subnetwork(((0, 2, 5), tuple(range(9)), tuple(range(10))))


def test_what_is_written_is_what_is_read() -> None:
    about = {"figures": {"loss": 0.5}, "provenance": {"seed": 3}, "classes": ["cat", "dog"]}
    record = {**Architecture.of(NET, KEPT).to_dict(), **about}
    read = Architecture.from_dict(record, "here")
    assert json.loads(json.dumps(record)) == record == read.to_dict()
    assert (read.figures, read.normalisation) == ({"loss": 0.5}, None)
    assert read == Architecture.from_dict(json.loads(json.dumps(record)), "here")


def test_an_architecture_fits_a_line() -> None:
    macs = f"{NET.macs(KEPT)} of {NET.macs(NET.dense)}"
    assert repr(Architecture.of(NET, KEPT)) == f"Architecture(Sequential, groups=3, macs={macs})"


def test_keys_stand_in_one_order() -> None:
    found = Architecture.of(NET, KEPT).to_dict()
    assert [*found] == ["format", "model", "fingerprint", "inputs", "costs", "tie", "groups", "frozen"]
    assert [*found["groups"]["0"]] == ["width", "dense", "kept"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
SOUND = Architecture.of(NET, KEPT).to_dict()


@given(st.sampled_from([*SOUND, "figures", "classes"]), JSON)
def test_any_value_in_place_of_a_part_is_read_or_refused_in_a_line(key: str, value: Any) -> None:
    try:
        found = Architecture.from_dict({**SOUND, key: value}, "here").to_dict()
    except SecateurError as error:
        found = {"refused": str(error)}
    given = {} if value is None else {key: value}
    assert found == {**SOUND, **given} or re.fullmatch(r"here (has a missing|is not of format)[^\n]*", found["refused"])
