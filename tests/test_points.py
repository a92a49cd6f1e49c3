"""Points of a finished run, fine-tuned on their own."""

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

import secateur as sc
from secateur.__main__ import main
from secateur.models.subnetwork import Subnetwork
from secateur.models.zoo.registry import constructor
from secateur.progress import silent
from secateur.rundir.manifest import Manifest, config_of
from secateur.rundir.outcomes import EvaluationStage
from secateur.stages.points import tune
from secateur.stages.prepare import prepare_run

NET = """from torch import nn


def make(classes: int = 10) -> nn.Module:
    layers: list[nn.Module] = []
    channels = 3
    for width, stride in ((8, 1), (12, 2)):
        layers += [nn.Conv2d(channels, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        channels = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes))
"""


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A finished run over a range of budgets."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("points")
    (folder / "net.py").write_text(NET)
    model = f"{folder / 'net.py'}:make"
    ask = sc.Ask(
        model=model,
        input="3x16x16",
        flops="30%..70%",
        trials=4,
        epochs=1,
        least=("20%",),
        method="ce",
        views=1,
        divisor=1,
    )
    sc.run(ask, folder / "out")
    assert not list((folder / "out" / "bank").glob("*-view-*")), "a run by labels needs no views"
    yield folder / "out"
    torch.set_num_threads(threads)


def tuned(out: Path, budget: str | None = None, **options: Any) -> tuple[EvaluationStage, Path]:
    """A point of the run whose network is typed again."""
    return tune(out, budget, model=config_of(out).model, **options)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_was_asked_comes_back(out: Path) -> None:
    ask = config_of(out)
    assert (ask.budget.flops, ask.constraints.least, ask.transfer.epochs) == ("30%..70%", ("20%",), 1)
    assert Manifest(out, ask).stages.done().keys() == {"dense", "search", "bank", "transfer", "test", "speed"}


def test_a_point_under_a_budget_is_tuned_tested_and_kept(out: Path) -> None:
    front = json.loads((out / "front.json").read_text())["points"]
    before = contents(out)
    figures, folder = tuned(out, "60%")
    dense = figures.dense.macs
    assert figures.tuned.macs == figures.pruned.macs <= 0.6 * dense
    met = [point for point in front if point["costs"]["kept"]["macs"] <= 0.6 * dense]
    best = min(met, key=lambda point: point["figures"]["holdout"]["loss"])
    assert best["costs"]["kept"]["macs"] == figures.tuned.macs
    student = sc.load(folder, base=constructor(config_of(out).model, 10))
    assert sum(p.numel() for p in student.parameters()) == figures.tuned.parameters
    assert {name: text for name, text in contents(out).items() if not name.startswith("points/")} == before


def test_done_once_it_is_not_done_again_but_another_method_is(out: Path) -> None:
    told: list[str] = []
    first = tuned(out, "60%", progress=lambda what, *_: told.append(what))
    told.clear()
    assert tuned(out, "60%", progress=lambda what, *_: told.append(what)) == first
    assert not [what for what in told if "fine-tuning" in what]
    _, other = tuned(out, "60%", method="kdft", seed=5)
    assert other != first[1]
    record = json.loads((other / "architecture.json").read_text())
    assert (record["training"]["method"], record["training"]["seed"]) == ("kdft", 5)
    assert [teacher["macs"] for teacher in record["training"]["teachers"]] == []  # no gates
    (mix,) = (out / "bank").glob("mix-*.json")
    mixed = [Subnetwork(tuple(map(tuple, each["kept"]))) for each in json.loads(mix.read_text())["teachers"]]
    assert mixed[0].widths.tolist() == [8, 12]
    shown = {path.name.partition(".")[0] for path in (out / "bank").glob("*-view-0.*")}
    assert shown == {f"teacher-{each.digest}-view-0" for each in mixed}


