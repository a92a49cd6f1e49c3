"""The Python of README and docs runs as it stands, on a tiny network and a few images, with fewer trials and epochs."""

import contextlib
import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import optuna
import pytest
import torch
import torchvision
from test_pages import SNIPPETS
from torch import Tensor, nn
from torch.utils.data import TensorDataset

import secateur as sc
from secateur.models.costs.widths import uniform_widths
from secateur.transfer.objectives.base import CrossEntropy

FIND = sc.find
Learn: TypeAlias = Callable[..., nn.Module]
LEARN: dict[str, tuple[Learn, int]] = {"finetune": (sc.finetune, 1), "pdd": (sc.pdd, 2)}  # and their fewest epochs


@torch.library.custom_op("mylib::op", mutates_args=())
def operation(x: Tensor) -> Tensor:
    """An operation that the tracer does not know."""
    return x.clone()


def network(classes: int = 4) -> nn.Module:
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for reads, writes in ((3, 8), (8, 12)):
        layers += [nn.Conv2d(reads, writes, 3, padding=1), nn.BatchNorm2d(writes), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, classes)).eval()


def pictures(*, maps: bool = False) -> TensorDataset:
    """Sixteen pictures of four classes, or with a map of classes each."""
    pixels = torch.randint(256, (16, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return TensorDataset(pixels, pixels[:, 0] % 4 if maps else torch.arange(16) % 4)


def uniform(space: Any, budget: Any, scores: Any) -> Any:
    return uniform_widths(space, budget)


def few_trials(*args: Any, **options: Any) -> sc.Found:
    proposals: dict[str, Any] = {"scores": {"l1": sc.SCORES["l1"]}, "rules": {"uniform": uniform}}
    return FIND(*args, **{**proposals, **options, "trials": 1, "views": 0})


def few_epochs(verb: str) -> Learn:
    function, epochs = LEARN[verb]

    def learn(*args: Any, **options: Any) -> nn.Module:
        if "recipe" in options:
            options["recipe"] = replace(options["recipe"], epochs=epochs)
        return function(*args, **{**options, "epochs": epochs})

    return learn


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the snippets take for there, by the names that they use."""
    model, split = network(), pictures()
    data = sc.Data.of(split, split, split)
    net = sc.Supernet.of(model, data.example)
    found = few_trials(net, data, "50%", out=tmp_path_factory.mktemp("found") / "run")
    return {
        "sc": sc, "torch": torch, "torchvision": torchvision, "optuna": optuna,
        "model": model, "example": data.example, "train": split, "holdout": split, "test": split, "data": data,
        "net": net, "found": found, "make_model": network, "resnet56": network, "large": network(),
        "my_loss": lambda output, target: output.mean(1), "my_metric": lambda output, target: output.mean(1),
        "my_distance": lambda teacher, student: (teacher - student).square().mean(1),
        "my_importance": sc.SCORES["l1"], "importance": sc.SCORES["l1"],
        "my_rule": uniform, "rule": uniform, "my_op_rule": lambda ledger, call: [],
        "my_score": lambda network, holdout, images: float(sc.evaluate(network, holdout, images).loss),
        "score": lambda network, holdout, images: float(sc.evaluate(network, holdout, images).loss),
        "my_objective": lambda context: CrossEntropy(),
    }  # fmt: skip


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.parametrize("code", [code for _, code in SNIPPETS], ids=[page for page, _ in SNIPPETS])
def test_a_snippet_runs(code: str, world: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sc, "find", few_trials)
    for verb in LEARN:
        monkeypatch.setattr(sc, verb, few_epochs(verb))
    names = dict(world)
    if "Segmentation" in code:
        names |= dict.fromkeys(("train", "holdout", "test"), pictures(maps=True))
    with contextlib.redirect_stdout(io.StringIO()):
        exec(compile(code, "snippet", "exec"), names)
