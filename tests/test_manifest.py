"""The run directory's book: what was asked, and what is done."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import secateur as sc
from secateur.digests import unsealed
from secateur.rundir import manifest
from secateur.rundir.manifest import Manifest, sha256
from secateur.rundir.outcomes import NetworkStage, StageOutcome, Stages


def refusal(folder: Path, ask: sc.RunConfig) -> str:
    with pytest.raises(sc.SecateurError) as caught:
        Manifest(folder, ask)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def book(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = unsealed(json.loads((folder / "run.json").read_text()))
    return found


def test_a_new_folder_gets_a_readable_book(tmp_path: Path) -> None:
    Manifest(tmp_path / "a" / "run", sc.Ask(flops="40%", mean=(0.1, 0.2, 0.3)))
    written = book(tmp_path / "a" / "run")
    assert written["format"] == "secateur/run/1"
    assert written["asked"]["flops"] == "40%"
    assert written["asked"]["mean"] == [0.1, 0.2, 0.3]
    assert {"python", "secateur", "torch", "optuna", "numpy"} <= written["versions"].keys()
    assert written["stages"] == {}


def test_the_same_ask_takes_up_the_folder(tmp_path: Path) -> None:
    ask = sc.Ask(std=(0.1, 0.2, 0.3))
    Manifest(tmp_path, ask)
    assert Manifest(tmp_path, ask).stages == Stages()


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("flops", "40%"),
        ("seed", 1),
        ("epochs", 11),
        ("weights", "w.safetensors"),
        ("mean", (0.1, 0.2, 0.3)),
        ("least", ("20%",)),
        ("memory", "50%"),
    ],
)
def test_another_option_is_refused_by_name_with_both_values(tmp_path: Path, option: str, value: Any) -> None:
    Manifest(tmp_path, sc.Ask())
    message = refusal(tmp_path, sc.Ask().with_options(**{option: value}))
    here = str(list(value) if isinstance(value, tuple) else value)
    default = sc.Ask().to_dict()[option]
    there = list(default) if option == "least" else default
    assert f"({option} {there} there, {here} here)" in message
    assert "--out" in message


def test_a_book_from_before_an_option_was_there_did_as_the_option_usually_does(tmp_path: Path) -> None:
    Manifest(tmp_path, sc.Ask())
    older = book(tmp_path)
    del older["asked"]["freeze"]
    (tmp_path / "run.json").write_text(json.dumps(older))
    assert Manifest(tmp_path, sc.Ask()).stages == Stages()
    assert "(freeze [] there, ['conv1'] here)" in refusal(tmp_path, sc.Ask(freeze=("conv1",)))


def test_a_fingerprint_may_not_change(tmp_path: Path) -> None:
    Manifest(tmp_path, sc.Ask()).require("data", "aaaa")
    Manifest(tmp_path, sc.Ask()).require("data", "aaaa")
    with pytest.raises(sc.SecateurError, match=r"the data of .* changed .*aaaa then, bbbb now"):
        Manifest(tmp_path, sc.Ask()).require("data", "bbbb")
    assert book(tmp_path)["fingerprints"] == {"data": "aaaa"}


def test_a_stage_is_done_once_and_its_seconds_are_entered(tmp_path: Path) -> None:
    times = []

    def work() -> StageOutcome:
        times.append(1)
        return NetworkStage(epochs=42)

    first = Manifest(tmp_path, sc.Ask()).stage("dense", work)
    again = Manifest(tmp_path, sc.Ask())
    assert again.stage("dense", work) == first
    assert len(times) == 1
    assert isinstance(first, NetworkStage)
    assert first.epochs == 42
    assert first.seconds >= 0
    assert book(tmp_path)["stages"] == again.stages.to_dict() == {"dense": first.to_dict()}


def test_a_stage_that_fails_is_not_entered(tmp_path: Path) -> None:
    def work() -> StageOutcome:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Manifest(tmp_path, sc.Ask()).stage("search", work)
    assert Manifest(tmp_path, sc.Ask()).stages == Stages()


@pytest.mark.parametrize(
    "text", ["", "{", '{"format": "secateur/run/1"', "[]", "{}", '{"format": "secateur/run/2"}', '"secateur/run/1"']
)
def test_a_broken_book_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.json").write_text(text)
    assert "run.json" in refusal(tmp_path, sc.Ask())


def test_a_book_without_its_parts_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"format": "secateur/run/1"}')
    assert "run.json" in refusal(tmp_path, sc.Ask())


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    assert "is not a run of secateur" in refusal(tmp_path, sc.Ask())
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    assert "is not a run of secateur" in refusal(tmp_path / "file", sc.Ask())
    assert "cannot be made" in refusal(tmp_path / "file" / "run", sc.Ask())


def test_an_empty_folder_and_one_left_at_the_very_first_write_will_do(tmp_path: Path) -> None:
    (tmp_path / "run.partial").write_text('{"form')
    assert Manifest(tmp_path, sc.Ask()).stages == Stages()
    assert not (tmp_path / "run.partial").exists()


def test_the_digest_of_a_file_follows_its_content(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    # the SHA-256 test vector of FIPS 180-2, appendix B.1
    assert sha256(tmp_path / "a") == "ba7816bf8f01cfea"
    (tmp_path / "b").write_bytes(bytes(3_000_000))
    (tmp_path / "c").write_bytes(bytes(2_999_999) + b"1")
    assert sha256(tmp_path / "b") != sha256(tmp_path / "c")


def test_the_seconds_of_a_stage_add_up_over_its_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter([0.0, 5.0, 100.0, 107.0])
    monkeypatch.setattr(manifest, "time", SimpleNamespace(perf_counter=lambda: next(ticks)))

    def killed() -> StageOutcome:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Manifest(tmp_path, sc.Ask()).stage("dense", killed)
    assert book(tmp_path)["spent"] == {"dense": 5.0}
    again = Manifest(tmp_path, sc.Ask()).stage("dense", lambda: NetworkStage(epochs=42))
    assert again.seconds == 12.0
    assert "spent" not in book(tmp_path)