def test_a_point_is_taught_by_its_own_teachers_and_those_that_are_there_serve_again(out: Path) -> None:
    before = contents(out / "bank")
    _, folder = tuned(out, "60%", method="ckt-kl")
    after = contents(out / "bank")
    said = {name: text for name, text in before.items() if name.startswith("teacher-") and "partial" not in name}
    said = {name: text for name, text in said.items() if "journal" not in name}
    assert {name: after[name] for name in said} == said
    (plan,) = (name for name in after if name.startswith("bank-") and name.endswith(".json"))
    point = json.loads((folder / "architecture.json").read_text())
    teachers = json.loads(after[plan])["teachers"]
    held = next(p for p in json.loads((out / "front.json").read_text())["points"] if p["groups"] == point["groups"])
    losses = [teacher["loss"] for teacher in teachers]
    assert losses == sorted(losses)
    assert losses[-1] < held["figures"]["holdout"]["loss"] or len(losses) == 1
    assert teachers[0]["macs"] == point["costs"]["dense"]["macs"]
    assert [t["loss"] for t in point["training"]["teachers"]] == losses


def test_a_bank_that_a_run_by_labels_left_out_is_filled_when_a_method_wants_it(out: Path) -> None:
    for file in (out / "bank").glob("teacher-*"):
        file.unlink()  # another test may have asked for it
    _, folder = tuned(out, method="ckt-kl", seed=3)
    teachers = json.loads((out / "bank" / "bank.json").read_text())["teachers"]
    marks = [Subnetwork(tuple(map(tuple, teacher["kept"]))).digest for teacher in teachers]
    assert all((out / "bank" / f"teacher-{mark}-view-0.safetensors").exists() for mark in marks)
    assert json.loads((folder / "architecture.json").read_text())["training"]["method"] == "ckt-kl"


