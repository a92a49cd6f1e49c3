import math
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from trainings import CLASSES, IMAGES, OBJECTIVES, RECIPE, assert_same, coloured, contrastive, state, toy, train_toy

from secateur.errors import SecateurError
from secateur.transfer.objectives.base import CrossEntropy, Objective, StudentBatch
from secateur.transfer.training.train import Recipe, learning_rate, train

# --- the recipe ---


@pytest.mark.parametrize(
    "wrong",
    [{"epochs": 0}, {"batch": 1}, {"micro_batches": 65}, {"learning_rate": 0.0}, {"learning_rate": -0.1}],
    ids=str,
)
def test_a_recipe_that_cannot_train_is_refused(wrong: dict[str, float]) -> None:
    name, value = next(iter(wrong.items()))
    with pytest.raises(SecateurError, match=rf"{name}={value}.* give at least 1 epoch"):
        Recipe(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [{"optimizer": "lion"}, {"ema_decay": 1.0}], ids=str)
def test_what_no_optimiser_is_and_no_average_can_be_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(SecateurError, match=r"give sgd or adamw, and a share in \[0, 1\)"):
        Recipe(**wrong)  # type: ignore[arg-type]


@given(st.integers(1, 20), st.integers(1, 50), st.floats(0, 3), st.floats(0.001, 1))
def test_the_learning_rate_rises_to_its_peak_and_falls_to_nothing(
    epochs: int, per_epoch: int, warmup: float, peak: float
) -> None:
    recipe, steps = Recipe(epochs=epochs, learning_rate=peak, warmup=warmup), epochs * per_epoch
    rates = [learning_rate(recipe, step, steps, per_epoch) for step in range(steps)]
    top = rates.index(max(rates))
    assert all(0 < rate <= peak for rate in rates)
    assert all(a < b for a, b in pairwise(rates[: top + 1]))
    assert all(a > b for a, b in pairwise(rates[top:]))
    assert top <= math.ceil(min(warmup * per_epoch, steps / 2))


def test_the_learning_rate_is_a_line_and_then_half_a_cosine() -> None:
    recipe = Recipe(epochs=10, learning_rate=0.4, warmup=0.4)
    rates = [learning_rate(recipe, step, 100, 10) for step in range(100)]
    assert rates[:5] == pytest.approx([0.08, 0.16, 0.24, 0.32, 0.4])
    assert rates[52] == pytest.approx(0.2)
    assert rates[4 + 24] == pytest.approx(0.2 * (1 + math.cos(math.pi / 4)))
    assert rates[-1] == pytest.approx(0.4 * (math.pi / 192) ** 2, rel=0.01)


def test_without_warm_up_the_peak_comes_first() -> None:
    recipe = Recipe(warmup=0, learning_rate=0.1)
    assert learning_rate(recipe, 0, 100, 10) == 0.1


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


def test_a_step_is_that_of_sgd_with_nesterov_momentum_and_weight_decay() -> None:
    recipe = Recipe(epochs=1, batch=20, learning_rate=0.3, weight_decay=0.1, warmup=1)
    layer = nn.Linear(3, CLASSES)
    model = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), layer)
    weight, bias = (p.detach().clone().requires_grad_() for p in layer.parameters())
    noted: list[tuple[Tensor, Tensor]] = []

    class Noted(CrossEntropy):
        def __call__(self, seen: StudentBatch) -> Tensor:
            noted.append((seen.embeddings[0].detach(), seen.labels))
            return super().__call__(seen)

    steps = list(train(model, "2", coloured(), Noted(), recipe))
    momentum: list[Tensor] = [torch.zeros_like(weight), torch.zeros_like(bias)]
    for step, (features, labels) in zip(steps, noted, strict=True):
        loss = F.cross_entropy(F.linear(features, weight, bias), labels)
        for i, (p, g) in enumerate(zip((weight, bias), torch.autograd.grad(loss, (weight, bias)), strict=True)):
            decayed = g + 0.1 * p.detach()
            momentum[i] = 0.9 * momentum[i] + decayed
            with torch.no_grad():
                p -= step.learning_rate * (decayed + 0.9 * momentum[i])
    torch.testing.assert_close(layer.weight.detach(), weight.detach())
    torch.testing.assert_close(layer.bias.detach(), bias.detach())


