import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chains import plain

from secateur.models.architecture import architecture, built, save
from secateur.models.archive import FORMAT, architectures, shares
from secateur.models.errors import SecateurError
from secateur.models.subnetwork import Subnetwork
from secateur.models.supernet import Supernet

NET = plain((12, 16, 10))


def first(net: Supernet, *widths: int) -> Subnetwork:
    return Subnetwork(tuple(tuple(range(width)) for width in widths))


HALF, THIRD = first(NET, 6, 8, 5), first(NET, 4, 5, 3)


def front(path: Path, *points: Any) -> Path:
    path.mkdir()
    (path / "front.json").write_text(json.dumps({"format": FORMAT, "points": list(points)}))
    return path


def test_architectures_are_found_in_files_folders_and_runs(tmp_path: Path) -> None:
    records = [architecture(NET, each) for each in (HALF, THIRD)]
    save(built(NET, HALF), tmp_path / "one")
    assert architectures(tmp_path / "one") == architectures(tmp_path / "one" / "architecture.json") == records[:1]
    assert architectures(front(tmp_path / "run", *records)) == records


def test_the_shares_are_those_of_the_architecture() -> None:
    found = shares(architecture(NET, HALF), NET)
    assert found.tolist() == [0.5, 0.5, 0.5]
    assert shares(architecture(NET, THIRD), NET).tolist() == [4 / 12, 5 / 16, 3 / 10]


def test_another_network_with_the_same_groups_takes_the_shares() -> None:
    wide = plain((24, 32, 20))
    assert shares(architecture(NET, HALF), wide).tolist() == [0.5, 0.5, 0.5]


def test_a_group_that_the_architecture_does_not_know_stays_whole() -> None:
    deeper = plain((12, 16, 10, 8))
    found = shares(architecture(NET, HALF), deeper)
    assert len(found) == len(deeper.groups)
    assert np.count_nonzero(found == 1) == 1


def test_an_architecture_of_no_common_group_is_refused() -> None:
    record = architecture(NET, HALF)
    record["groups"] = {"elsewhere": record["groups"][NET.groups[0].name]}
    with pytest.raises(SecateurError, match="shares no channel group"):
        shares(record, NET)


def test_a_folder_without_architectures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SecateurError, match=r"holds no architecture; give a run directory or an architecture\.json"):
        architectures(tmp_path)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"format": "secateur/front/1"}', '{"format": "secateur/front/1", "points": []}']
)
def test_a_broken_front_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "front.json").write_text(text)
    with pytest.raises(SecateurError, match=r"front\.json"):
        architectures(tmp_path)


@pytest.mark.parametrize(("key", "value"), [("dense", None), ("dense", 3), ("width", 0), ("kept", "all")])
def test_a_front_of_a_broken_point_is_refused(tmp_path: Path, key: str, value: Any) -> None:
    record = architecture(NET, HALF)
    next(iter(record["groups"].values()))[key] = value
    with pytest.raises(SecateurError, match="missing or broken; it was edited by hand"):
        architectures(front(tmp_path / "run", record))
