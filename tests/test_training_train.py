import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor
from trainings import CLASSES, IMAGES, OBJECTIVES, RECIPE, assert_same, coloured, contrastive, state, toy, train_toy

from secateur.transfer.objectives.base import CrossEntropy, Objective, StudentBatch
from secateur.transfer.training.recipe import learning_rate
from secateur.transfer.training.train import train
from secateur.transfer.training.trainer import Hooks

# --- training ---


@OBJECTIVES
def test_the_loss_falls_on_an_easy_problem(
    make: Callable[[Path], Objective], tmp_path: Path, device: torch.device
) -> None:
    model = toy().to(device)
    recipe = replace(RECIPE, epochs=12, learning_rate=0.2)
    losses = [step.loss for step in train_toy(model, make(tmp_path), recipe)]
    assert sum(losses[-6:]) < 0.8 * sum(losses[:6])
    model.eval()
    right = sum(
        int((model(batch.images.to(device)).argmax(1).cpu() == batch.labels).sum()) for batch in coloured().batches(60)
    )
    assert right > 0.6 * IMAGES


def test_every_step_says_where_training_is() -> None:
    steps = list(train_toy(toy(), CrossEntropy()))
    assert [(step.step, step.steps, step.epoch) for step in steps] == [(i, 12, (i - 1) // 6) for i in range(1, 13)]
    assert [step.learning_rate for step in steps] == [learning_rate(RECIPE, i, 12, 6) for i in range(12)]
    seconds = [step.seconds for step in steps]
    assert seconds == sorted(seconds)
    assert all(math.isfinite(step.loss) for step in steps)


def test_fixed_views_are_shown_in_turn_and_said() -> None:
    split, told = coloured(), list[tuple[int, ...]]()

    class Noted(CrossEntropy):
        def __call__(self, seen: StudentBatch) -> Tensor:
            told.append(seen.fixed)
            for images, view in zip(seen.images, seen.fixed, strict=True):
                assert torch.equal(images, known[view][seen.indices])
            return super().__call__(seen)

    known = torch.empty(3, IMAGES, 3, 8, 8)
    for view in range(3):
        for batch in split.batches(IMAGES, view=view):
            known[view][batch.indices] = batch.images
    list(train_toy(toy(), Noted(views=2), replace(RECIPE, epochs=3, fixed_views=3)))
    assert told == [(0, 1)] * 6 + [(2, 0)] * 6 + [(1, 2)] * 6


def test_training_is_in_training_mode_whatever_the_model_was_in() -> None:
    one, two = toy(), toy().eval()
    before = one.get_buffer("norm.running_mean").clone()
    list(train_toy(one, CrossEntropy()))
    list(train_toy(two, CrossEntropy()))
    assert_same(one.state_dict(), two.state_dict())
    assert int(one.get_buffer("norm.num_batches_tracked")) == 12
    assert not torch.equal(one.get_buffer("norm.running_mean"), before)


def test_the_objective_trains_along(tmp_path: Path) -> None:
    objective = contrastive(tmp_path)
    (projection,) = objective.module.parameters()
    before = projection.detach().clone()
    list(train_toy(toy(), objective))
    assert (projection - before).abs().max() > 1e-3
    assert objective.metrics()["gates_open"][0] == 1.0
    assert all(0 <= share <= 1 for share in objective.metrics()["gates_open"])


def test_each_image_is_seen_once_a_view_and_an_epoch() -> None:
    class Noted(CrossEntropy):
        def __call__(self, seen: StudentBatch) -> Tensor:
            shapes.add((tuple(seen.logits.shape), tuple(seen.embeddings.shape)))
            indices.append(seen.indices)
            assert torch.equal(coloured().labels[seen.indices], seen.labels)
            return super().__call__(seen)

    shapes, indices = set[object](), list[Tensor]()
    list(train_toy(toy(), Noted(views=3)))
    assert shapes == {((3, 10, CLASSES), (3, 10, 6))}
    epochs = torch.cat(indices).reshape(2, IMAGES)
    assert torch.equal(epochs.sort(1).values, torch.arange(IMAGES).expand(2, -1))
    assert not torch.equal(epochs[0], epochs[1])


def test_the_seed_alone_decides() -> None:
    found = []
    for seed, disturbance in ((0, 1), (0, 2), (1, 1)):
        model, objective = toy(), CrossEntropy()
        torch.manual_seed(disturbance)  # the global random state does not matter
        list(train_toy(model, objective, replace(RECIPE, seed=seed)))
        found.append(state(model, objective))
    assert_same(found[0], found[1])
    assert not torch.equal(found[0]["head.weight"], found[2]["head.weight"])


def test_the_global_random_state_is_left_alone() -> None:
    model = toy()
    torch.manual_seed(3)
    list(train_toy(model, CrossEntropy()))
    found = torch.rand(2)
    torch.manual_seed(3)
    assert torch.equal(found, torch.rand(2))


def test_between_epochs_somebody_else_has_a_turn_before_the_checkpoint(tmp_path: Path) -> None:
    def between(optimizer: torch.optim.Optimizer) -> None:
        assert all("momentum_buffer" in optimizer.state[parameter] for parameter in model.parameters())
        turns.append(model.get_parameter("head.bias").detach().clone())
        with torch.no_grad():
            model.get_parameter("head.bias").fill_(len(turns))

    model, turns, hooks = toy(), list[Tensor](), Hooks(on_epoch_end=between)
    list(train(model, coloured(), CrossEntropy(), RECIPE, head="head", folder=tmp_path, hooks=hooks))
    assert len(turns) == RECIPE.epochs
    assert model.get_parameter("head.bias").tolist() == [2.0] * CLASSES
    again = toy()
    assert not list(train(again, coloured(), CrossEntropy(), RECIPE, head="head", folder=tmp_path, hooks=hooks))
    assert_same(again.state_dict(), model.state_dict())


def test_the_hook_after_a_step_is_called_with_the_steps_done_also_when_resumed(tmp_path: Path) -> None:
    seen: list[int] = []
    hooks = Hooks(on_step_end=seen.append)
    steps = train(toy(), coloured(), CrossEntropy(), RECIPE, head="head", folder=tmp_path, hooks=hooks)
    for _ in range(7):
        next(steps)
    del steps
    list(train(toy(), coloured(), CrossEntropy(), RECIPE, head="head", folder=tmp_path, hooks=hooks))
    assert seen == [*range(1, 8), *range(6, 13)]


def test_metrics_go_on_after_a_line_that_a_kill_cut_short(tmp_path: Path) -> None:
    steps = train_toy(toy(), CrossEntropy(), folder=tmp_path)
    for _ in range(5):
        next(steps)
    del steps
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 10, "st')
    list(train_toy(toy(), CrossEntropy(), folder=tmp_path))
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [6, 12]
