"""The command line: help, inspect, run, and one line for every mistake."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

import secateur as sc
from secateur import stages
from secateur.__main__ import main
from secateur.models.specs import constructor

Capture = pytest.CaptureFixture[str]
PROGRESS = ("reading images: ", "measuring latency: ")

NETS = """import torch
from torch import nn


def make(classes: int = 10, reads: int = 3) -> nn.Module:
    layers: list[nn.Module] = []
    channels = reads
    for width, stride in ((8, 1), (12, 2)):
        layers += [nn.Conv2d(channels, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        channels = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes))


def seven() -> nn.Module:
    return make(7)


def grey(classes: int) -> nn.Module:
    return make(classes, reads=1)


def linear(classes: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, classes))


def single(classes: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, classes, 16), nn.Flatten())


class Misspelt(nn.Module):
    def __init__(self, classes: int) -> None:
        super().__init__()
        self.net = make(classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.nett(x)


def lazy(classes: int) -> nn.Module:
    return nn.Sequential(nn.LazyConv2d(8, 3), nn.Flatten(), nn.LazyLinear(classes))


def gone() -> None:
    raise OSError("disk\\ngone")


def words() -> list[list[tuple[torch.Tensor, str]]]:
    return [[(torch.zeros(3, 16, 16, dtype=torch.uint8), "cat")]] * 3


class Twice(nn.Module):
    def __init__(self, classes: int) -> None:
        super().__init__()
        self.net = make(classes)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.net(x), self.net(x)
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of two classes, whole and broken, networks and their weights."""
    folder, pixels = tmp_path_factory.mktemp("place"), np.random.default_rng(0)
    (folder / "nets.py").write_text(NETS)
    for split in ("train", "test"):
        for name in ("cat", "dog"):
            (folder / "photos" / split / name).mkdir(parents=True)
            for number in range(6):
                image = Image.fromarray(pixels.integers(256, size=(16, 16, 3), dtype=np.uint8))
                image.save(folder / "photos" / split / name / f"{number}.png")
    shutil.copytree(folder / "photos", folder / "corrupt")
    broken = folder / "corrupt" / "train" / "cat" / "3.png"
    broken.write_bytes(broken.read_bytes()[:60])
    for split in ("train", "test"):
        (folder / "classless" / split).mkdir(parents=True)
        (folder / "imageless" / split / "cat").mkdir(parents=True)
    (folder / "empty").mkdir()
    (folder / "thesis").mkdir()
    (folder / "thesis" / "chapter.txt").write_text("mine")
    for name, classes in (("seven", 2), ("make", 2), ("ten", 10)):
        built = constructor(f"{folder / 'nets.py'}:{'make' if name == 'ten' else name}", classes)()
        save_file(built.state_dict(), folder / f"{name}.safetensors")
    lost = constructor(f"{folder / 'nets.py'}:make", 2)().state_dict()
    lost["0.weight"][0] = torch.nan
    save_file(lost, folder / "lost.safetensors")
    return folder


@pytest.fixture
def here(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(place)
    return place


GOOD = {
    "--data": "imagefolder:photos",
    "--weights": "make.safetensors",
    "--trials": "1",
    "--epochs": "1",
    "--out": "never",
    "--device": "cpu",
}


def line(model: str = "nets.py:make", **changed: str | None) -> list[str]:
    """A good ``run``, but for what is changed; None leaves an option out."""
    options: dict[str, str | None] = {**GOOD, **{f"--{name}": value for name, value in changed.items()}}
    return ["run", model, *(word for name, value in options.items() if value is not None for word in (name, value))]


def status(argv: list[str]) -> object:
    with pytest.raises(SystemExit) as caught:
        main(argv)
    return caught.value.code


MISTAKES = [
    (line(flops="0"), "budget 0 is 0 MACs", "give more than 0 and at most 100%"),
    (line(params="150%"), "budget 150% is", "at most 100%"),
    (line(params="abc"), "budget 'abc' is not a share or a number of parameters", "write 50% or 0.13M"),
    (line(memory="1%"), "bytes cannot be met: the least widths still cost", "give --memory"),
    (line(latency="5"), "budget '5' is not a share or a number of seconds", "write 50% or 5ms"),
    (line(latency="1%"), "seconds cannot be met: the least widths still cost", "give --latency"),
    (line(flops="150%"), "budget 150% is", "at most 100%"),
    (line(flops="1%"), "cannot be met: the least widths still cost", "give --flops"),
    (line(flops="abc"), "budget 'abc' is not a share", "write 50% or 62M"),
    (line(data="imagefolder:nowhere"), "no folder nowhere/train", "ROOT/train/CLASS/"),
    (line(data="imagefolder:empty"), "no folder empty/train", "ROOT/train/CLASS/"),
    (line(data="imagefolder:classless"), "classless/train", "Give every class a folder with images"),
    (line(data="imagefolder:imageless"), "imageless/train", "Give every class a folder with images"),
    (line(data="imagefolder:corrupt"), "corrupt/train/cat/3.png is not a readable image", "remove or replace it"),
    (line(data="photos"), "unknown data 'photos'", "imagefolder:ROOT"),
    (line(data="cifar10:photos"), "no whole CIFAR10 in the folder 'photos'", "unpack"),
    (line("nets.py:seven", weights="seven.safetensors"), "has 7 outputs and imagefolder:photos has 2 classes", "match"),
    (line(weights="ten.safetensors"), "are not for this network", "the same architecture and class count"),
    (line(weights="nowhere.safetensors"), "no weights file nowhere.safetensors", "give a .safetensors file"),
    (line(weights="nets.py"), "hold more than tensors", "torch.save(model.state_dict(), path)"),
    (line(weights=None), "no weights for nets.py:make on imagefolder:photos", "give --weights FILE"),
    (line("nets.py:linear", data="digits", weights=None, input="3x16x16"), "has nothing to prune", "hidden layers"),
    (line("nets.py:single", data="digits", weights=None, input="3x16x16"), "has nothing to prune", "hidden layers"),
    (line("nets.py:grey", data="digits", weights=None), "to have 1 channels, but got 3", "give --input"),
    (line("nets.py:Twice", data="digits", weights=None, input="3x16x16"), "gives a tuple", "its logits alone"),
    (line("nets.py:nothing"), "nets.py has no function 'nothing'", "name one that nets.py defines"),
    (line("nowhere.py:make"), "no file nowhere.py", "give the path of a Python file"),
    (line("resnet21"), "no network is called 'resnet21'; nearest: resnet", "give resnet20"),
    (line(method="magic"), "no method is called 'magic'", "give ckt"),
    (line(device="gpu9"), "no device 'gpu9' is here", "give --device cpu"),
    (line(device="meta"), "no device 'meta' is here", "give --device cpu"),
    (line(input="3x32"), "input '3x32' is not channels x height x width", "write 3x224x224"),
    (line(input="1x16x16"), "images of shape (1, 16, 16)", "give (3, height, width)"),
    (line(out="thesis"), "thesis is there and is not a run of secateur", "give another --out"),
    (line(out="nets.py"), "nets.py is there and is not a run of secateur", "give another --out"),
    (line(out="nets.py/run"), "nets.py/run cannot be made", "give another"),
    (line(epochs="0"), "epochs=0", "give 1 or more"),
    (line(sampler="cmaes", flops="30%..80%"), "cmaes has one objective", "give one budget"),
    (line(storage="foo"), "no study can be kept at foo", "give --storage sqlite:///FILE"),
    (line(data="nets.py:gone"), "nets.py:gone failed (OSError: disk gone)", "mend it, or give other data"),
    (
        line(data="nets.py:words"),
        "gives no class numbers (ValueError: invalid literal",
        "let each item be (image, int)",
    ),
    (line("nets.py:Misspelt", data="digits", weights=None), "does not run on an input of 3x32x32", "'nett'"),
    (line("nets.py:lazy", data="digits", weights=None), "layers of yet unknown size", "call it once before"),
    (line(weights="lost.safetensors"), "not finite in 1 tensors (0.weight)", "give others"),
    (line(divisor="64"), "(100.0%); nothing may be narrowed", "lower --divisor"),
    (["evaluate", "resnet20", "--batch", "0"], "batch=0", "give 1 or more"),
    (["inspect", "resnet20", "--classes", "0"], "classes=0", "give 1 or more"),
    (["report", "nowhere"], "nowhere/run.json cannot be read", "give the folder of a run"),
    (["transfer", "nowhere", "--method", "pdd"], "cannot be read", "give the folder of a run"),
    (line(trials="-1"), "trials=-1", "give 0 or more"),
    (line(seed="-1"), "seed=-1", "give 0 or more"),
    (line(divisor="0"), "divisor=0", "give 1 or more"),
    (line(trials="many"), "--trials", '"many"'),
    ([*line(), "--trails", "3"], "Unknown option: --trails", "Did you mean --trials?"),
    ([*line(), "--std", "0", "1", "1"], "std=(0.0, 1.0, 1.0)", "above 0"),
    (["prune"], 'Unknown command "prune"', "Available commands: run, search, transfer, report"),
    (["inspect", "resnet20", "--flops", "abc"], "budget 'abc' is not a share", "write 50% or 62M"),
    (["inspect", "resnet20", "--input", "32"], "input '32' is not channels", "write 3x224x224"),
    (["inspect", "resnet20", "--picture", "a.pdf"], "picture a.pdf ends in neither .svg nor .png", "give it one"),
    (["inspect", "resnet20", "--picture", "no/a.svg"], "picture no/a.svg has no folder", "make no or give another"),
    (["inspect", "resnet20", "--tie", "conv1"], "tie 'conv1' is not two channel groups", "write --tie"),
    (["inspect", "resnet20", "--tie", "conv1,layer2.1.conv1"], "has 16 channels and", "tie groups of one width"),
    (["inspect", "resnet20", "--least", "0.1"], "least '0.1' is no share", "write 10%"),
    (["inspect", "resnet20", "--freeze", "nothing"], "no channel group is called 'nothing'", "the groups are conv1"),
    (line(tie="a"), "tie 'a' is not two channel groups", "write --tie"),
    (line(least="half"), "least 'half' is no share", "write 10%"),
    (["inspect", "resnet20", "--input", "1x32x32"], "does not run on an input of 1x32x32", "give --input"),
]


def told(argv: list[str], capsys: Capture) -> str:
    """What a refused line says on stderr, but for the images read so far."""
    code, said = status(argv), capsys.readouterr()
    assert code == 2
    assert said.out == ""
    (only,) = [each for each in said.err.splitlines() if not each.startswith(PROGRESS)]
    return only


@pytest.mark.parametrize(("argv", "fact", "fix"), MISTAKES, ids=[f"{n}-{each[1]}" for n, each in enumerate(MISTAKES)])
def test_a_mistake_is_one_line_with_the_fact_and_the_fix_and_leaves_nothing_behind(
    argv: list[str], fact: str, fix: str, here: Path, capsys: Capture
) -> None:
    before = sorted(here.rglob("*"))
    said = told(argv, capsys)
    assert said.startswith("secateur: ")
    assert fact in said
    assert fix in said
    assert "Traceback" not in said
    assert [path for path in sorted(here.rglob("*")) if "__pycache__" not in path.parts] == [
        path for path in before if "__pycache__" not in path.parts
    ]


def test_a_gpu_that_is_not_there_is_one_line_too(here: Path, capsys: Capture) -> None:
    assert "no device 'cuda:99' is here" in told(line(device="cuda:99"), capsys)
    assert not (here / "never").exists()


def test_a_budget_below_the_least_is_answered_with_one_that_can_be_met(here: Path, capsys: Capture) -> None:
    said = told(line(flops="1%"), capsys)
    share = said.split("give --flops ")[1].split(" ")[0]
    net = sc.Supernet.of(constructor("nets.py:make", 2)(), torch.zeros(1, 3, 16, 16))
    assert net.profile(share).satisfiable
    assert not net.profile(f"{float(share[:-1]) - 0.2:.1f}%").satisfiable


def test_a_folder_of_another_run_is_refused_with_the_option_that_differs(
    here: Path, tmp_path: Path, capsys: Capture
) -> None:
    out = str(tmp_path / "out")
    assert status([*line(out=out), "--quiet"]) == 0
    capsys.readouterr()
    assert "(flops 50% there, 60% here); give another --out" in told(line(out=out, flops="60%"), capsys)


def test_run_json_prints_one_object_and_nothing_else(
    here: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    argv = [*line(out=str(tmp_path / "out")), "--json"]
    assert status(argv) == 0
    said = capfd.readouterr()
    answer = json.loads(said.out)
    assert said.out.count("\n") == 1
    assert said.err == ""
    assert list(answer) == ["out", "dense", "search", "bank", "transfer", "test"]
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

    def run(ask: sc.Ask, out: Path, **_: object) -> dict[str, object]:
        folders.append(out)
        raise KeyboardInterrupt

    monkeypatch.setattr(stages, "run", run)
    assert status(line(out=None)) == 130
    assert status(["run"]) == 130
    assert status(["run", "--flops", "60%", "--params", "0.1M"]) == 130
    assert status(["run", "--latency", "5ms", "--memory", "40%"]) == 130
    digits = [f"resnet20-digits-{budget}" for budget in ("50pc", "60pc-0.1M-params", "40pc-memory-5ms-latency")]
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

    monkeypatch.setattr(stages, "run", interrupted)
    assert status(["run"]) == 130
    said = capsys.readouterr()
    assert said.err == "secateur: stopped; the same line again goes on from here\n"
    assert said.out == ""


def test_a_fault_of_our_own_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(stages, "run", broken)
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
    assert capsys.readouterr().out.splitlines()[-1] == f"picture: {picture}"
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
    assert status(["inspect", "resnet20", "--flops", "1%"]) == 0
    assert "can NOT be met" in capsys.readouterr().out


@pytest.mark.parametrize(("budget", "met"), [("50%", True), ("0.1%", False)])
def test_inspect_json_is_one_object_with_the_same_facts(budget: str, met: bool, capsys: Capture) -> None:
    assert status(["inspect", "resnet20", "--flops", budget, "--json"]) == 0
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
