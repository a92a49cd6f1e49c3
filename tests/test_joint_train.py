"""Runs that learn widths in distillation: from the command line's words and from Python."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import secateur as sc
from secateur.models.zoo.registry import constructor
from secateur.stages.joint_run import headline
from secateur.stages.points import tune
from secateur.transfer.joint.train import Training

PLACE = """import torch
from torch import nn
from torch.utils.data import TensorDataset


def make(classes: int = 4, width: int = 12) -> nn.Module:
    layers: list[nn.Module] = []
    channels = 3
    for writes, stride in ((width, 1), (width, 2)):
        layers += [nn.Conv2d(channels, writes, 3, stride, 1, bias=False), nn.BatchNorm2d(writes), nn.ReLU()]
        channels = writes
    pooled = [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers, *pooled, nn.Linear(width, 16), nn.ReLU(), nn.Linear(16, classes))


def large(classes: int) -> nn.Module:
    return make(classes, 20)


def images() -> list[TensorDataset]:
    labels = torch.arange(40) % 4
    parts = []
    for seed in range(3):
        pixels = torch.randint(256, (40, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))
        parts.append(TensorDataset(pixels, labels))
    return parts
"""
STAGES = ["dense", "teacher", "learn", "transfer", "test", "speed"]
OPTIONS: list[dict[str, Any]] = [
    {"method": "pdd"},
    {"method": "kddp", "strength": 20.0},
    {"method": "blockwise", "strength": 1e-4, "constraint": "params", "blocks": "in-turn", "precision": "float32"},
    {"method": "pdd", "flops": "40%", "precision": "bfloat16"},
    {"method": "kddp", "strength": 20.0, "neurons": "all", "precision": "bfloat16"},
    {"method": "blockwise", "strength": 1e-4, "block_strength": ("0=2",)},
    {"method": "pdd", "from_": "trained", "spread": 0.5},
    {"method": "kddp", "tolerance": "50%"},
    {"method": "blockwise", "params": "40%", "block_strength": ("0=2",)},
]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A network with weights, a larger one with weights, and images; one thread, so that sums agree to the bit."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("learning")
    (folder / "place.py").write_text(PLACE)
    for name in ("make", "large"):
        torch.manual_seed(0)
        tensors = constructor(f"{folder / 'place.py'}:{name}", 4)().state_dict()
        tensors["1.weight"][:3] = tensors["4.weight"][:4] = 1e-3  # two steps are too few to shrink a scale
        save_file(tensors, folder / f"{name}.safetensors")
    yield folder
    torch.set_num_threads(threads)


def asks(place: Path, **options: Any) -> sc.RunConfig:
    model, data = (f"{place / 'place.py'}:{name}" for name in ("make", "images"))
    return sc.Ask(model=model, data=data, weights=str(place / "make.safetensors"), epochs=5, **options)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_a_run_leaves_what_a_run_leaves_and_the_function_of_its_name_does_the_same(
    options: dict[str, Any], place: Path, tmp_path: Path
) -> None:
    ask = asks(place, **options)
    outcome = sc.run(ask, tmp_path / "out")
    assert list(outcome) == STAGES
    files = contents(tmp_path / "out")
    assert {"run.json", "front.json", "pareto.png", "report.html", "transfer/metrics.jsonl"} <= files.keys()
    record = json.loads(files["best/architecture.json"])
    (point,) = json.loads(files["front.json"])["points"]
    assert point["groups"] == record["groups"]
    assert outcome["learn"]["widths"][-1] == [group["width"] for group in record["groups"].values()]
    assert len(outcome["learn"]["widths"]) == (1 if options["method"] == "pdd" else 2)
    kept = outcome["test"]["tuned"]
    assert kept["macs"] == record["costs"]["kept"]["macs"]
    assert kept["parameters"] < outcome["test"]["dense"]["parameters"]
    if "flops" in options:
        assert kept["macs"] <= 0.4 * outcome["test"]["dense"]["macs"]
    assert sc.run(ask, tmp_path / "out") == outcome
    assert contents(tmp_path / "out") == files

    data = sc.open_data(ask.images.data)
    model = constructor(ask.model, 4)()
    sc.load_weights(model, place / "make.safetensors")
    net = sc.Supernet.of(model.eval(), data.example)
    elsewhere = ("method", "flops", "block_strength", "from_", "tolerance")
    given = {name: value for name, value in options.items() if name not in elsewhere}
    if options["method"] == "pdd":
        given["start"] = options.get("from_", "fresh")
        student = sc.pdd(net, data, epochs=5, budget=options.get("flops"), **given)
    elif "tolerance" in options:
        student = sc.kddp(net, data, epochs=5, tolerance=0.5)
    elif options["method"] == "kddp":
        student = sc.kddp(net, data, epochs=5, **given)
    else:
        student = sc.blockwise(net, data, epochs=5, strengths=ask.joint.strengths, **given)
    saved = load_file(tmp_path / "out" / "best" / "weights.safetensors")
    assert all(torch.equal(saved[name], tensor) for name, tensor in student.state_dict().items())


@pytest.mark.parametrize("options", [*OPTIONS[:3], *OPTIONS[-2:]], ids=str)
def test_a_run_that_was_stopped_after_the_first_half_ends_as_if_it_had_not_been(
    options: dict[str, Any], place: Path, tmp_path: Path
) -> None:
    def stop(what: str, done: int, total: int) -> None:
        if "fine-tuning" in what:
            raise KeyboardInterrupt

    ask = asks(place, **options)
    sc.run(ask, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        sc.run(ask, tmp_path / "out", progress=stop)
    sc.run(ask, tmp_path / "out")
    for name in ("best/architecture.json", "best/weights.safetensors", "front.json"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_kill_between_the_last_checkpoint_and_its_line_costs_nothing(place: Path, tmp_path: Path) -> None:
    def stop(what: str, done: int, total: int) -> None:
        if "learning widths" in what and done == total:
            raise KeyboardInterrupt

    ask = asks(place, method="pdd").with_options(epochs=2)
    whole = sc.run(ask, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        sc.run(ask, tmp_path / "out", progress=stop)
    lines = tmp_path / "out" / "learn" / "widths.jsonl"
    lines.unlink()  # as if it had come a moment earlier
    assert sc.run(ask, tmp_path / "out")["learn"]["widths"] == whole["learn"]["widths"]
    assert len(lines.read_text().splitlines()) == 1


def test_lost_widths_of_an_epoch_are_named(place: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    ask = asks(place, method="kddp", strength=20.0).with_options(epochs=6)
    sc.run(ask, out, until="learn")
    path = out / "learn" / "widths.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[1:]))
    with pytest.raises(
        sc.SecateurError, match=r"widths\.jsonl is damaged \(epoch 1 is missing\); delete .*learn to learn"
    ):
        sc.run(ask, out)


def test_only_pruned_is_scored_alike_in_the_front_and_in_the_end(place: Path, tmp_path: Path) -> None:
    outcome = sc.run(asks(place, method="pdd"), tmp_path / "out")
    (point,) = json.loads((tmp_path / "out" / "front.json").read_text())["points"]
    assert point["figures"]["holdout"] == outcome["test"]["pruned"]["holdout"]


def test_a_folder_with_another_training_in_it_is_refused(place: Path, tmp_path: Path) -> None:
    data = sc.open_data(f"{place / 'place.py'}:images")
    net = sc.Supernet.of(constructor(f"{place / 'place.py'}:make", 4)().eval(), data.example)
    sc.kddp(net, data, epochs=2, strength=0.0, folder=tmp_path)
    others: list[dict[str, Any]] = [{"strength": 50.0}, {"strength": 0.0, "neurons": "hidden"}, {}]
    for options in others:
        with pytest.raises(sc.SecateurError, match=r"is of another recipe .*kddp 0.0 all"):
            sc.kddp(net, data, epochs=2, folder=tmp_path, **options)


def test_under_another_teacher_a_student_without_weights_starts_anew(place: Path, tmp_path: Path) -> None:
    ask = asks(place, method="kddp").with_options(
        weights=None,
        teacher=f"{place / 'place.py'}:large",
        teacher_weights=str(place / "large.safetensors"),
    )
    outcome = sc.run(ask, tmp_path / "out")
    assert outcome["dense"]["weights"] == "none"
    assert outcome["test"]["teacher"]["parameters"] > outcome["test"]["dense"]["parameters"]
    assert re.search("<td[^>]*>teacher", (tmp_path / "out" / "report.html").read_text())
    book = json.loads((tmp_path / "out" / "run.json").read_text())
    assert "teacher's weights" in book["fingerprints"]
    assert f"--teacher-weights {place / 'large.safetensors'}" in ask.command_line


def test_epochs_are_all_that_are_trained_in_two_parts() -> None:
    net = sc.Supernet.of(sc.constructor("resnet20", 10)(), torch.zeros(1, 3, 32, 32), check=False)
    assert [recipe.epochs for recipe in Training(10, 3, "float32").recipes(net)] == [5, 5]
    assert [(recipe.epochs, recipe.seed) for recipe in Training(5, 3, "float32").recipes(net)] == [(2, 3), (3, 3)]
    assert [recipe.bfloat16 for recipe in Training(4, 0, "bfloat16").recipes(net)] == [True, True]
    quarter = Training(10, 3, "float32", learning=0.25)
    assert [recipe.epochs for recipe in quarter.recipes(net)] == [2, 8]
    assert [recipe.epochs for recipe in Training(2, 3, "float32", learning=0.25).recipes(net)] == [1, 1]
    with pytest.raises(sc.SecateurError, match="some find the widths and the rest train them; pass 2 or more"):
        Training(1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "pdd", "trials": 3}, "--trials is for search and not for --method pdd"),
        ({"method": "kddp", "flops": "50%"}, "--flops is for search and pdd and blockwise and not for --method kddp"),
        ({"method": "kddp", "from_": "trained"}, "--from is for pdd and not for --method kddp"),
        ({"method": "pdd", "from_": "old"}, "cannot start from 'old' weights; pass fresh or trained"),
        ({"method": "pdd", "spread": -1.0}, "spread=-1.0; pass 0 or more"),
        ({"method": "kddp", "tolerance": "1"}, "tolerance '1' is no percentage; write 1%"),
        ({"method": "blockwise", "flops": "50%", "strength": 1.0}, "a budget finds the strength"),
        ({"strength": 2.0}, "--strength is for kddp and blockwise and not for --method aligned"),
        ({"method": "kddp", "block_strength": ("a=2",)}, "--block-strength is for blockwise"),
        ({"method": "blockwise", "block_strength": ("a",)}, "write 'layer1"),
        ({"method": "blockwise", "strength": -1.0}, "strength=-1.0; pass 0 or more"),
        ({"method": "blockwise", "block_strength": ("nothing=2",)}, "no channel group is called 'nothing'"),
        ({"method": "blockwise", "blocks": "apart"}, "are neither together nor in-turn"),
        ({"method": "blockwise", "constraint": "time"}, "no constraint is called 'time'"),
        ({"method": "pdd", "teacher_weights": "w"}, "pass --teacher MODEL as well"),
        ({"method": "pdd", "teacher": "resnet20"}, "no weights for the teacher resnet20"),
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused_and_leaves_nothing_behind(
    options: dict[str, Any], message: str, place: Path, tmp_path: Path
) -> None:
    with pytest.raises(sc.SecateurError, match=message):
        sc.run(asks(place, **options), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_run_without_a_bank_has_no_point_to_tune_and_no_stage_of_a_search(place: Path, tmp_path: Path) -> None:
    ask = asks(place, method="pdd")
    with pytest.raises(sc.SecateurError, match="--method pdd has no stage 'bank'; use secateur run"):
        sc.run(ask, tmp_path / "none", until="bank")
    sc.run(ask, tmp_path / "out")
    with pytest.raises(sc.SecateurError, match="was made by pdd, which fills no memory bank"):
        tune(tmp_path / "out")


def test_search_is_the_usual_way() -> None:
    assert sc.Ask(method="search") == sc.Ask()
    assert sc.Ask(method="pdd").budget.spec.texts == {}
    assert [sc.Ask(method="pdd", flops="40%").goal, sc.Ask(method="kddp").goal, sc.Ask().goal] == [
        "pdd 40%",
        "kddp",
        "10%",
    ]


@pytest.mark.parametrize("method", ["pdd", "kddp", "blockwise"])
def test_a_method_that_learns_widths_says_what_it_will_do(method: str) -> None:
    line = headline(sc.Ask(method=method))
    assert line.startswith(f"{method}: ")
    assert "of the epochs" in line


def test_a_search_has_no_headline() -> None:
    assert headline(sc.Ask()) == ""


def test_options_show_in_the_headline() -> None:
    assert "trained weights" in headline(sc.Ask(method="pdd", from_="trained"))
    assert "until 20% of the parameters" in headline(sc.Ask(method="blockwise", params="20%"))
    assert "within 3%" in headline(sc.Ask(method="kddp", tolerance="3%"))


@pytest.mark.parametrize("learn", [sc.kddp, sc.blockwise])
def test_a_penalty_that_is_weighed_by_steps_of_sgd_refuses_another_optimizer(place: Path, learn: Any) -> None:
    data = sc.open_data(f"{place / 'place.py'}:images")
    net = sc.Supernet.of(constructor(f"{place / 'place.py'}:make", 4)().eval(), data.example)
    with pytest.raises(sc.SecateurError, match="leave optimizer='adamw' out"):
        learn(net, data, epochs=2, recipe=sc.Recipe(optimizer="adamw", learning_rate=0.001))


def test_a_recipe_decides_how_both_halves_are_trained(place: Path, tmp_path: Path) -> None:
    data = sc.open_data(f"{place / 'place.py'}:images")
    net = sc.Supernet.of(constructor(f"{place / 'place.py'}:make", 4)().eval(), data.example)
    sc.pdd(net, data, epochs=2, recipe=sc.Recipe(batch=20, learning_rate=0.01), folder=tmp_path)
    for half in ("learn", "transfer"):
        (line,) = (json.loads(line) for line in (tmp_path / half / "metrics.jsonl").read_text().splitlines())
        assert line["steps"] == len(data.train) // 20
