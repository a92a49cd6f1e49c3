"""Every file that a run reads again, damaged in every way: read as it was, or refused by name."""

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from chains import plain
from damages import DAMAGES, Damage, cut_by_a_byte, cut_by_a_line, cut_in_half, cut_to_nothing, flipped_at, gone
from left import tuned

import secateur as sc
from secateur.errors import SecateurError
from secateur.files import append_json, read_json, read_json_lines, write_json, write_text
from secateur.models.files.library import architectures
from secateur.models.files.tensors import read_tensors, write_tensors
from secateur.models.timing.latency import Latency, measure
from secateur.rundir.classes import Classes, ClassRow, write_classes
from secateur.rundir.manifest import config_of, read_manifest
from secateur.rundir.results import Results
from secateur.stages.prepare import read_latency
from secateur.transfer.bank.manifest import BankLocation, BankManifest, Teacher
from secateur.transfer.joint.train import widths_by_epoch

Read = Callable[[Path], object]
NET = plain((4, 6))
RECORDS, METRICS, WIDTHS = "bank/records.jsonl", "transfer/metrics.jsonl", "learn/widths.jsonl"
CHECKPOINT, TEACHER = "transfer/checkpoint.safetensors", "bank/teacher-0.safetensors"


def shown(attribute: str) -> Read:
    return lambda run: repr(getattr(Results.of(run), attribute))


def numbers(name: str) -> Read:
    def read(run: Path) -> dict[str, list[float]]:
        return {name: each.tolist() for name, each in read_tensors(run / name, "delete it")[1].items()}

    return read


def times(run: Path) -> list[list[float]]:
    found: Latency = read_latency(run / "latency.json", NET)
    return [list(layer) for layer in found.coefficients]


def slim(run: Path) -> list[float]:
    model = sc.load(run / "best", lambda: plain((4, 6)).model)
    found: list[float] = torch.cat([each.flatten() for each in model.state_dict().values()]).tolist()
    return found


READERS: Mapping[str, Read] = {
    "run.json": lambda run: (config_of(run), read_manifest(run)),
    "front.json": lambda run: (shown("front")(run), architectures(run)),
    "evaluation.json": shown("measured"),
    "latency.json": times,
    "best/classes.json": shown("classes"),
    "best/architecture.json": slim,
    "best/weights.safetensors": slim,
    "bank/bank.json": lambda run: BankManifest.read(BankLocation(run / "bank", "abc")),
    RECORDS: shown("trials"),
    METRICS: shown("steps"),
    WIDTHS: lambda run: widths_by_epoch(run / "learn"),
    CHECKPOINT: numbers(CHECKPOINT),
    TEACHER: numbers(TEACHER),
}
CUTS = (cut_to_nothing, cut_in_half, cut_by_a_byte, cut_by_a_line)
MAY_BE_GONE = {"evaluation.json", "best/classes.json", WIDTHS}  # a report leaves out what it would show


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run directory with a file of every kind, each written as the library writes it."""
    run = tuned(tmp_path_factory.mktemp("whole") / "run")
    write_json(run / "front.json", read_json(run / "front.json"))
    for name in (RECORDS, METRICS):
        lines = read_json_lines(run / name)
        (run / name).unlink()
        for line in lines:
            append_json(run / name, line)
    (run / "learn").mkdir()
    for epoch in (1, 2):
        append_json(run / WIDTHS, {"epoch": epoch, "widths": [4, 7 - epoch]})
    seconds = {"median": 1.0, "low": 0.5, "high": 2.0, "n": 9}
    about = {"device": "cpu", "threads": 1, "torch": "2", "macs_saved": 0.5}
    latency = [{"engine": "torch", "batch": 1, "dense": seconds}]
    networks = {"dense": {"macs": 10, "parameters": 5, "test": {"loss": 0.5, "accuracy": 0.5, "n": 10}}}
    write_json(run / "evaluation.json", {"networks": networks, **about, "latency": latency})
    write_text(run / "latency.json", measure(NET, subnetworks=4, repeats=1).to_json(NET))
    sc.save(sc.slim(NET, sc.Subnetwork(((0, 2), (1, 3, 5)))), run / "best")
    BankManifest("abc", (Teacher(sc.Subnetwork(((0,),)), 0.5, 10),)).write(run / "bank" / "bank.json")
    rows = (ClassRow(name="3", n=36, dense=1.0, pruned=0.5, tuned=0.9),)
    write_classes(Classes(metric="accuracy", rows=rows), run / "best")
    for name in (CHECKPOINT, TEACHER):
        write_tensors({"logits": torch.arange(200.0)}, run / name)
    return run


@pytest.fixture
def run(whole: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(whole, tmp_path / "run"))


def outcome(name: str, run: Path) -> object:
    """What a reader returns, as text, or the error with which it refuses."""
    try:
        return repr(READERS[name](run))
    except SecateurError as error:
        return error


def is_named(found: object, name: str) -> bool:
    """Whether a reader refused in one line that names the file, or the folder of the two that belong together."""
    where = Path(name).name, Path(name).parent.name or "run.json"
    return isinstance(found, SecateurError) and "\n" not in str(found) and any(each in str(found) for each in where)


def test_the_whole_run_is_read(whole: Path) -> None:
    assert [name for name in READERS if isinstance(outcome(name, whole), SecateurError)] == []


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
@pytest.mark.parametrize("name", READERS)
def test_a_damaged_file_is_named_or_read_as_it_was(whole: Path, run: Path, name: str, damage: Damage) -> None:
    content = damage((run / name).read_bytes())
    if content is None:
        (run / name).unlink()
    else:
        (run / name).write_bytes(content)
    found = outcome(name, run)
    if damage is gone and name in MAY_BE_GONE:
        assert not isinstance(found, SecateurError)
    elif damage in CUTS and name == WIDTHS:  # as a kill leaves it
        assert found in (repr([]), repr([[4, 6]]))
    else:
        assert is_named(found, name) or found == outcome(name, whole)


@pytest.mark.parametrize("name", READERS)
def test_a_flipped_bit_is_named_or_changes_nothing_wherever_it_is(whole: Path, run: Path, name: str) -> None:
    content, expected = (run / name).read_bytes(), outcome(name, whole)
    places = range(0, len(content), max(1, len(content) // 24))
    for place in places:
        (run / name).write_bytes(flipped_at(place, content))
        found = outcome(name, run)
        assert is_named(found, name) or found == expected or (name == WIDTHS and found == repr([[4, 6]])), place


@pytest.mark.parametrize("value", [None, -1, 10**400, 1e999, "x", [], {}, True], ids=repr)
@pytest.mark.parametrize("name", ["run.json", "front.json", "evaluation.json", "latency.json", "bank/bank.json"])
def test_a_value_of_another_type_without_a_digest_is_named_or_read(run: Path, name: str, value: object) -> None:
    record = read_json(run / name)
    for key in record:
        (run / name).write_text(json.dumps({**record, key: value}))
        outcome(name, run)  # a line, or a record: no other exception
        for inner in (each for each in (record[key],) if isinstance(each, dict)):
            for part in inner:
                changed: dict[str, Any] = {**record, key: {**inner, part: value}}
                (run / name).write_text(json.dumps(changed))
                outcome(name, run)
