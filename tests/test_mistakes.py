"""One line for every mistake on the command line."""

from pathlib import Path

import pytest
import torch
from commands import Capture, line, status, told

import secateur as sc
from secateur.data import dataset
from secateur.models.zoo.registry import constructor
from secateur.stages import prepare

MISTAKES = [
    (line(flops="0"), "budget 0 is 0 MACs", "pass more than 0 and at most 100%"),
    (line(params="150%"), "budget 150% is", "at most 100%"),
    (line(params="abc"), "budget 'abc' is not a share or a number of parameters", "write 50% or 0.13M"),
    (line(memory="1%"), "bytes cannot be met: the least widths still cost", "pass --memory"),
    (line(latency="5"), "budget '5' is not a share or a number of seconds", "write 50% or 5ms"),
    (line(latency="1%"), "seconds cannot be met: the least widths still cost", "pass --latency"),
    (line(flops="150%"), "budget 150% is", "at most 100%"),
    (line(flops="1%"), "cannot be met: the least widths still cost", "pass --flops"),
    (line(flops="abc"), "budget 'abc' is not a share", "write 50% or 62M"),
    (line(flops="50"), "budget 50 is 50 MACs", "did you mean 50%?"),
    (line(flops="0.5"), "budget 0.5 is 0.5 MACs", "did you mean 50%?"),
    (line("resnet18"), "no network is called 'resnet18'", "did you mean torchvision:resnet18?"),
    (line(data="imagefolder:nowhere"), "no folder nowhere/train", "ROOT/train/CLASS/"),
    (line(data="imagefolder:empty"), "no folder empty/train", "ROOT/train/CLASS/"),
    (line(data="imagefolder:classless"), "classless/train", "Give every class a folder with images"),
    (line(data="imagefolder:imageless"), "imageless/train", "Give every class a folder with images"),
    (line(data="imagefolder:corrupt"), "corrupt/train/cat/3.png is not a readable image", "remove or replace it"),
    (line(data="photos"), "unknown data 'photos'", "imagefolder:ROOT"),
    (line(data="cifar10:photos"), "no whole CIFAR10 in the folder 'photos'", "unpack"),
    (line("nets.py:seven", weights="seven.safetensors"), "has 7 outputs and imagefolder:photos has 2 classes", "match"),
    (line(weights="ten.safetensors"), "are for 10 classes, the network has 2", "as many classes"),
    (line(weights="nowhere.safetensors"), "no weights file nowhere.safetensors", "pass a .safetensors file"),
    (line(weights="nets.py"), "are no PyTorch file", "torch.save(model.state_dict(), path)"),
    (line(weights=None), "no weights for nets.py:make on imagefolder:photos", "pass --weights FILE"),
    (line("nets.py:linear", data="digits", weights=None, input="3x16x16"), "has nothing to prune", "hidden layers"),
    (line("nets.py:single", data="digits", weights=None, input="3x16x16"), "has nothing to prune", "hidden layers"),
    (line("nets.py:grey", data="digits", weights=None), "to have 1 channels, but got 3", "another shape"),
    (line("nets.py:Twice", data="digits", weights=None, input="3x16x16"), "returns a tuple", "its logits alone"),
    (line("nets.py:nothing"), "nets.py has no function 'nothing'", "name one that nets.py defines"),
    (line("nowhere.py:make"), "no file nowhere.py", "pass the path of a Python file"),
    (line("resnet21"), "no network is called 'resnet21'; nearest: resnet", "pass resnet20"),
    (line(method="magic"), "no method is called 'magic'", "pass ckt"),
    (line(device="gpu9"), "no device 'gpu9' is here", "pass --device cpu"),
    (line(device="meta"), "no device 'meta' is here", "pass --device cpu"),
    (line(input="3x32"), "input '3x32' is not channels x height x width", "write 3x224x224"),
    (line(input="1x16x16"), "images of shape (1, 16, 16)", "pass (3, height, width)"),
    (line(out="thesis"), "thesis exists and is not a run of secateur", "pass a different --out"),
    (line(out="nets.py"), "nets.py exists and is not a run of secateur", "pass a different --out"),
    (line(out="nets.py/run"), "nets.py/run cannot be made", "pass a different one"),
    (line(epochs="0"), "epochs=0", "pass 1 or more"),
    (line(sampler="cmaes", flops="30%..80%"), "cmaes has one objective", "pass one budget"),
    (line(storage="foo"), "no study can be kept at foo", "pass --storage sqlite:///FILE"),
    (line(data="nets.py:gone"), "nets.py:gone failed (OSError: disk gone)", "fix it or pass other data"),
    (
        line(data="nets.py:words"),
        "has no class numbers (ValueError: invalid literal",
        "let each item be (image, int)",
    ),
    (line("nets.py:Misspelt", data="digits", weights=None), "does not run on an input of 3x32x32", "'nett'"),
    (line("nets.py:lazy", data="digits", weights=None), "layers whose size is not known yet", "run it once before"),
    (line(weights="lost.safetensors"), "not finite in 1 tensors (0.weight)", "pass others"),
    (line(divisor="64"), "(100.0%); nothing may be narrowed", "lower --divisor"),
    (["evaluate", "resnet20", "--batch", "0"], "batch=0", "pass 1 or more"),
    (["inspect", "resnet20", "--classes", "0"], "classes=0", "pass 1 or more"),
    (["report", "nowhere"], "nowhere/run.json cannot be read", "pass the folder of a run"),
    (["transfer", "nowhere", "--method", "pdd"], "cannot be read", "pass the folder of a run"),
    (line(trials="-1"), "trials=-1", "pass 0 or more"),
    (line(seed="-1"), "seed=-1", "pass 0 or more"),
    (line(divisor="0"), "divisor=0", "pass 1 or more"),
    (line(trials="many"), "--trials", '"many"'),
    ([*line(), "--trails", "3"], "Unknown option: --trails", "Did you mean --trials?"),
    ([*line(), "--std", "0", "1", "1"], "std=(0.0, 1.0, 1.0)", "above 0"),
    ([*line(), "--mean", "123.675", "116.28", "103.53"], "is of pixels in 0..255", "those of 0..1: 0.485 0.456"),
    (["prune"], 'Unknown command "prune"', "Available commands: run, search, transfer, report"),
    (["inspect", "resnet20", "--flops", "abc"], "budget 'abc' is not a share", "write 50% or 62M"),
    (["inspect", "resnet20", "--input", "32"], "input '32' is not channels", "write 3x224x224"),
    (
        ["inspect", "resnet20", "--picture", "a.pdf"],
        "picture a.pdf ends in neither .svg nor .png",
        "pass a path with one",
    ),
    (
        ["inspect", "resnet20", "--picture", "no/a.svg"],
        "picture no/a.svg is in no folder that exists",
        "create no or pass another",
    ),
    (["inspect", "resnet20", "--tie", "conv1"], "tie 'conv1' is not two channel groups", "write --tie"),
    (["inspect", "resnet20", "--tie", "conv1,layer2.1.conv1"], "has 16 channels and", "tie groups of one width"),
    (["inspect", "resnet20", "--least", "0.1"], "least '0.1' is no share", "write 10%"),
    (["inspect", "resnet20", "--freeze", "nothing"], "no channel group is called 'nothing'", "the groups are conv1"),
    (line(tie="a"), "tie 'a' is not two channel groups", "write --tie"),
    (line(least="half"), "least 'half' is no share", "write 10%"),
    (["inspect", "resnet20", "--input", "1x32x32"], "does not run on an input of 1x32x32", "another shape"),
]

