"""What is left behind: memory, open files, temporary folders, files beside the run directory."""

import gc
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import torch
from chains import plain
from small import images, searched

from secateur.models.subnetwork import Subnetwork
from secateur.search.records import Records
from secateur.transfer.objectives.base import CrossEntropy
from secateur.transfer.training.recipe import Recipe
from secateur.transfer.training.train import train

MANY = 1_000
SPARE = 8 << 20  # bytes that the allocator may take for itself; a leak of a network an evaluation is far more


def resident() -> int:
    """Bytes of memory that this process has."""
    if sys.platform != "linux":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def tensors() -> int:
    """How many tensors there are."""
    gc.collect()
    return sum(issubclass(type(each), torch.Tensor) for each in gc.get_objects())


def open_files() -> list[str]:
    """What the file descriptors of this process are of."""
    if not Path("/proc/self/fd").exists():
        return []
    handles = [Path("/proc/self/fd", name) for name in os.listdir("/proc/self/fd")]
    return sorted(os.readlink(handle) for handle in handles if handle.is_symlink())


def test_a_thousand_evaluations_leave_no_memory_behind(tmp_path: Path) -> None:
    net, split = plain((3, 4)), images(4)
    records = Records(net, split, tmp_path / "records.jsonl")
    subnetworks = [Subnetwork(((a,), (b,))) for a in range(3) for b in range(4)]

    def evaluated(count: int) -> None:
        for number in range(count):
            records.evaluate(subnetworks[number % len(subnetworks)], "a", 4)
            records.rewind()
            records._unseen.clear()  # else it is known, and not evaluated again

    evaluated(100)
    before = tensors(), resident()
    evaluated(MANY)
    assert tensors() <= before[0]
    assert resident() - before[1] < SPARE


def test_a_search_and_a_training_leave_no_open_file(tmp_path: Path) -> None:
    def worked(folder: Path) -> None:
        folder.mkdir()
        searched(plain((4, 6)), images(), folder)
        list(train(plain((4, 6)).model, images(), CrossEntropy(), Recipe(epochs=1, batch=8), folder=folder))
        gc.collect()

    worked(tmp_path / "first")  # what libraries open once
    before = open_files()
    worked(tmp_path / "second")
    assert [name for name in open_files() if name not in before and "second" in name] == []
    assert len(open_files()) <= len(before)


def test_nothing_is_written_beside_the_run_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("here", "temporary", "run"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    written: list[str] = []

    def note(event: str, values: tuple[object, ...]) -> None:
        if written and event == "open" and isinstance(values[0], str) and isinstance(values[2], int):
            writes = values[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            if writes and not values[0].startswith((str(tmp_path / "run"), "/dev/", "/proc/")):
                written.append(values[0])
        if written and event == "socket.connect":
            written.append(event)

    sys.addaudithook(note)
    written.append("begun")  # the hook stays for ever: it notes from here to the end of this test
    searched(plain((4, 6)), images(), tmp_path / "run")
    model = plain((4, 6)).model
    list(train(model, images(), CrossEntropy(), Recipe(epochs=1, batch=8), folder=tmp_path / "run" / "transfer"))
    found = [name for name in written[1:] if "__pycache__" not in name]
    written.clear()
    assert found == []
    assert list((tmp_path / "here").iterdir()) == list((tmp_path / "temporary").iterdir()) == []


def test_the_folder_of_a_search_without_one_is_removed_when_python_ends(tmp_path: Path) -> None:
    (tmp_path / "temporary").mkdir()
    search = "from secateur.pipeline.search import _places; folder, _ = _places(None, None); assert folder.is_dir()"
    where = {**os.environ, "TMPDIR": str(tmp_path / "temporary")}
    subprocess.run([sys.executable, "-c", search], check=True, env=where)
    assert list((tmp_path / "temporary").iterdir()) == []
