"""The command line: help, inspect, run."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from commands import Capture, line, status, told
from torch import nn

import secateur as sc
from secateur.__main__ import main
from secateur.models.zoo.registry import constructor
from secateur.stages import run as stages


def test_run_json_prints_one_object_and_nothing_else(
    here: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    argv = [*line(out=str(tmp_path / "out")), "--json"]
    assert status(argv) == 0
    said = capfd.readouterr()
    answer = json.loads(said.out)
    assert said.out.count("\n") == 1
    assert said.err == ""
    assert list(answer) == ["out", "dense", "search", "bank", "transfer", "test", "speed"]
    assert answer["test"]["tuned"]["test"]["n"] == 12
    assert answer["test"]["tuned"]["macs"] <= answer["test"]["dense"]["macs"] / 2


def test_quiet_prints_the_result_alone(here: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert status([*line(out=str(tmp_path / "out")), "--quiet"]) == 0
    said = capfd.readouterr()
    assert "fine-tuned" in said.out
    assert said.err == ""


def test_the_version_is_the_packages(capsys: Capture) -> None:
    status(["--version"])
    assert capsys.readouterr().out.strip() == sc.__version__


def test_a_reader_who_has_read_enough_is_no_mistake(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "secateur", "inspect", "resnet20", "--json"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.close()
        assert process.stderr.read() == b""


def test_of_a_range_inspect_shows_its_lower_end(capsys: Capture) -> None:
    for budget in ("25%..80%", "25%"):
        assert status(["inspect", "resnet20", "--flops", budget]) == 0
    one, other = capsys.readouterr().out.split("resnet20 on an input")[1:]
    assert one == other


def test_without_out_the_folder_is_named_after_the_ask(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    folders: list[Path] = []

    def complete(config: sc.RunConfig, out: Path, **_: object) -> None:
        folders.append(out)
        raise KeyboardInterrupt

    monkeypatch.setattr(stages, "complete", complete)
    assert status(line(out=None)) == 130
    assert status(["run"]) == 130
    assert status(["run", "--flops", "60%", "--params", "0.1M"]) == 130
    assert status(["run", "--latency", "5ms", "--memory", "40%"]) == 130
    digits = [f"resnet20-digits-{budget}" for budget in ("10pc", "60pc-0.1M-params", "40pc-memory-5ms-latency")]
    assert folders == [Path("runs", name) for name in ("nets.py-make-imagefolder-photos-50pc", *digits)]


def test_a_run_under_a_latency_keeps_its_table_and_is_taken_up(here: Path, tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "out"
    argv = [*line(out=str(out), latency="100%", params="60%"), "--json"]
    assert status(argv) == 0
    table, first = (out / "latency.json").read_text(), json.loads(capsys.readouterr().out)
    assert first["test"]["tuned"]["parameters"] <= 0.6 * first["test"]["dense"]["parameters"]
    assert "uniform widths at the budget" in (out / "report.html").read_text()
    assert status(argv) == 0
    assert (out / "latency.json").read_text() == table
    assert json.loads(capsys.readouterr().out)["search"] == first["search"]
    (out / "latency.json").unlink()  # what would be measured now is another budget
    assert "latency.json is gone, whose times the budget is measured by; restore it" in told(argv, capsys)


def test_inspect_measures_the_latency_where_one_is_asked(here: Path, capsys: Capture) -> None:
    argv = ["inspect", "nets.py:make", "--input", "3x16x16", "--classes", "2", "--latency", "100%", "--params", "50%"]
    assert status([*argv, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["limits"].keys() == {"parameters", "latency"}
    assert 0 < answer["least_latency"] <= answer["dense_latency"] == answer["limits"]["latency"]
    assert answer["satisfiable"]


def test_an_interrupt_is_one_line_that_says_how_to_go_on(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(stages, "complete", interrupted)
    assert status(["run"]) == 130
    said = capsys.readouterr()
    assert said.err == "secateur: stopped; the same command resumes here\n"
    assert said.out == ""


def test_a_fault_of_our_own_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(stages, "complete", broken)
    with pytest.raises(ZeroDivisionError):
        main(["run"])


def test_help_names_the_commands_and_loads_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom secateur.__main__ import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit as end:\n    assert not end.code\n"
        "assert not {'torch', 'numpy', 'optuna'} & {*sys.modules}, 'heavy'"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for word in ("run", "inspect", "MODEL", "DATA", "BUDGET", "secateur run"):
        assert word in done.stdout


@pytest.mark.parametrize("command", ["run", "search", "inspect", "transfer", "reuse"])
def test_every_option_is_explained(command: str, capsys: Capture) -> None:
    assert status([command, "--help"]) == 0
    said = capsys.readouterr().out
    assert "--flops" in said
    plain = " ".join(said.replace("│", " ").split())
    assert "50% or 62M" in plain or "40% or 50M" in plain


def test_inspect_shows_groups_what_is_frozen_and_why_and_if_the_budget_can_be_met(capsys: Capture) -> None:
    assert status(["inspect", "resnet20", "--flops", "40%"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "resnet20 on an input of 3x32x32"
    assert any(row.startswith("layer1.0.conv1 ") for row in said)
    assert any(row.startswith("linear ") and row.endswith("is an output of the network") for row in said)
    assert any(row.startswith("dense ") and "40.55M" in row for row in said)
    assert any(row.startswith("budget ") and row.endswith("can be met") for row in said)
    assert max(map(len, said)) <= 100


def test_inspect_expects_of_each_family_its_usual_input_and_classes(capsys: Capture) -> None:
    shapes = {"torchvision:squeezenet1_1": 224, "timm:test_resnet": 160, "resnet20": 32}
    for model, size in shapes.items():
        assert status(["inspect", model, "--json"]) == 0
        answer = json.loads(capsys.readouterr().out)
        assert answer["input"] == [3, size, size]
        (outputs,) = [each for each in answer["lines"] if each["frozen"] == "is an output of the network"]
        assert outputs["width"] == (10 if size == 32 else 1000)


def test_inspect_freezes_ties_and_widens_what_the_user_names(capsys: Capture) -> None:
    options = ["--freeze", "layer1.*", "--freeze", "layer2.0.conv1", "--tie", "layer3.1.conv1,layer3.2.conv1"]
    assert status(["inspect", "resnet20", *options, "--least", "25%", "--least", "conv1=10", "--json"]) == 0
    lines = {each["name"]: each for each in json.loads(capsys.readouterr().out)["lines"]}
    mine = [name for name, each in lines.items() if each["frozen"] == "was frozen by you"]
    assert sorted(mine) == ["layer1.0.conv1", "layer1.1.conv1", "layer1.2.conv1", "layer2.0.conv1"]
    assert "layer3.2.conv1" not in lines
    assert (lines["layer3.1.conv1"]["width"], lines["layer3.1.conv1"]["layers"]) == (64, 4)
    assert (lines["conv1"]["least"], lines["layer3.1.conv1"]["least"]) == (10, 16)


@pytest.mark.parametrize("name", ["groups.svg", "groups.png"])
def test_inspect_draws_a_picture(name: str, here: Path, tmp_path: Path, capsys: Capture) -> None:
    picture = tmp_path / name
    assert status(["inspect", "nets.py:make", "--picture", str(picture)]) == 0
    drawn, following = capsys.readouterr().out.splitlines()[-2:]
    assert drawn == f"picture: {picture}"
    assert following.startswith("next: prune it  secateur run nets.py:make ")
    begins = {"groups.svg": b"<?xml", "groups.png": b"\x89PNG"}
    assert picture.read_bytes().startswith(begins[name])


def test_a_run_keeps_to_what_was_frozen_tied_and_widened(here: Path, tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "out"
    chosen = ["--freeze", "0", "--least", "3=50%"]
    assert status([*line(out=str(out), flops="85%"), *chosen, "--quiet"]) == 0
    architecture = json.loads((out / "best" / "architecture.json").read_text())
    assert architecture["frozen"]["0"] == "was frozen by you"
    assert architecture["groups"]["3"]["width"] >= 6
    capsys.readouterr()
    assert "freeze ['0'] there, [] here" in told(line(out=str(out), flops="85%"), capsys)


def test_inspect_says_when_a_budget_can_not_be_met(capsys: Capture) -> None:
    assert status(["inspect", "resnet20", "--flops", "1%", "--params", "1%"]) == 1
    said = capsys.readouterr().out
    assert "can NOT be met" in said
    advised = said.split("pass ")[1].split(" or more")[0].replace(",", "").split()
    assert advised[::2] == ["--flops", "--params"]
    assert status(["inspect", "resnet20", *advised]) == 0
    assert status(["inspect", "resnet20", "--flops", "50%"]) == 0


@pytest.mark.parametrize(("budget", "met"), [("50%", True), ("0.1%", False)])
def test_inspect_json_is_one_object_with_the_same_facts(budget: str, met: bool, capsys: Capture) -> None:
    assert status(["inspect", "resnet20", "--flops", budget, "--json"]) == (0 if met else 1)
    said = capsys.readouterr()
    answer = json.loads(said.out)
    assert said.out.count("\n") == 1
    assert said.err == ""
    assert answer["satisfiable"] is met
    assert answer["least_macs"] < answer["dense_macs"]
    frozen = [each for each in answer["lines"] if each["frozen"]]
    assert [each["frozen"] for each in frozen] == ["is an output of the network"]
    assert len(answer["lines"]) > len(frozen)


def test_inspect_takes_a_network_of_the_users_own(here: Path, capsys: Capture) -> None:
    assert status(["inspect", "nets.py:make", "--input", "3x16x16", "--classes", "2", "--json"]) == 0
    macs = 9 * (3 * 8 * 256 + 8 * 12 * 64) + 12 * 2
    assert json.loads(capsys.readouterr().out)["dense_macs"] == macs
    assert isinstance(constructor("nets.py:make", 2)(), nn.Module)


def test_a_run_times_its_own_widths_once(here: Path, tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "out"
    argv = [*line(out=str(out), divisor=None, flops="70%"), "--json"]
    assert status(argv) == 0
    steps, began = (out / "steps.json").read_text(), json.loads((out / "run.json").read_text())
    assert began["asked"]["divisor"] == "auto"
    assert began["fingerprints"]["steps of widths"]
    capsys.readouterr()
    assert status(argv) == 0
    assert (out / "steps.json").read_text() == steps
    assert json.loads((out / "run.json").read_text()) == began