CHEAP = [  # what needs no image: the network's name, weights' form, device, sampler, folder, start
    (line("resnet21"), "no network is called 'resnet21'"),
    (line("torchvision:resnet19"), "torchvision has no classifier 'resnet19'"),
    (line(weights="nets.py"), "are no PyTorch file"),
    (line(device="gpu9"), "no device 'gpu9' is here"),
    (line(sampler="bayes"), "no sampler is called 'bayes'"),
    (line(start="nowhere"), "nowhere holds no architecture"),
    (line(out="thesis"), "thesis exists and is not a run of secateur"),
    (line(out="nets.py/run"), "nets.py/run cannot be made"),
    (line(method="magic"), "no method is called 'magic'"),
]


@pytest.mark.parametrize(("argv", "fact"), CHEAP, ids=[each[1] for each in CHEAP])
def test_what_needs_no_image_is_said_before_any_is_read(
    argv: list[str], fact: str, here: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dataset, "datasets", lambda *_: pytest.fail("images are read"))
    assert fact in told(argv, capsys)


STRUCTURE = [  # what needs the network, and not the images
    (line(freeze="stem"), "no channel group is called 'stem'"),
    (line(tie="0,stem"), "no channel group is called 'stem'"),
    (line(least="stem=50%"), "no channel group is called 'stem'"),
    (line(flops="1%"), "cannot be met"),
    (line(flops="50"), "did you mean 50%?"),
    (line(flops="0.5"), "did you mean 50%?"),
    (line(params="0.1%"), "cannot be met"),
    (line(weights="ten.safetensors"), "are for 10 classes, the network has 2"),
    (line(weights="lost.safetensors"), "not finite in 1 tensors"),
]


@pytest.mark.parametrize(("argv", "fact"), STRUCTURE, ids=[each[1] for each in STRUCTURE])
def test_what_the_network_cannot_be_is_said_before_an_image_is_read_and_before_a_folder_collides(
    argv: list[str], fact: str, here: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dataset, "open_readers", lambda *_: pytest.fail("images are read"))
    monkeypatch.setattr(prepare, "require_same", lambda *_: pytest.fail("the folder is compared"))
    assert fact in told(argv, capsys)


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
    share = said.split("pass --flops ")[1].split(" ")[0]
    net = sc.Supernet.of(constructor("nets.py:make", 2)(), torch.zeros(1, 3, 16, 16))
    assert net.profile(share).satisfiable
    assert not net.profile(f"{float(share[:-1]) - 0.2:.1f}%").satisfiable


def test_a_folder_of_another_run_is_refused_with_the_option_that_differs(
    here: Path, tmp_path: Path, capsys: Capture
) -> None:
    out = str(tmp_path / "out")
    assert status([*line(out=out), "--quiet"]) == 0
    capsys.readouterr()
    assert "(flops 50% there, 60% here); pass a different --out or --overwrite" in told(
        line(out=out, flops="60%"), capsys
    )
    again = told(line(out=out, epochs="40", method="kd"), capsys)
    way = f"secateur transfer {out} --model nets.py:make --method kd --epochs 40, or pass a different --out"
    assert "(method aligned there, kd here); fine-tune that one without another search:" in again
    assert again.endswith(way)
    for option, value, said in (("sampler", "bayes", "no sampler"), ("weights", "no.pth", "no weights file no.pth")):
        assert said in told(line(out=out, **{option: value}), capsys)  # before the folder
