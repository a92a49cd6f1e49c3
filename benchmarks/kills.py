"""Whole runs that are killed at random moments and resumed, against runs that nobody touched."""

import os
import random
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial
from operator import sub
from pathlib import Path
from typing import Any, TypeAlias

import secateur.stages.run  # noqa: F401  (imported before the forks)
from secateur.__main__ import main
from secateur.files import read_json, read_json_lines
from secateur.transfer.joint.train import widths_by_epoch

Outcome: TypeAlias = dict[str, Any]
Unit: TypeAlias = tuple[str, Callable[[], Outcome]]

NETS = """from torch import nn


def tiny(classes: int = 10) -> nn.Module:
    layers: list[nn.Module] = []
    for before, width in ((3, 8), (8, 12)):
        layers += [nn.Conv2d(before, width, 3, 2, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, classes))
"""
COMMON = ["nets.py:tiny", "--data", "digits", "--input", "3x8x8", "--divisor", "1", "--device", "cpu", "--out", "run"]
LINES = {
    "search": ["run", *COMMON, "--trials", "6", "--epochs", "3", "--views", "1"],
    "pdd": ["run", *COMMON, "--method", "pdd", "--epochs", "6"],
}
AFTER = ["transfer", "run", "--model", "nets.py:tiny", "--epochs", "2", "--device", "cpu"]  # reads the bank again
STAGES = {
    "search": ("dense", "search", "bank", "transfer", "test"),
    "pdd": ("dense", "teacher", "learn", "transfer", "test"),
}
IN_A_CHAIN = 5  # kills of one run
TICKS = os.sysconf("SC_CLK_TCK")
RESULTS = ("best/weights.safetensors", "best/architecture.json", "dense/weights.safetensors", "front.json", "front.csv")


def units(kills: int, seed: int, folder: Path) -> Iterator[Unit]:
    """Chains of kills, each of one run until it ends; every fourth is of a run that learns its widths."""
    for number in range(-(-kills // IN_A_CHAIN)):
        kind, rng = "pdd" if number % 4 == 3 else "search", random.Random(f"{seed} {number}")
        yield f"{kind} {number}", partial(chain, kind, rng, folder)


def chain(kind: str, rng: random.Random, folder: Path) -> Outcome:
    """One run, killed at a random moment of each of five stages, and each time resumed by the same command."""
    seconds, expected = whole(kind, folder)
    place, killed = placed(folder / f"{kind} {rng.random()}"), Counter[str]()
    for number in sorted(rng.sample(range(len(seconds)), IN_A_CHAIN)):
        stage = [*seconds][number]
        if run(LINES[kind], place, moment(stage, rng.random(), seconds, place)) is None:
            killed[stage] += 1
    status = run(LINES[kind], place)
    said, found = (place / "said").read_text(), {} if status else left(place / "run")
    differ = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
    outcome = "traceback" if "Traceback" in said else "refused" if status else "another" if differ else "identical"
    more = {"in": dict(killed), "differ": differ, "leftovers": leftovers(place / "run")}
    return {"fault": f"SIGKILL, {kind}", "outcomes": {outcome: killed.total()}, **more}


@cache
def whole(kind: str, folder: Path) -> tuple[dict[str, float], dict[str, object]]:
    """The processor seconds of each stage of an undisturbed run, in order, and what the run leaves."""
    place, entered = placed(folder / kind), dict[str, float]()

    def note(used: float) -> bool:
        entered.setdefault(stage_of(place / "run"), used)
        return False

    assert run(LINES[kind], place, note) == 0, (place / "said").read_text()
    moments = [*entered.values()]
    return dict(zip(entered, map(sub, moments[1:], moments), strict=False)), left(place / "run")


def moment(stage: str, share: float, seconds: Mapping[str, float], place: Path) -> Callable[[float], bool]:
    """Whether a process has come to this share of a stage, by its processor time so far."""
    entered: list[float] = []

    def has_come(used: float) -> bool:
        if stage_of(place / "run") == stage and not entered:  # already as it starts, where it was killed in it before
            entered.append(used if used > seconds["start"] / 2 or stage == "start" else seconds["start"])
        return bool(entered) and used >= entered[0] + share * seconds.get(stage, 0.0)  # some are too short to be seen

    return has_come


def placed(folder: Path) -> Path:
    """A new folder with the network's file."""
    folder.mkdir()
    (folder / "nets.py").write_text(NETS)
    return folder


def run(line: list[str], place: Path, until: Callable[[float], bool] = lambda _: False) -> int | None:
    """The status of a command; None where it was killed, as soon as ``until`` is true of its processor time."""
    process = os.fork()  # what is imported here already need not be imported again, which takes most of a small run
    if not process:
        _become(line, place)
    while True:
        ended, status = os.waitpid(process, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        if until(used(process)):
            os.kill(process, signal.SIGKILL)
            status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
            return None if status == -signal.SIGKILL else status
        time.sleep(0.01)


def _become(line: list[str], place: Path) -> None:
    """Be the command, in its folder, with stderr in a file; a traceback ends with status 70."""
    os.chdir(place)
    for stream, file in ((1, os.devnull), (2, "said")):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream)
    status = 70
    try:
        main(line)
        status = 0
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def used(process: int) -> float:
    """Seconds of processor time that a process has had."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / TICKS


def stage_of(run: Path) -> str:
    """The stage that a run is in: the first that it lacks; ``start`` before it has a manifest."""
    if not (run / "run.json").exists():
        return "start"
    book = read_json(run / "run.json")
    stages = STAGES["pdd" if book["asked"]["method"] == "pdd" else "search"]
    return next((name for name in stages if not book["stages"].get(name)), "report")


def left(run: Path) -> dict[str, object]:
    """What a run leaves that decides anything, by name: files as they are, records without what a clock says."""
    found: dict[str, object] = {name: (run / name).read_bytes() for name in RESULTS if (run / name).exists()}
    found |= {f"bank/{path.name}": path.read_bytes() for path in (run / "bank").glob("teacher-*.safetensors")}
    book = read_json(run / "run.json")
    for name, stage in book["stages"].items():
        if name == "speed":  # measured by a clock
            continue
        found[f"run.json, {name}"] = stage and {key: each for key, each in stage.items() if key != "seconds"}
    found["bank/records.jsonl"] = sorted(map(repr, read_json_lines(run / "bank" / "records.jsonl")))
    for name in ("dense/metrics.jsonl", "transfer/metrics.jsonl", "learn/metrics.jsonl"):
        found[name] = [{**line, "seconds": 0} for line in read_json_lines(run / name)]
    found["learn/widths.jsonl"] = widths_by_epoch(run / "learn")  # an epoch that ran twice may stand there twice
    return found


def said_by(place: Path) -> list[str]:
    """What a command said at its end, without its progress: the lines that it begins with its name."""
    return [line for line in (place / "said").read_text(errors="replace").splitlines() if line.startswith("secateur: ")]


def leftovers(run: Path) -> list[str]:
    """Temporary files that a killed process left; nothing reads them again."""
    return sorted(path.name for kind in ("*.partial", "*.journal", "*.blank") for path in run.rglob(kind))
