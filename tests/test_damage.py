"""Files of a run that a disk damaged: found by the next command, made again where that is possible, else named."""

import errno
import itertools
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from commands import NETS, Capture, status
from safetensors.torch import save_file

import secateur as sc
from secateur.digests import unsealed
from secateur.models.zoo.registry import constructor
from secateur.rundir.manifest import config_of

LINE = ["run", "net.py:make", "--weights", "w.safetensors", "--input", "3x8x8", "--trials", "3", "--epochs", "1"]
LINE += ["--views", "1", "--method", "ckt", "--seed", "1", "--quiet", "--anyway", "--out", "run"]
Damage = Callable[[bytes], bytes]


def zeros(content: bytes) -> bytes:
    return content[:-300] + bytes(200) + content[-100:]


def flipped(content: bytes) -> bytes:
    return content[:-101] + bytes([content[-101] ^ 64]) + content[-100:]


def cut(content: bytes) -> bytes:
    return content[:-7]


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The working directory of a run that has its bank, and of the same run finished."""
    threads, place = torch.get_num_threads(), tmp_path_factory.mktemp("damage")
    torch.set_num_threads(1)
    (place / "net.py").write_text(NETS)
    torch.manual_seed(0)
    save_file(constructor(f"{place / 'net.py'}:make", 10)().state_dict(), place / "w.safetensors")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        assert status(["search", *LINE[1:]]) == 0
        shutil.copytree("run", "finished")
        assert status([*LINE[:-1], "finished"]) == 0
    yield place
    torch.set_num_threads(threads)


@pytest.fixture
def place(searched: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy to damage."""
    shutil.copytree(searched, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    return tmp_path / "copy"


def damage(path: Path, how: Damage) -> None:
    path.write_bytes(how(path.read_bytes()))


@pytest.mark.parametrize("how", [zeros, flipped, cut, None], ids=lambda how: how.__name__ if how else "gone")
def test_a_damaged_teacher_is_filled_again_and_the_result_is_the_same(place: Path, how: Damage | None) -> None:
    for teacher in (place / "run" / "bank").glob("teacher-*.safetensors"):
        damage(teacher, how) if how else teacher.unlink()
    assert status(LINE) == 0
    found, expected = ((place / out / "best" / "weights.safetensors").read_bytes() for out in ("run", "finished"))
    assert found == expected


def test_the_journal_of_a_complete_file_is_removed(place: Path) -> None:
    teacher = next((place / "run" / "bank").glob("teacher-*.safetensors"))
    teacher.with_suffix(".journal").write_bytes(b"left by a kill\n")
    (place / "run" / "bank" / "teacher-0.journal").write_bytes(b"of a file that is being filled\n")
    assert status(LINE) == 0
    assert [path.name for path in (place / "run" / "bank").glob("*.journal")] == ["teacher-0.journal"]


def test_filling_again_is_said(place: Path) -> None:
    teacher = next((place / "run" / "bank").glob("teacher-*.safetensors"))
    damage(teacher, flipped)
    told: list[str] = []
    sc.run(config_of(Path("run")), "run", progress=lambda what, *_: told.append(what))
    assert f"filling {teacher.name} again, which is damaged" in told


@pytest.mark.parametrize("how", [zeros, flipped, cut], ids=lambda how: how.__name__)
@pytest.mark.parametrize("line", [["export", "finished", "--format", "pt2"], ["evaluate", "finished"]], ids=" ".join)
def test_damaged_weights_are_not_shipped(place: Path, line: list[str], how: Damage, capsys: Capture) -> None:
    damage(place / "finished" / "best" / "weights.safetensors", how)
    assert status([*line, "--model", "net.py:make"]) == 2
    assert "weights.safetensors cannot be read (its content is not what was written)" in capsys.readouterr().err
    assert not (place / "finished" / "best" / "model.pt2").exists()


@pytest.mark.parametrize("how", [flipped, cut, None], ids=lambda how: how.__name__ if how else "gone")
@pytest.mark.parametrize("name", ["weights.safetensors", "architecture.json"])
def test_the_same_line_on_a_finished_run_makes_a_damaged_result_again(
    place: Path, name: str, how: Damage | None
) -> None:
    path, told = place / "finished" / "best" / name, list[str]()
    expected = {each.name: each.read_bytes() for each in path.parent.iterdir()}
    damage(path, how) if how else path.unlink()
    sc.run(config_of(Path("finished")), "finished", progress=lambda what, *_: told.append(what))
    assert "finished/best is damaged or gone: it is made again from the checkpoint" in told
    assert {each.name: each.read_bytes() for each in path.parent.iterdir()} == expected


@pytest.mark.parametrize("how", [zeros, flipped, cut], ids=lambda how: how.__name__)
def test_a_damaged_checkpoint_is_named_with_the_way_on(place: Path, how: Damage, capsys: Capture) -> None:
    shutil.copytree(place / "finished" / "transfer", place / "run" / "transfer")
    damage(place / "run" / "transfer" / "checkpoint.safetensors", how)
    assert status(LINE) == 2
    assert "checkpoint.safetensors cannot be read" in (said := capsys.readouterr().err)
    assert "delete it to train from scratch" in said


def test_a_moved_folder_and_a_clock_that_jumps_change_nothing(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (place / "run").rename(place / "moved")
    times = itertools.cycle([2e9, 1.0, 5e8])
    monkeypatch.setattr(time, "time", lambda: next(times))
    assert status([*LINE[:-1], "moved"]) == 0
    for name in ("best/weights.safetensors", "best/architecture.json", "front.json"):
        found, expected = ((place / out / name).read_bytes() for out in ("moved", "finished"))
        assert found == expected


@pytest.mark.parametrize("change", [{"--seed": "2"}, {"--trials": "4"}, {"--epochs": "2"}], ids=str)
def test_another_option_names_both_sides_and_the_way_on(place: Path, change: dict[str, str], capsys: Capture) -> None:
    ((option, value),) = change.items()
    line = [value if before == option else word for before, word in zip(["", *LINE], LINE, strict=False)]
    there = LINE[LINE.index(option) + 1]
    assert status(line) == 2
    said = capsys.readouterr().err
    assert f"run holds another run ({option[2:]} {there} there, {value} here); " in said
    assert "pass a different --out" in said


def test_other_weights_than_a_run_began_with_are_refused(place: Path, capsys: Capture) -> None:
    torch.manual_seed(1)
    save_file(constructor(f"{place / 'net.py'}:make", 10)().state_dict(), place / "w.safetensors")
    assert status(LINE) == 2
    assert "the weights of run changed since the run began (" in capsys.readouterr().err


@pytest.mark.parametrize("count", [1, 4, 9])
def test_after_a_full_disk_the_same_line_gives_the_same_result(
    place: Path, count: int, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    synced, sync = list[int](), os.fsync

    def full(handle: int) -> None:
        synced.append(handle)
        if len(synced) >= count:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(handle)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        assert status(LINE) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert "cannot be written (No space left on device, " in said
    assert list((place / "run").rglob("*.partial")) == []
    assert status(LINE) == 0
    found, expected = ((place / out / "best" / "weights.safetensors").read_bytes() for out in ("run", "finished"))
    assert found == expected


@pytest.mark.parametrize("content", [b"", b"[" * 100_000, b"\xff\xfe", b"9" * 5_000, b"null", b"[1]", b'{"a": 1}'])
@pytest.mark.parametrize("name", ["run.json", "front.json", "bank/records.jsonl", "transfer/metrics.jsonl"])
def test_damaged_text_is_one_line_that_names_the_file(place: Path, name: str, content: bytes, capsys: Capture) -> None:
    (place / "finished" / name).write_bytes(content + b"\n")
    assert status(["report", "finished"]) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert name in said


@pytest.mark.parametrize("value", [-1, 10**30, {}, [[1]], 1.5], ids=repr)
@pytest.mark.parametrize("option", ["model", "trials", "flops", "input", "mean", "seed", "tie", "data"])
def test_a_damaged_option_is_one_line_before_anything_is_read(
    place: Path, option: str, value: object, capsys: Capture
) -> None:
    path = place / "run" / "run.json"
    book = unsealed(json.loads(path.read_text()))
    path.write_text(json.dumps({**book, "asked": {**book["asked"], option: value}}))
    assert status(["transfer", "run", "--model", "net.py:make"]) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith("secateur: ")
