"""A whole run on digits: what it leaves, that it is done once, and that no kill changes what comes out."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import secateur as sc
from secateur.data.images import Images
from secateur.models.files.architecture import subnetwork_of
from secateur.models.files.schema import Architecture
from secateur.models.precision import in_bfloat16
from secateur.models.surgery.slim import slim
from secateur.models.zoo.registry import constructor

NET = """from torch import nn


def make(classes: int = 10) -> nn.Module:
    layers: list[nn.Module] = []
    channels = 3
    for width, stride in ((8, 1), (16, 2), (16, 2)):
        layers += [nn.Conv2d(channels, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        channels = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes))
"""

# `python -m secateur`, killed just before the n-th time that it opens, or moves into place, a certain file.
KILLED = """
import os, runpy, signal, sys
event, file, left = sys.argv[1], sys.argv[2], [int(sys.argv[3])]
def watch(what, args):
    if what == event and file in str(args[what == "os.rename"]) and (what != "open" or str(args[1]).startswith("a")):
        left[0] -= 1
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(watch)
sys.argv[1:] = sys.argv[4:]
runpy.run_module("secateur", run_name="__main__", alter_sys=True)
"""
STAGES = ["dense", "search", "bank", "transfer", "test", "speed"]
TRIALS, EPOCHS = 6, 14  # 14 epochs are 112 steps: checkpoints after 50, 100 and 112


@dataclass(frozen=True)
class Run:
    ask: sc.RunConfig
    out: Path
    outcome: dict[str, dict[str, Any]]
    told: list[str]

    @property
    def line(self) -> list[str]:
        """The same ask, as a command line without --out."""
        ask = self.ask
        given = ask.to_dict()
        options = {name: given[name] for name in ("input", "trials", "epochs", "seed", "divisor", "method")}
        return ["run", ask.model, *(word for name, value in options.items() for word in (f"--{name}", str(value)))]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """The undisturbed run; one thread, as in the processes that are killed, so that sums agree to the bit."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    folder, told = tmp_path_factory.mktemp("run"), list[str]()
    (folder / "net.py").write_text(NET)
    network = f"{folder / 'net.py'}:make"
    how: dict[str, Any] = {"trials": TRIALS, "epochs": EPOCHS, "seed": 3, "divisor": 1, "method": "ckt"}
    ask = sc.Ask(model=network, input="3x16x16", **how)
    outcome = sc.run(ask, folder / "out", progress=lambda what, *_: told.append(what))
    yield Run(ask, folder / "out", outcome, told)
    torch.set_num_threads(threads)


def read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_run_directory_holds_what_the_page_says(run: Run) -> None:
    files = {name for name in contents(run.out) if "teacher-" not in name and not name.endswith(".lock")}
    assert files == {
        "run.json",
        "study.db",
        "front.json",
        "front.csv",
        "pareto.png",
        "pareto.svg",
        "report.html",
        "bank/records.jsonl",
        "bank/bank.json",
        "bank/index.faiss",
        "dense/weights.safetensors",
        "dense/checkpoint.safetensors",
        "dense/metrics.jsonl",
        "transfer/checkpoint.safetensors",
        "transfer/metrics.jsonl",
        "dense/metrics.csv",
        "transfer/metrics.csv",
        "best/architecture.json",
        "best/classes.json",
        "best/weights.safetensors",
    }
    teachers = [name for name in contents(run.out) if "teacher-" in name]
    assert len(teachers) == (1 + run.ask.transfer.views) * len(run.outcome["bank"]["teachers"]) > 4


def test_run_json_says_what_was_asked_and_what_every_stage_cost(run: Run) -> None:
    book = read(run.out / "run.json")
    assert book["asked"] == json.loads(json.dumps(run.ask.to_dict()))
    assert list(book["stages"]) == STAGES
    assert book["stages"] == run.outcome
    assert all(stage["seconds"] >= 0 for stage in book["stages"].values())
    assert sum(stage["seconds"] for stage in book["stages"].values()) > 0
    assert set(book["fingerprints"]) == {"data", "images", "network", "weights"}


def test_every_figure_has_its_n_and_the_budget_holds(run: Run) -> None:
    test = run.outcome["test"]
    for arm in ("dense", "pruned", "tuned"):
        assert test[arm]["holdout"]["n"] == 360
        assert test[arm]["test"]["n"] == 359
        assert 0 <= test[arm]["test"]["accuracy"] <= 1
        rows = read(run.out / "best" / "classes.json")["rows"]
        assert sum(row[arm] * row["n"] for row in rows) / 359 == pytest.approx(test[arm]["test"]["accuracy"])
    assert test["pruned"]["macs"] == test["tuned"]["macs"] <= test["dense"]["macs"] / 2
    assert test["tuned"]["holdout"]["loss"] < test["pruned"]["holdout"]["loss"]


def test_the_best_network_loads_and_scores_what_its_architecture_says(run: Run) -> None:
    from secateur.models.evaluate import evaluate

    student = sc.load(run.out / "best", constructor(run.ask.model, 10))
    record = read(run.out / "best" / "architecture.json")
    data = sc.open_data("digits", (3, 16, 16))
    assert evaluate(student, data.test).to_dict() == pytest.approx(record["figures"]["tuned"]["test"])
    assert record["figures"]["tuned"] == run.outcome["test"]["tuned"]
    assert record["provenance"]["seed"] == 3
    assert record["training"]["method"] == "ckt"
    net = sc.Supernet.of(constructor(run.ask.model, 10)(), data.example, check=False)
    assert record["training"]["precision"] == ("bfloat16" if in_bfloat16("auto", net) else "float32")
    assert isinstance(data.train, Images)
    assert record["normalisation"] == {"mean": list(data.train.mean), "std": list(data.train.std)}