def test_torchrun_trains_a_point_together_and_the_first_process_alone_writes_and_speaks(out: Path) -> None:
    words = ["-m", "torch.distributed.run", "--nproc-per-node=2", "-m", "secateur", "transfer", str(out)]
    options = ["--model", config_of(out).model, "--flops", "60%", "--method", "ckt", "--seed", "8", "--json"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run([sys.executable, *words, *options], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    printed = json.loads(line)
    student = sc.load(printed["out"], base=constructor(config_of(out).model, 10))
    assert sum(p.numel() for p in student.parameters()) == printed["tuned"]["parameters"]
    metrics = (Path(printed["out"]) / "transfer" / "metrics.jsonl").read_text().splitlines()
    steps = [json.loads(line)["step"] for line in metrics]
    assert steps == sorted(set(steps))
    figures, _ = tuned(out, "60%", method="ckt", seed=8)  # done already
    assert printed == {"out": printed["out"], **figures.to_dict()}


def test_a_run_under_torchrun_is_refused(
    out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "0")
    with pytest.raises(SystemExit) as ended:
        main(["run", *shlex.split(config_of(out).command_line), "--out", str(out)])
    assert ended.value.code == 2
    assert "run without it, then torchrun -m secateur transfer" in capsys.readouterr().err


def test_without_a_budget_it_is_the_winner(out: Path) -> None:
    figures, _ = tuned(out, method="kd")
    best = json.loads((out / "best" / "architecture.json").read_text())
    assert figures.tuned.macs == best["costs"]["kept"]["macs"]


def test_a_run_without_a_bank_says_how_to_finish_it(out: Path, tmp_path: Path) -> None:
    prepare_run(config_of(out), tmp_path / "begun", None, silent)
    with pytest.raises(sc.SecateurError, match=r"has no memory bank yet; finish it: secateur run .* --out .*begun"):
        tuned(tmp_path / "begun")


def test_what_is_no_run_and_what_no_point_meets_are_refused(out: Path, tmp_path: Path) -> None:
    with pytest.raises(sc.SecateurError, match=r"run\.json cannot be read"):
        tune(tmp_path)
    with pytest.raises(sc.SecateurError, match="no point of the front costs at most"):
        tuned(out, "5%")

    def unread(what: str, done: int, total: int) -> None:
        raise AssertionError(f"{what}, before a mistake is told")

    for method in ("magic", "pdd"):
        with pytest.raises(sc.SecateurError, match=f"no method is called '{method}'"):
            tuned(out, method=method, progress=unread)
    with pytest.raises(sc.SecateurError, match="epochs=-1"):
        tuned(out, epochs=-1, progress=unread)
    with pytest.raises(sc.SecateurError, match="holds another run"):
        sc.run(config_of(out).with_options(epochs=7), out, progress=unread)


def test_the_command_prints_the_figures(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["transfer", str(out), "--model", config_of(out).model, "--flops", "60%", "--json"])
    printed: dict[str, Any] = json.loads(capsys.readouterr().out)
    figures, folder = tuned(out, "60%")
    assert printed == {"out": str(folder), **figures.to_dict()}
    with pytest.raises(SystemExit):
        main(["transfer", str(out), "--model", config_of(out).model, "--flops", "60%", "--quiet"])
    said = capsys.readouterr().out
    assert "fine-tuned" in said
    assert "one MAC is two FLOPs" in said


def test_a_run_can_start_from_the_front_of_another(out: Path, tmp_path: Path) -> None:
    ask = config_of(out).with_options(flops="50%", start=str(out), trials=1)
    sc.run(ask, tmp_path / "warm")
    lines = (tmp_path / "warm" / "bank" / "records.jsonl").read_text().splitlines()[1:]
    assert any(json.loads(line)["source"] == "start" for line in lines)


def test_search_stops_at_the_front_and_run_goes_on_from_there(
    out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*shlex.split(config_of(out).command_line), "--out", str(tmp_path / "run"), "--json"]
    with pytest.raises(SystemExit):
        main(["search", *words])
    printed: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert [name for name in printed if name not in ("out", "front")] == ["dense", "search", "bank"]
    kept = [point["costs"]["kept"]["macs"] for point in json.loads((out / "front.json").read_text())["points"]]
    assert [row["macs"] for row in printed["front"]] == kept
    assert not (tmp_path / "run" / "best").exists()
    with pytest.raises(SystemExit):
        main(["run", *words])
    assert json.loads(capsys.readouterr().out)["test"]["tuned"]["macs"] > 0
    with pytest.raises(SystemExit):
        main(["search", *words[:-1], "--quiet"])
    said = capsys.readouterr().out
    assert "holdout loss" in said
    assert "before fine-tuning" in said


# --- another recipe, another teacher ---


def test_a_point_under_another_recipe_has_a_folder_of_its_own(out: Path) -> None:
    _, plain = tuned(out, "60%", method="ce")
    _, steered = tuned(out, "60%", method="ce", batch=64, lr=0.01, optimizer="adamw", weight_decay=0.0)
    assert steered.name == f"{plain.name}-batch=64-lr=0.01-optimizer=adamw-weight_decay=0.0"
    steps = [json.loads(line)["steps"] for line in (steered / "transfer" / "metrics.jsonl").read_text().splitlines()]
    assert set(steps) == {1078 // 64}


def test_another_network_teaches_a_point(out: Path, tmp_path: Path) -> None:
    save_file(constructor("resnet20", 10)().state_dict(), tmp_path / "large.safetensors")
    teacher = {"teacher": "resnet20", "teacher_weights": str(tmp_path / "large.safetensors")}
    figures, taught = tuned(out, "60%", method="kd", **teacher)
    _, plain = tuned(out, "60%", method="kd")
    assert figures.teacher is not None
    assert figures.teacher.parameters > figures.dense.parameters
    assert (taught / "weights.safetensors").read_bytes() != (plain / "weights.safetensors").read_bytes()


def test_a_teacher_without_weights_or_for_a_method_that_takes_none_is_refused(out: Path) -> None:
    with pytest.raises(sc.SecateurError, match="no weights for the teacher resnet20; pass --teacher-weights FILE"):
        tuned(out, "60%", method="kd", teacher="resnet20")
    with pytest.raises(sc.SecateurError, match="--teacher is for pdd and kddp and blockwise and kd and dkd and not"):
        tuned(out, "60%", method="ckt", teacher="resnet20")


def test_a_run_whose_bank_fills_itself_says_what_other_teachers_are_worth(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(NET)
    ask = sc.Ask(model=f"{tmp_path / 'net.py'}:make", input="3x16x16", trials=2, epochs=1, method="aligned", views=1)
    bank = sc.run(ask, tmp_path / "out")["bank"]
    dense, *others = bank["candidates"]
    assert dense["taken"]
    assert dense["gain"] >= 0
    assert all(each["taken"] == (each["gain"] > 2 * each["error"]) for each in others)
    assert len(bank["teachers"]) == 1 + sum(each["taken"] for each in others)
    assert list((tmp_path / "out" / "bank").glob("teacher-*-view-0.*"))
