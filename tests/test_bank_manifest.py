"""The manifest of a bank: the form of the file, and which files are refused."""

import json
from pathlib import Path

import pytest
from banked import DENSE, HALF, TEACHERS, THIN

from secateur.digests import unsealed
from secateur.errors import SecateurError
from secateur.transfer.bank.manifest import BankLocation, BankManifest, manifest_name


def test_what_is_written_is_read(tmp_path: Path) -> None:
    location = BankLocation(tmp_path, "abc", "other.json")
    manifest = BankManifest("abc", TEACHERS)
    manifest.write(location.path)
    assert BankManifest.read(location) == manifest
    assert [path.name for path in tmp_path.iterdir()] == ["other.json"]


def test_the_file_has_the_keys_that_it_always_had(tmp_path: Path) -> None:
    BankManifest("abc", TEACHERS[2:]).write(tmp_path / "bank.json")
    assert unsealed(json.loads((tmp_path / "bank.json").read_text())) == {
        "format": "secateur/bank/1",
        "data": "abc",
        "teachers": [{"kept": [[4], [0, 7]], "loss": 1.0, "macs": 100}],
    }


@pytest.mark.parametrize(
    "wrong",
    [
        [],
        {},
        {"format": "secateur/bank/2", "data": "abc", "teachers": []},
        {"format": "secateur/bank/1", "data": "abc"},
        {"format": "secateur/bank/1", "data": "abc", "teachers": [{"kept": [[0]], "macs": 1}]},
        {"format": "secateur/bank/1", "data": "abc", "teachers": [{"kept": 3, "loss": 0.5, "macs": 1}]},
    ],
    ids=str,
)
def test_a_file_of_another_form_is_no_manifest(wrong: object, tmp_path: Path) -> None:
    (tmp_path / "bank.json").write_text(json.dumps(wrong))
    with pytest.raises(SecateurError, match=r"no memory bank in .* run secateur search first"):
        BankManifest.read(BankLocation(tmp_path, "abc"))


def test_the_winners_manifest_has_the_plain_name_and_another_points_its_own() -> None:
    assert manifest_name(HALF, HALF) == "bank.json"
    assert len({manifest_name(each, HALF) for each in (DENSE, HALF, THIN)}) == 3
