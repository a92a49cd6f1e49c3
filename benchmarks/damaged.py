"""Every file of a run, damaged in every way, and the same command again: in the middle of a run and after its end."""

import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path

from damages import DAMAGES
from kills import AFTER, LINES, Outcome, Unit, left, moment, placed, run, whole

UNREAD = {".csv", ".html", ".png", ".svg", ".lock"}  # written for people, or empty
STATES = (
    ("search", "bank"),
    ("search", "transfer"),
    ("search", "end"),
    ("pdd", "transfer"),
    ("search", "search"),
    ("pdd", "learn"),
)  # the kind of run, the stage it was killed in


def units(folder: Path) -> Iterator[Unit]:
    """Each file of each state of a run, by its kind: one teacher stands for all."""
    for kind, stage in STATES:
        for name in kinds(prepared(kind, stage, folder)):
            yield f"{kind}, {stage}: {name}", partial(damaged, kind, stage, name, folder)


@cache
def prepared(kind: str, stage: str, folder: Path) -> Path:
    """The folder of a run that was killed half-way through a stage, or of one that has ended."""
    seconds, _ = whole(kind, folder)
    place = placed(folder / f"{kind} {stage}")
    run(LINES[kind], place, (lambda _: False) if stage == "end" else moment(stage, 0.5, seconds, place))
    return place


def kinds(place: Path) -> dict[str, Path]:
    """The files of a run that are read again, by name; of the bank's teachers the first of each kind."""
    found: dict[str, Path] = {}
    for path in sorted((place / "run").rglob("*")):
        if path.is_file() and path.stat().st_size and path.suffix not in UNREAD:
            name = str(path.relative_to(place / "run"))
            if "teacher-" in name:
                name = "bank/teacher-*-view-0" if "view" in name else "bank/teacher-*"
            found.setdefault(name, path.relative_to(place))
    return found


def damaged(kind: str, stage: str, name: str, folder: Path) -> Outcome:
    """What comes of all damages of one file."""
    source, found, notes = prepared(kind, stage, folder), Counter[str](), list[str]()
    for damage in DAMAGES:
        place = folder / "damaged"
        shutil.copytree(source, place)
        path = place / kinds(source)[name]
        content = damage(path.read_bytes())
        path.unlink() if content is None else path.write_bytes(content)
        outcome, note = outcome_of(kind, place, folder)
        if note == name_in(path, place) and stage == "end":  # the line had no use for the file, and left it as it was
            outcome, note = outcome_after(place, folder)
        found[outcome] += 1
        notes += [f"{damage.__name__}: {note}"] if note else []
        shutil.rmtree(place)
    return {"fault": f"damaged {name}", "outcomes": dict(found), "notes": notes}


def name_in(path: Path, place: Path) -> str:
    """A file of a run, as notes name it."""
    return str(path.relative_to(place / "run"))


def outcome_after(place: Path, folder: Path) -> tuple[str, str]:
    """What fine-tuning once more, which reads the bank, makes of a damaged run that has ended."""
    return judged(run(AFTER, place), place, folder, after(folder), points)


@cache
def after(folder: Path) -> dict[str, object]:
    """What fine-tuning once more leaves of a run that nobody damaged."""
    place = folder / "after"
    shutil.copytree(prepared("search", "end", folder), place)
    assert run(AFTER, place) == 0, (place / "said").read_text()
    return points(place / "run")


def points(run: Path) -> dict[str, object]:
    """The networks that were fine-tuned once more. The bank is filled as far as they needed it."""
    return {str(path.relative_to(run)): path.read_bytes() for path in run.glob("points/*/*.safetensors")}


def outcome_of(kind: str, place: Path, folder: Path) -> tuple[str, str]:
    """What the same command makes of a damaged run, and more about it where it is not as it should be."""
    return judged(run(LINES[kind], place), place, folder, whole(kind, folder)[1], left)


def judged(
    status: int | None,
    place: Path,
    folder: Path,
    expected: dict[str, object],
    leaves: Callable[[Path], dict[str, object]],
) -> tuple[str, str]:
    """The outcome of a command with this status, of which what it ``leaves`` should be what is ``expected``."""
    said = (place / "said").read_text(errors="replace")
    if "Traceback" in said or (status and status != 2):
        return "traceback", said[-300:]
    if status:
        named = said.strip().splitlines()[-1].replace(os.fspath(folder), "")
        return "refused", "" if named.startswith("secateur: ") else named
    found = leaves(place / "run")
    if differ := sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name)):
        return "another", ", ".join(differ)
    return ("rebuilt" if "damaged" in said else "identical"), ""
