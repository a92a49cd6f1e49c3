import json
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from trainings import CLASSES, OBJECTIVES, RECIPE, assert_same, coloured, contrastive, state, toy, train_toy

from secateur.digests import unsealed
from secateur.errors import SecateurError
from secateur.transfer.objectives.base import CrossEntropy, Objective
from secateur.transfer.training.trainer import Trainer


@OBJECTIVES
@pytest.mark.parametrize("stop", [3, 5, 6, 8, 11, 12])
def test_a_training_that_was_stopped_ends_in_the_same_weights(
    make: Callable[[Path], Objective], stop: int, tmp_path: Path
) -> None:
    model, objective = toy(), make(tmp_path)
    whole = [step.loss for step in train_toy(model, objective)]
    expected = state(model, objective)
    going = train_toy(toy(), make(tmp_path), folder=tmp_path / "run")
    losses = [next(going).loss for _ in range(stop)]
    del going
    model, objective = toy(seed=1), make(tmp_path)  # what was in it is replaced
    if stop < 5:  # before the first checkpoint: nothing to take up
        model = toy()
    taken_up = list(train_toy(model, objective, folder=tmp_path / "run"))
    last = {3: 0, 5: 5, 6: 5, 8: 5, 11: 10, 12: 12}[stop]
    assert [step.step for step in taken_up] == list(range(last + 1, 13))
    assert losses[:last] + [step.loss for step in taken_up] == whole
    assert_same(state(model, objective), expected)
    assert sorted(file.name for file in (tmp_path / "run").iterdir()) == [
        "checkpoint.safetensors",
        "metrics.csv",
        "metrics.jsonl",
    ]


@pytest.mark.parametrize("stop", [7, 12])
def test_so_does_one_with_everything_that_a_recipe_has(stop: int, tmp_path: Path) -> None:
    rich = replace(
        RECIPE, optimizer="adamw", learning_rate=0.01, micro_batches=2, clip=0.5, ema_decay=0.7, fixed_views=3
    )
    model, objective = toy(), contrastive(tmp_path)
    list(train_toy(model, objective, rich))
    going = train_toy(toy(), contrastive(tmp_path), rich, tmp_path / "run")
    for _ in range(stop):
        next(going)
    del going
    again, other = toy(seed=1), contrastive(tmp_path)
    list(train_toy(again, other, rich, tmp_path / "run"))
    assert_same(state(again, other), state(model, objective))


def test_a_training_may_be_stopped_again_and_again(tmp_path: Path) -> None:
    model = toy()
    list(train_toy(model, CrossEntropy()))
    for stop in (1, 5, 4, 2):  # at 1, then at 5, then at 9, then past 10
        again = toy()
        going = train_toy(again, CrossEntropy(), folder=tmp_path)
        for _ in range(stop):
            next(going, None)
        del going
    again = toy()
    list(train_toy(again, CrossEntropy(), folder=tmp_path))
    assert_same(model.state_dict(), again.state_dict())


def test_seconds_go_on_where_they_stopped(tmp_path: Path) -> None:
    going = train_toy(toy(), CrossEntropy(), folder=tmp_path)
    fifth = [next(going) for _ in range(5)][-1]
    del going
    assert next(train_toy(toy(), CrossEntropy(), folder=tmp_path)).seconds > fifth.seconds


