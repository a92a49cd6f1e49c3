"""One line for every mistake in Python, before anything is searched or trained."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

import secateur

sc: Any = secateur  # what is wrong on purpose is no matter for types
CLASSES = torch.arange(8) % 4
PIXELS = torch.zeros(8, 3, 8, 8, dtype=torch.uint8)
SET = TensorDataset(PIXELS, CLASSES)


def network(makes: int = 4) -> nn.Module:
    layers = [nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 6, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, makes)).eval()


DATA: Any = sc.Data.of(SET, SET, SET)
NET: Any = sc.Supernet.of(network(), DATA.example)
MODEL: Any = network()
ce: dict[str, Any] = {"method": "ce", "epochs": 1}


def part(targets: torch.Tensor) -> Any:
    return TensorDataset(PIXELS, targets)


def found(**options: Any) -> object:
    return sc.find(NET, DATA, "50%", **{"trials": 1, "views": 0, **options})


def tuned(**options: Any) -> object:
    return sc.finetune(NET, NET.dense, None, DATA, **{**ce, **options})


MISTAKES: list[tuple[str, Callable[[], object], str]] = [
    ("budget a share", lambda: sc.find(NET, DATA, 0.5), 'budget=0.5 is of type float; did you mean "50%"?'),
    ("budget in percent", lambda: sc.find(NET, DATA, 50), 'did you mean "50%"?'),
    ("budget a count", lambda: sc.find(NET, DATA, 2_000_000), 'did you mean "2M"?'),
    ("no budget", lambda: sc.find(NET, DATA, None), 'budget is None; pass "50%" or "62M"'),
    ("order of find", lambda: sc.find(NET, "50%", DATA), "data='50%' is of type str; pass sc.Data.of(train, holdout"),
    ("bare set", lambda: sc.find(NET, SET, "50%"), "data is of type TensorDataset; pass sc.Data.of(train, holdout"),
    ("bare network", lambda: sc.find(MODEL, DATA, "50%"), "net is of type Sequential; pass sc.Supernet.of(model"),
    ("trials text", lambda: found(trials="10"), "trials='10' is of type str; pass an int"),
    ("trials a share", lambda: found(trials=1.5), "trials=1.5 is of type float; pass an int"),
    ("views", lambda: found(views=-1), "views=-1; pass 0 or more"),
    ("seed", lambda: found(seed="a"), "seed='a' is of type str; pass an int"),
    ("sampler", lambda: found(sampler=3), "sampler=3 is of type int; pass a str or a function of 1 argument"),
    ("scores", lambda: found(scores="l1"), "scores='l1' is of type str; pass a dict"),
    ("rules", lambda: found(rules=["uniform"]), "rules=['uniform'] is of type list; pass a dict"),
    ("evaluation", lambda: found(evaluation=lambda model: 1.0), "evaluation is the function <lambda>; pass a function"),
    ("start", lambda: found(start=NET.dense), "start is of type Subnetwork; pass a list, each item a subnetwork"),
    ("progress", lambda: found(progress=True), "progress=True is of type bool; pass a function of 3 arguments"),
    ("out", lambda: found(out=3), "out=3 is of type int; pass a path or a str"),
    (
        "order of finetune",
        lambda: sc.finetune(NET, DATA, NET.dense, None),
        "subnetwork is of type Data; pass a subnet",
    ),
    (
        "budget to tune",
        lambda: sc.finetune(NET, "50%", None, DATA),
        "subnetwork='50%' is of type str; pass a subnetwo",
    ),
    (
        "bank",
        lambda: sc.finetune(NET, NET.dense, DATA, DATA),
        "bank is of type Data; pass the bank of a search",
    ),
    ("epochs", lambda: tuned(epochs="1"), "epochs='1' is of type str; pass an int"),
    ("half epochs", lambda: tuned(epochs=1.5), "epochs=1.5 is of type float; pass an int"),
    ("recipe", lambda: tuned(recipe={"batch": 8}), "recipe is of type dict; pass sc.Recipe(batch=32"),
    ("teacher", lambda: tuned(teacher="resnet20", method="kd"), "teacher='resnet20' is of type str; pass an nn.Module"),
    (
        "objective",
        lambda: tuned(objective=nn.CrossEntropyLoss()),
        "objective is a CrossEntropyLoss; pass a function",
    ),
    ("Recipe", lambda: sc.Recipe(learning_rate="0.1"), "learning_rate='0.1' is of type str; pass a float"),
    (
        "example",
        lambda: sc.Supernet.of(MODEL, (1, 3, 8, 8)),
        "the example holds no tensor; pass one: torch.zeros(1, 3",
    ),
    (
        "one image",
        lambda: sc.Supernet.of(MODEL, torch.zeros(3, 8, 8)),
        "an example of another shape (1, channels, height, width)",
    ),
    ("swapped", lambda: sc.Supernet.of(DATA.example, MODEL), "model is of type Tensor; pass an nn.Module"),
    (
        "a class",
        lambda: sc.Supernet.of(nn.Linear, DATA.example),
        "model is the class Linear, not what Linear(",
    ),
    (
        "tie",
        lambda: sc.Supernet.of(MODEL, DATA.example, tie="0"),
        "tie='0' is of type str; pass a list, each item (",
    ),
    ("profile", lambda: NET.profile(0.5), 'budget=0.5 is of type float; did you mean "50%"?'),
    ("limits", lambda: NET.budget(0.5), 'flops=0.5 is of type float; did you mean "50%"?'),
    ("cost", lambda: NET.macs((4, 8)), "subnetwork=(4, 8) is of type tuple; pass a subnetwork, such as found.best()"),
    ("widths", lambda: sc.Subnetwork((4, 8)), "kept=(4, 8): pass the channels of each group"),
    ("float classes", lambda: sc.Data.of(*[part(CLASSES + 0.5)] * 3), "(ValueError: a target is 0.5); let each item"),
    (
        "one class",
        lambda: sc.find(NET, sc.Data.of(*[part(0 * CLASSES)] * 3), "50%"),
        "4 outputs and data has 1 class",
    ),
    ("one data set", lambda: sc.Data.of(SET), "one data set is no train and test; pass sc.Data.of(train, test)"),
    ("no data set", lambda: sc.Data.of(None, None), "train is None; pass a Dataset or a DataLoader or a list"),
    (
        "task class",
        lambda: sc.Data.of(SET, SET, task=sc.Classification),
        "task is the class Classification, not what",
    ),
    (
        "task loss",
        lambda: sc.Data.of(SET, SET, task=nn.MSELoss()),
        "task is of type MSELoss; pass sc.Classification()",
    ),
    ("shape", lambda: sc.Data.of(SET, SET, shape=(8, 8)), "images of shape (8, 8); pass (3, height, width)"),
    ("mean", lambda: sc.Data.of(SET, SET, mean=0.5), "mean=0.5 is of type float; pass (float, float, float)"),
    ("workers", lambda: sc.Data.of(SET, SET, workers=-1), "workers=-1; pass 0 or more"),
    ("open", lambda: sc.open_data(SET), "spec is of type TensorDataset; pass a str"),
    (
        "evaluate data",
        lambda: sc.evaluate(MODEL, DATA),
        "split is of type Data; pass a part of a data set, such as",
    ),
    ("evaluate net", lambda: sc.evaluate(NET, DATA.test), "model is of type Supernet; pass an nn.Module"),
    (
        "one logit",
        lambda: sc.evaluate(network(1), DATA.test),
        "has 1 output, and a sample is of class",
    ),
    ("slim", lambda: sc.slim(MODEL, NET.dense), "net is of type Sequential; pass sc.Supernet.of(model, data.example)"),
    ("save", lambda: sc.save("slim", MODEL), "model='slim' is of type str; pass an nn.Module"),
    ("export", lambda: sc.export(MODEL, "onnx"), "folder is of type Sequential; pass a path or a str"),
    ("report", lambda: sc.report(), "no run to report on; pass its folder"),
    ("constructor", lambda: sc.constructor("resnet20", "10"), "classes='10' is of type str; pass an int"),
    (
        "weights",
        lambda: sc.load_weights(MODEL, MODEL.state_dict()),
        "path is of type OrderedDict; pass a path or",
    ),
    ("pdd", lambda: sc.pdd(NET, DATA, budget=0.5), 'budget=0.5 is of type float; did you mean "50%"?'),
    ("kddp", lambda: sc.kddp(NET, DATA, tolerance="1%"), "tolerance='1%' is of type str; pass a float"),
    ("blockwise", lambda: sc.blockwise(NET, DATA, "50%"), "blockwise: too many positional arguments; its arguments"),
    ("Ask", lambda: sc.Ask(flops=0.5), 'flops=0.5 is of type float; did you mean "50%"?'),
    ("Ask model", lambda: sc.Ask(MODEL), "model is of type Sequential; pass a str"),
    ("Ask epochs", lambda: sc.Ask(epochs="2"), "epochs='2' is of type str; pass an int"),
    ("run", lambda: sc.run("resnet20", "out"), "config='resnet20' is of type str; pass sc.Ask("),
    (
        "Task",
        lambda: sc.Task(loss="ce", metric="accuracy"),
        "loss='ce' is of type str; pass a function of 2 arguments",
    ),
    ("Segmentation", lambda: sc.Segmentation("21"), "classes='21' is of type str; pass an int"),
    ("NumPy", lambda: sc.Data.of(*[np.zeros((4, 3, 8, 8))] * 3), "the data set has no class numbers"),
]


@pytest.mark.parametrize(("call", "line"), [each[1:] for each in MISTAKES], ids=[each[0] for each in MISTAKES])
def test_a_mistake_in_python_is_one_line_with_the_fact_and_the_fix(call: Callable[[], object], line: str) -> None:
    with pytest.raises(sc.SecateurError) as caught:
        call()
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)