class Flat(nn.Module):
    """No batch norm and no dropout: an image's gradient knows nothing of its neighbours."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Conv2d(3, 6, 3, stride=2), nn.Linear(6, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return torch.as_tensor(self.head(F.relu(self.stem(x)).mean((2, 3))))


def flat() -> nn.Module:
    torch.manual_seed(0)
    return Flat()


def moved(recipe: Recipe) -> Tensor:
    """How the weights differ after training."""
    model = flat()
    before = nn.utils.parameters_to_vector(model.parameters()).detach()
    list(train_toy(model, CrossEntropy(2), recipe))
    return nn.utils.parameters_to_vector(model.parameters()).detach() - before


@pytest.mark.parametrize("parts", [2, 3, 5])
def test_a_batch_in_parts_makes_the_same_step(parts: int) -> None:
    recipe = Recipe(epochs=2, batch=10)
    torch.testing.assert_close(moved(replace(recipe, micro_batches=parts)), moved(recipe), atol=1e-6, rtol=1e-5)


def test_a_gradient_is_clipped_to_its_longest() -> None:
    recipe = Recipe(epochs=1, batch=IMAGES, weight_decay=0, warmup=0, clip=1e-3)  # one step
    assert float(moved(recipe).norm()) == pytest.approx(1.9 * 0.05 * 1e-3, rel=1e-3)
    assert torch.equal(moved(replace(recipe, clip=1e3)), moved(replace(recipe, clip=None)))


def test_a_price_on_the_weights_is_added_once_a_step_and_not_clipped() -> None:
    recipe = Recipe(epochs=1, batch=IMAGES, weight_decay=0, warmup=0, clip=1e-3, micro_batches=3)  # one step
    model = flat()
    before = nn.utils.parameters_to_vector(model.parameters()).detach()
    list(train(model, None, coloured(), CrossEntropy(), recipe, weight_penalty=lambda: sum_of(model)))
    moved = nn.utils.parameters_to_vector(model.parameters()).detach() - before
    torch.testing.assert_close(moved, torch.full_like(moved, -1.9 * 0.05), atol=1e-3 * 1.9 * 0.05, rtol=0)


def sum_of(model: nn.Module) -> Tensor:
    return nn.utils.parameters_to_vector(model.parameters()).sum()


def test_what_is_narrowed_has_no_average() -> None:
    with pytest.raises(SecateurError, match="by one process, without average"):
        list(
            train(flat(), None, coloured(), CrossEntropy(), replace(RECIPE, ema_decay=0.5), on_epoch_end=lambda _: None)
        )


def test_adamw_takes_its_own_first_step() -> None:
    recipe = Recipe(epochs=1, batch=IMAGES, weight_decay=0, warmup=0, optimizer="adamw", learning_rate=0.01)
    steps = moved(recipe).abs()  # of the size of the learning rate, whatever the gradient
    torch.testing.assert_close(steps[steps > 0], torch.full_like(steps[steps > 0], 0.01), rtol=1e-3, atol=0)


def test_what_remains_is_the_moving_average_where_it_is_asked_for() -> None:
    recipe, model, expected = replace(RECIPE, ema_decay=0.8), flat(), torch.zeros(())
    for step in train_toy(model, CrossEntropy(), recipe):
        weights = nn.utils.parameters_to_vector(model.parameters()).detach()
        expected = weights if step.step == 1 else 0.8 * expected + 0.2 * weights
    found = nn.utils.parameters_to_vector(model.parameters()).detach()
    torch.testing.assert_close(found, expected)
    assert not torch.allclose(found, weights, atol=1e-4)


def test_in_bfloat16_the_student_runs_in_it_and_nothing_else() -> None:
    class Noted(CrossEntropy):
        def __call__(self, seen: StudentBatch) -> Tensor:
            assert (seen.logits.dtype, seen.embeddings.dtype) == (torch.float32, torch.float32)
            return super().__call__(seen)

    model, dtypes = flat(), set[torch.dtype]()
    model.get_submodule("stem").register_forward_hook(lambda _, inputs, output: dtypes.add(output.dtype))
    recipe = replace(RECIPE, epochs=12, learning_rate=0.2, bfloat16=True)
    losses = [step.loss for step in train_toy(model, Noted(), recipe)]
    assert dtypes == {torch.bfloat16}
    assert sum(losses[-6:]) < 0.8 * sum(losses[:6])
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


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
    assert objective.gates()[0] == 1.0
    assert all(0 <= share <= 1 for share in objective.gates())


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

    model, turns = toy(), list[Tensor]()
    list(train(model, "head", coloured(), CrossEntropy(), RECIPE, tmp_path, between))
    assert len(turns) == RECIPE.epochs
    assert model.get_parameter("head.bias").tolist() == [2.0] * CLASSES
    again = toy()
    assert not list(train(again, "head", coloured(), CrossEntropy(), RECIPE, tmp_path, between))
    assert_same(again.state_dict(), model.state_dict())
