import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from chains import plain
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from secateur.errors import SecateurError
from secateur.models.files.architecture import architecture, build, save
from secateur.models.files.library import FORMAT, _over_depth, architectures, keep_shares, nearest_by_widths
from secateur.models.files.schema import Architecture, GroupRecord
from secateur.models.subnetwork import Subnetwork
from secateur.models.supernet import Supernet
from secateur.models.zoo.registry import NETS

NET = plain((12, 16, 10))


def first(net: Supernet, *widths: int) -> Subnetwork:
    return Subnetwork(tuple(tuple(range(width)) for width in widths))


HALF, THIRD = first(NET, 6, 8, 5), first(NET, 4, 5, 3)


@cache
def resnet(depth: int) -> Supernet:
    return Supernet.of(NETS[f"resnet{depth}"](10), torch.zeros(1, 3, 32, 32), check=False)


@cache
def vgg() -> Supernet:
    return Supernet.of(NETS["vgg11_bn"](10), torch.zeros(1, 3, 32, 32), check=False)


def uniform(net: Supernet, share: float) -> Architecture:
    return Architecture.of(net, first(net, *(share * net.space.dense).astype(int)))


def front(path: Path, *points: Any) -> Path:
    path.mkdir()
    (path / "front.json").write_text(json.dumps({"format": FORMAT, "points": list(points)}))
    return path


def test_architectures_are_found_in_files_folders_and_runs(tmp_path: Path) -> None:
    records = [Architecture.of(NET, each) for each in (HALF, THIRD)]
    save(build(NET, HALF), tmp_path / "one")
    assert architectures(tmp_path / "one") == architectures(tmp_path / "one" / "architecture.json") == records[:1]
    assert architectures(front(tmp_path / "run", *(each.to_dict() for each in records))) == records
    assert architectures(tmp_path) == records + records[:1]  # the run, then the one


def test_the_winner_of_a_run_comes_first(tmp_path: Path) -> None:
    record, winner = (architecture(NET, each) for each in (HALF, THIRD))
    (front(tmp_path / "run", record) / "front.json").write_text(
        json.dumps({"format": FORMAT, "winner": winner, "points": [record]})
    )
    assert architectures(tmp_path / "run") == [Architecture.of(NET, each) for each in (THIRD, HALF)]


def test_the_shares_are_those_of_the_architecture() -> None:
    found = keep_shares(Architecture.of(NET, HALF), NET)
    assert found.tolist() == [0.5, 0.5, 0.5]
    assert keep_shares(Architecture.of(NET, THIRD), NET).tolist() == [4 / 12, 5 / 16, 3 / 10]


def test_another_network_with_the_same_groups_takes_the_shares() -> None:
    wide = plain((24, 32, 20))
    assert keep_shares(Architecture.of(NET, HALF), wide).tolist() == [0.5, 0.5, 0.5]


def test_a_deeper_network_takes_the_shares_over_depth() -> None:
    widths = {"layer1.0.conv1": 4, "layer1.1.conv1": 8, "layer1.2.conv1": 16, "layer2.0.conv2": 8}
    shallow = resnet(20)
    record = Architecture.of(
        shallow, first(shallow, *(widths.get(group.name, group.width) for group in shallow.groups))
    )
    net = resnet(32)
    found = {group.name: float(share) for group, share in zip(net.groups, keep_shares(record, net), strict=True)}
    assert [found[f"layer1.{block}.conv1"] for block in range(5)] == [0.25, 0.375, 0.5, 0.75, 1.0]
    assert found["layer2.0.conv2"] == record.groups["layer2.0.conv2"].width / 16
    assert {share for name, share in found.items() if not name.startswith(("layer1", "layer2.0.conv2"))} == {1.0}


def test_a_group_like_none_that_the_architecture_knows_stays_whole() -> None:
    record = replace(Architecture.of(resnet(20), resnet(20).dense), groups={"conv1": GroupRecord(4, 16, [0, 1, 2, 3])})
    assert keep_shares(record, resnet(32)).tolist() == [0.25] + [1.0] * (len(resnet(32).groups) - 1)


@given(st.integers(1, 30), st.lists(st.floats(0.1, 1), min_size=1, max_size=12))
def test_over_depth_nothing_leaves_the_range_and_the_same_depth_is_the_same(count: int, values: list[float]) -> None:
    taken = _over_depth(values, count)
    assert min(values) <= taken.min() <= taken.max() <= max(values)
    assert _over_depth(values, len(values)).tolist() == pytest.approx(values)


def test_the_nearest_is_of_the_same_family_and_the_nearest_budget(tmp_path: Path) -> None:
    small, deep, other = resnet(20), resnet(32), vgg()
    found = {(net, share): uniform(net, share) for net in (small, other) for share in (0.25, 0.5, 0.75)}
    for number, record in enumerate(found.values()):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "architecture.json").write_text(json.dumps(record.to_dict()))
    archive = architectures(tmp_path)
    assert len(archive) == 6
    for share in (0.25, 0.5, 0.75):
        likest = nearest_by_widths(archive, deep, (share * deep.space.dense).astype(np.int64), 2)
        assert likest[0] == found[small, share]
        assert {each.model for each in likest} == {"ResNet"}


def test_an_architecture_of_no_common_group_is_refused() -> None:
    record = Architecture.of(NET, HALF)
    record = replace(record, groups={"elsewhere": record.groups[NET.groups[0].name]})
    with pytest.raises(SecateurError, match="shares no channel group"):
        keep_shares(record, NET)


def test_a_folder_without_architectures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SecateurError, match=r"holds no architecture; pass a run directory or an architecture\.json"):
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
    with pytest.raises(SecateurError, match=r"has a missing or broken value: .*; it was edited by hand"):
        architectures(front(tmp_path / "run", record))


def test_architectures_without_a_group_have_no_nearest() -> None:
    record = replace(Architecture.of(NET, HALF), groups={})
    with pytest.raises(SecateurError, match="no architecture has a channel group"):
        nearest_by_widths([record], NET, NET.space.dense, 1)
