"""A disk that is really full: one line, and once there is room the same result as if it never had been."""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from chains import plain
from small import images, searched
from trainings import assert_same, toy, train_toy

from secateur.errors import SecateurError
from secateur.transfer.objectives.base import CrossEntropy

SIZE = "4m"
BLOCK = bytes(1 << 12)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small disk in memory."""
    place = tmp_path / "disk"
    place.mkdir()
    with suppress(FileNotFoundError):
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", place], capture_output=True)
        if mounted.returncode == 0:
            yield place
            subprocess.run(["umount", "-l", place], check=True)
            return
    pytest.skip("no disk can be mounted here: that takes Linux and root")


def fill(disk: Path, spare: int = 0) -> Path:
    """Fill the disk, but for so many bytes. Returns the file that fills it."""
    ballast = disk / "ballast"
    with suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(BLOCK)
    with ballast.open("r+b") as file:
        file.truncate(ballast.stat().st_size - spare)
    return ballast


def refused(work: Callable[[], object]) -> str:
    """What work says that can't write."""
    with pytest.raises(SecateurError) as caught:
        work()
    return str(caught.value)


@pytest.mark.parametrize("spare", [0, 8 << 10, 64 << 10, 200 << 10])
def test_a_search_says_that_the_disk_is_full_and_ends_the_same_with_room(
    spare: int, disk: Path, tmp_path: Path
) -> None:
    (tmp_path / "whole").mkdir()
    (disk / "run").mkdir()
    net, split = plain((4, 6)), images()
    expected, ballast = searched(net, split, tmp_path / "whole"), fill(disk, spare)
    said = refused(lambda: searched(net, split, disk / "run"))
    assert "\n" not in said
    assert "make room" in said
    ballast.unlink()
    found = searched(net, split, disk / "run")
    assert (found.winner, found.interims) == (expected.winner, expected.interims)


@pytest.mark.parametrize("step", [0, 4, 7])
def test_a_training_says_that_the_disk_is_full_and_ends_the_same_with_room(
    step: int, disk: Path, tmp_path: Path
) -> None:
    expected, going = toy(), train_toy(toy(), CrossEntropy(), folder=disk / "run")
    list(train_toy(expected, CrossEntropy(), folder=tmp_path / "whole"))
    for _ in range(step):
        next(going)
    ballast = fill(disk)
    said = refused(lambda: list(going))
    assert "checkpoint.safetensors cannot be written" in said or "metrics.jsonl cannot be written" in said
    assert ", 0 bytes are free); make room there" in said
    ballast.unlink()
    torch.manual_seed(1)
    again = toy()
    list(train_toy(again, CrossEntropy(), folder=disk / "run"))
    assert_same(again.state_dict(), expected.state_dict())
    assert sorted(path.name for path in (disk / "run").iterdir()) == [
        "checkpoint.safetensors",
        "metrics.csv",
        "metrics.jsonl",
    ]