def test_every_point_of_the_front_is_a_whole_architecture_that_builds(run: Run) -> None:
    front = read(run.out / "front.json")
    assert front["format"] == "secateur/front/1"
    net = sc.Supernet.of(constructor(run.ask.model, 10)(), torch.zeros(1, 3, 16, 16))
    points = front["points"]
    costs = [point["costs"]["kept"]["macs"] for point in points]
    losses = [point["figures"]["holdout"]["loss"] for point in points]
    assert len(points) > 1
    assert costs == sorted(set(costs))
    assert losses == sorted(set(losses), reverse=True)
    for point in points:
        subnetwork = subnetwork_of(Architecture.from_dict(point, "front.json"), net)
        assert net.macs(subnetwork) == point["costs"]["kept"]["macs"]
        assert slim(net, subnetwork).eval()(torch.zeros(1, 3, 16, 16)).shape == (1, 10)
        assert point["figures"]["holdout"]["n"] == 360


def test_the_pictures_open(run: Run) -> None:
    with Image.open(run.out / "pareto.png") as picture:
        assert min(picture.size) > 500
    assert "</svg>" in (run.out / "pareto.svg").read_text()


def test_every_long_piece_of_work_was_told(run: Run) -> None:
    bank = json.loads((run.out / "run.json").read_text())["stages"]["bank"]
    short = f", {len(bank['teachers'])} teachers" if bank["missing"] else ""
    files = [load_file(path) for path in (run.out / "bank").glob("teacher-*")]
    size = sum(tensor.nbytes for file in files for tensor in file.values())
    told = list(dict.fromkeys(run.told))
    assert told[-3] == f"memory bank, {size / 1e6:.3g} MB{short}"
    assert [what.split(",")[0] for what in told] == [
        "reading images",
        "training the dense network",
        "coarse search",
        "fine search",
        "final search",
        "memory bank",
        "fine-tuning (ckt)",
        "timing dense and slim",
    ]


def test_the_same_line_again_does_nothing_new(run: Run) -> None:
    before, told = contents(run.out), list[str]()
    assert sc.run(run.ask, run.out, progress=lambda what, *_: told.append(what)) == run.outcome
    assert set(told) == {"reading images"}
    assert contents(run.out) == before


def test_another_budget_in_the_same_folder_is_refused_and_changes_nothing(run: Run) -> None:
    before = contents(run.out)
    with pytest.raises(sc.SecateurError, match=r"another run \(flops 50% there, 40% here\); pass a different --out"):
        sc.run(run.ask.with_options(flops="40%"), run.out)
    assert contents(run.out) == before


def test_weights_that_changed_since_are_refused(run: Run, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = tmp_path / "w.safetensors"
    tensors = load_file(run.out / "dense" / "weights.safetensors")
    save_file(tensors, weights)
    ask = run.ask.with_options(weights=str(weights), trials=0, epochs=1)
    sc.run(ask, tmp_path / "out")
    save_file({name: tensor + 1 for name, tensor in tensors.items()}, weights)
    with pytest.raises(sc.SecateurError, match=r"the weights of .* changed since the run began"):
        sc.run(ask, tmp_path / "out")


def process(arguments: list[str], folder: Path) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *arguments]
    return subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, timeout=300)


def test_a_run_killed_in_every_stage_ends_as_if_it_had_not_been(run: Run, tmp_path: Path) -> None:
    """Each kill hits what the one before it left, so every stage is also taken up more than once."""
    out = tmp_path / "out"
    line = [*run.line, "--out", str(out), "--device", "cpu", "--json"]
    records = (run.out / "bank" / "records.jsonl").read_text().count('"loss"')
    entries = len(read(run.out / "run.json")["fingerprints"])
    kills = [
        # what the process is about to do, to which file, for which time; the stages entered by then
        ("os.rename", "dense/checkpoint", 2, 0),
        ("open", "records.jsonl", 4, 1),  # in the coarse search; three lines are there
        ("open", "records.jsonl", records - 4, 1),  # in the fine search, a trial left running
        ("os.rename", "bank/teacher-", 2, 2),
        ("os.rename", "transfer/checkpoint", 1, 3),  # before the first checkpoint
        ("os.rename", "transfer/checkpoint", 2, 3),
        ("os.rename", "run.json", entries + 2, 4),  # all done, the last stage not entered
    ]
    for event, file, count, done in kills:
        killed = process(["-c", KILLED, event, file, str(count), *line], tmp_path)
        assert killed.returncode == -signal.SIGKILL, (file, killed.stderr)
        assert list(read(out / "run.json")["stages"]) == STAGES[:done], file
    ended = process(["-m", "secateur", *line], tmp_path)
    assert ended.returncode == 0, ended.stderr

    assert {**json.loads(ended.stdout)["test"], "seconds": 0} == {**run.outcome["test"], "seconds": 0}
    kept = ("best/architecture.json", "best/weights.safetensors", "front.json", "bank/bank.json")
    assert [name for name in kept if (out / name).read_bytes() != (run.out / name).read_bytes()] == []
    lines = [(folder / "bank" / "records.jsonl").read_text().splitlines() for folder in (out, run.out)]
    assert sorted(lines[0]) == sorted(lines[1])  # what was lost is evaluated last


def test_a_run_killed_at_its_very_first_write_can_be_started_again(run: Run, tmp_path: Path) -> None:
    killed = process(["-c", KILLED, "os.rename", "run.json", "1", *run.line, "--out", "out"], tmp_path)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"run.partial", "run.lock", "holder.lock"}
    outcome = sc.run(run.ask.with_options(trials=0, epochs=1), tmp_path / "out")
    assert list(outcome) == STAGES
