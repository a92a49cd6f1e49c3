"""A small disk that something else fills while a run writes to it; room is made, and the same command goes on."""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from kills import LINES, STAGES, Outcome, Unit, left, leftovers, moment, placed, run, said_by, whole

SIZE = "24m"  # of the disk
BALLAST = "ballast"  # the file that fills it
BLOCK = bytes(1 << 16)


def units(folder: Path) -> Iterator[Unit]:
    """In each stage of each kind of run, as it begins and when half of it is done."""
    for kind, stages in STAGES.items():
        for stage in stages:
            for share in (0.0, 0.5):
                yield f"{kind}, {stage} {share}", partial(full, kind, stage, share, folder)


def full(kind: str, stage: str, share: float, folder: Path) -> Outcome:
    """What comes of a disk that is full from this moment on, and of the same command once there is room."""
    seconds, expected = whole(kind, folder)
    place = placed(folder / f"full {kind} {stage} {share}")
    with small_disk(place / "run") as disk:
        status = run(LINES[kind], place, filling(disk, moment(stage, share, seconds, place)))
        said, text = said_by(place), (place / "said").read_text()
        was_full = (disk / BALLAST).exists()
        (disk / BALLAST).unlink(missing_ok=True)
        again = run(LINES[kind], place)
        found = {} if again else left(disk)
        over = leftovers(disk)
    wrong = ["another status"] * (status not in (0, 2)) + ["not one line"] * (len(said) != bool(status))
    wrong += [f"left over: {name}" for name in over]
    wrong += sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
    outcome = "traceback" if "Traceback" in text else "another" if wrong else "identical"
    line = " ".join(said).replace(f"{place}/", "")
    times = {outcome: 1} if was_full else {}  # it may end before
    return {"fault": f"disk full, {kind}", "outcomes": times, "said": line, "notes": wrong}


def filling(disk: Path, has_come: Callable[[float], bool]) -> Callable[[float], bool]:
    """Fills the disk once the moment has come, and never asks for a kill."""

    def watch(used: float) -> bool:
        if not (disk / BALLAST).exists() and has_come(used):
            with suppress(OSError), (disk / BALLAST).open("wb", buffering=0) as file:
                while True:
                    file.write(BLOCK)
        return False

    return watch


@contextmanager
def small_disk(place: Path) -> Iterator[Path]:
    """A new disk in memory, which is gone afterwards. Needs root."""
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", place], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)