@pytest.mark.parametrize("stop", [3, 5, 6, 8, 11])
def test_metrics_are_a_line_for_every_epoch_the_same_after_a_kill(stop: int, tmp_path: Path) -> None:
    steps = list(train_toy(toy(), CrossEntropy(), folder=tmp_path / "whole"))
    going = train_toy(toy(), CrossEntropy(), folder=tmp_path / "run")
    for _ in range(stop):
        next(going)
    del going
    list(train_toy(toy(), CrossEntropy(), folder=tmp_path / "run"))
    whole, resumed = (
        [unsealed(json.loads(line)) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        for name in ("whole", "run")
    )
    assert [(line["epoch"], line["epochs"], line["step"]) for line in whole] == [(1, 2, 6), (2, 2, 12)]
    assert [line["loss"] for line in whole] == [sum(s.loss for s in steps[i : i + 6]) / 6 for i in (0, 6)]
    assert [line["learning_rate"] for line in whole] == [steps[i].learning_rate for i in (5, 11)]
    for line in (*whole, *resumed):
        del line["seconds"]
    assert resumed == whole


@pytest.mark.parametrize("left", [None, 0, 1], ids=["gone", "empty", "cut at a line's end"])
def test_metrics_that_a_checkpoint_has_behind_it_and_are_lost_are_named(left: int | None, tmp_path: Path) -> None:
    going = train_toy(toy(), CrossEntropy(), replace(RECIPE, epochs=3), tmp_path)
    for _ in range(16):  # past the checkpoint at step 15
        next(going)
    del going
    path = tmp_path / "metrics.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.unlink() if left is None else path.write_text("".join(lines[:left]))
    with pytest.raises(SecateurError, match=rf"metrics\.jsonl is damaged \(epoch {1 + (left or 0)} is missing\)"):
        next(train_toy(toy(), CrossEntropy(), replace(RECIPE, epochs=3), tmp_path))


def test_without_a_folder_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    list(train_toy(toy(), CrossEntropy()))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("change", [{"epochs": 3}, {"learning_rate": 0.1}, {"seed": 1}, {"batch": 12}], ids=str)
def test_a_checkpoint_of_another_recipe_is_refused(change: dict[str, float], tmp_path: Path) -> None:
    list(train_toy(toy(), CrossEntropy(), folder=tmp_path))
    other = replace(RECIPE, **change)  # type: ignore[arg-type]
    with pytest.raises(SecateurError, match=r"another recipe .*; pass the same options or a different --out"):
        next(train_toy(toy(), CrossEntropy(), other, tmp_path))


@pytest.mark.parametrize("left", [0, 20, -1])
def test_a_truncated_checkpoint_is_refused(left: int, tmp_path: Path) -> None:
    list(train_toy(toy(), CrossEntropy(), folder=tmp_path))
    path = tmp_path / "checkpoint.safetensors"
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(SecateurError, match=r"cannot be read .*; delete it to train from scratch"):
        next(train_toy(toy(), CrossEntropy(), folder=tmp_path))


def test_a_checkpoint_of_another_objective_is_refused(tmp_path: Path) -> None:
    list(train_toy(toy(), CrossEntropy(), folder=tmp_path / "run"))
    with pytest.raises(SecateurError, match=r"another network or method .*; pass the same options or a different"):
        next(train_toy(toy(), contrastive(tmp_path), folder=tmp_path / "run"))


def test_a_checkpoint_of_the_first_release_is_resumed(tmp_path: Path) -> None:
    """Its file, written out by hand: the tensors' names, and the recipe under its old names."""
    recipe = replace(RECIPE, ema_decay=0.7, identity={"method": "ce"})
    model = toy()
    list(train_toy(model, CrossEntropy(), recipe))
    begun = toy()
    trainer = Trainer(begun, coloured(), CrossEntropy(), recipe, head="head")
    begun.train()
    for batch, _ in zip(trainer.rest_of_epoch(), range(4), strict=False):
        trainer.train_step(batch)
    assert trainer.ema
    tensors = {f"state.model.{name}": tensor.clone() for name, tensor in begun.state_dict().items()}
    tensors |= {f"state.average.{name}": tensor.clone() for name, tensor in trainer.ema.state_dict().items()}
    for number, parameter in enumerate(begun.parameters()):
        tensors[f"optimizer.{number}.momentum_buffer"] = trainer.optimizer.state[parameter]["momentum_buffer"]
    old = {"epochs": 2, "batch": 10, "learning_rate": 0.05, "weight_decay": 0.0005, "warmup": 0.2, "seed": 0}
    old |= {"keep_every": 5, "optimizer": "sgd", "parts": 1, "clip": 5.0, "average": 0.7}  # type: ignore[dict-item]
    old |= {"fixed_views": 0, "bfloat16": False, "about": "ce"}  # type: ignore[dict-item]
    metadata = {"done": "4", "seconds": "1.5", "recipe": json.dumps(old)}
    save_file(tensors, tmp_path / "checkpoint.safetensors", metadata)
    again = toy(seed=1)
    steps = list(train_toy(again, CrossEntropy(), recipe, tmp_path))
    assert [step.step for step in steps] == list(range(5, 13))
    assert steps[0].seconds > 1.5
    assert_same(again.state_dict(), model.state_dict())


def test_a_checkpoint_is_what_the_first_release_wrote(tmp_path: Path) -> None:
    list(train_toy(toy(), CrossEntropy(), replace(RECIPE, optimizer="adamw"), tmp_path))
    with safe_open(tmp_path / "checkpoint.safetensors", "pt") as file:
        metadata, names = file.metadata(), set(file.keys())
    assert metadata.keys() == {"done", "seconds", "recipe", "blake2b"}  # the digest came later
    assert metadata["done"] == "12"
    weights = {f"state.model.{name}" for name in toy().state_dict()}
    adam = {f"optimizer.{n}.{key}" for n in range(6) for key in ("step", "exp_avg", "exp_avg_sq")}
    assert names == weights | adam


class Twice(nn.Module):
    """One layer under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Conv2d(3, 3, 3, padding=1), nn.Linear(3, CLASSES)
        self.again = self.stem

    def forward(self, x: Tensor) -> Tensor:
        return torch.as_tensor(self.head(F.relu(self.again(F.relu(self.stem(x)))).mean((2, 3))))


@pytest.mark.parametrize("kind", [Twice, lambda: toy().to(memory_format=torch.channels_last)], ids=["shared", "nhwc"])
def test_networks_that_share_layers_or_lay_channels_last_can_be_kept(
    kind: Callable[[], nn.Module], tmp_path: Path
) -> None:
    model = kind()
    again = deepcopy(model)
    list(train_toy(model, CrossEntropy()))
    going = train_toy(deepcopy(again), CrossEntropy(), folder=tmp_path)
    for _ in range(7):
        next(going)
    del going
    list(train_toy(again, CrossEntropy(), folder=tmp_path))
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], tensor)
