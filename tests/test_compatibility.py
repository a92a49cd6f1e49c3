"""A run directory of version 0.1.0, and the figures of that version: resumed, shown, shipped, and made again."""

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import Capture, status
from safetensors.torch import load_file, save

OLD = Path(__file__).parent / "data" / "run_0_1_0"  # killed in fine-tuning, after the checkpoint at step 50 of 60
OPTIONS = ["--trials", "3", "--epochs", "60", "--views", "1", "--seed", "3", "--precision", "float32"]
LINE = ["run", "net.py:make", "--weights", "weights.safetensors", "--data", "net.py:images", *OPTIONS, "--json"]
TYPED = ["--model", "net.py:make", "--data", "net.py:images"]
RECORDED_ON = "AVX512"  # sums in another order differ in the last digits


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The old run's folder as the working directory; one thread, as when it was made."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    shutil.copytree(OLD, tmp_path / "old")
    monkeypatch.chdir(tmp_path / "old")
    yield tmp_path / "old"
    torch.set_num_threads(threads)


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def close(found: Any, expected: Any, tolerance: float) -> bool:
    """Whether two trees of plain values agree, numbers to this share of a unit."""
    if isinstance(expected, dict):
        return found.keys() == expected.keys() and all(close(found[k], expected[k], tolerance) for k in expected)
    if isinstance(expected, list):
        return len(found) == len(expected) and all(map(close, found, expected, [tolerance] * len(found)))
    return bool(found == pytest.approx(expected, abs=tolerance))


def require_as_recorded(out: Path, outcome: dict[str, Any], *, tuned_by: str) -> None:
    """The architecture and front, and on a CPU of the same kind every figure and weight to the last bit.

    Compensation in sequence has changed since: what starts from it, pruned and tuned, was recorded again then.
    """
    expected, since = read(OLD / "expected.json"), read(OLD / "expected_since.json")
    expected["test"]["pruned"] = since["test"]["pruned"]
    if tuned_by == "this version":
        expected |= since
    groups = read(out / "best" / "architecture.json")["groups"]
    points = read(out / "front.json")["points"]
    front = [[point["costs"]["kept"]["macs"], point["figures"]["holdout"]["loss"]] for point in points]
    test = {name: figures for name, figures in outcome["test"].items() if name != "seconds"}
    same = torch.backends.cpu.get_cpu_capability() == RECORDED_ON
    assert {name: group["kept"] for name, group in groups.items()} == expected["groups"]
    assert close(front, expected["front"], 0 if same else 1e-3)
    assert close(test, expected["test"], 0 if same else 0.1)
    if same:
        weights = save(load_file(out / "best" / "weights.safetensors"))  # that version wrote the tensors alone
        assert hashlib.sha256(weights).hexdigest()[:16] == expected["weights"]


def test_a_run_of_version_0_1_0_resumes_to_what_that_version_came_to(place: Path, capsys: Capture) -> None:
    began = read(place / "out" / "run.json")
    assert status([*LINE, "--out", "out"]) == 0
    outcome = json.loads(capsys.readouterr().out)
    require_as_recorded(place / "out", outcome, tuned_by="version 0.1.0")
    assert outcome["search"] == began["stages"]["search"]
    steps = [json.loads(line)["step"] for line in (place / "out/transfer/metrics.jsonl").read_text().splitlines()]
    assert steps == [50, *range(51, 61)]  # that version's line of one batch, then an epoch of one step each


def test_the_same_line_comes_to_what_version_0_1_0_came_to(place: Path, capsys: Capture) -> None:
    defaults = ["--batch", "128", "--divisor", "1", "--method", "ckt"]  # of that version
    assert status([*LINE, *defaults, "--out", "new"]) == 0
    require_as_recorded(place / "new", json.loads(capsys.readouterr().out), tuned_by="this version")


def test_a_run_of_version_0_1_0_is_shown_tuned_shipped_and_reused(place: Path, capsys: Capture) -> None:
    assert status([*LINE, "--out", "out"]) == 0
    assert status(["report", "out"]) == 0
    assert (place / "out" / "report.html").exists()
    assert status(["export", "out", "--format", "pt2", *TYPED[:2]]) == 0
    assert status(["transfer", "out", "--flops", "45%", "--method", "ce", "--epochs", "1", "--quiet", *TYPED]) == 0
    line = ["reuse", "out", "net.py:make", "--classes", "4", "--input", "3x8x8", "--out", "again"]
    assert status(line) == 0
    kept = [read(place / folder / "architecture.json")["groups"] for folder in ("out/best", "again")]
    assert kept[0] == kept[1]
