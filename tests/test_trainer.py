"""One step of training: optimizer, micro-batches, clipping, penalty, average, precision."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from trainings import CLASSES, IMAGES, RECIPE, coloured, train_toy

from secateur.errors import SecateurError
from secateur.transfer.objectives.base import CrossEntropy, StudentBatch
from secateur.transfer.training.recipe import Recipe
from secateur.transfer.training.train import train
from secateur.transfer.training.trainer import Hooks, Trainer


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

    steps = list(train(model, coloured(), Noted(), recipe, head="2"))
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
def test_a_batch_in_micro_batches_makes_the_same_step(parts: int) -> None:
    recipe = Recipe(epochs=2, batch=10)
    torch.testing.assert_close(moved(replace(recipe, micro_batches=parts)), moved(recipe), atol=1e-6, rtol=1e-5)


def test_a_gradient_is_clipped_to_its_longest() -> None:
    recipe = Recipe(epochs=1, batch=IMAGES, weight_decay=0, warmup=0, clip=1e-3)  # one step
    assert float(moved(recipe).norm()) == pytest.approx(1.9 * 0.05 * 1e-3, rel=1e-3)
    assert torch.equal(moved(replace(recipe, clip=1e3)), moved(replace(recipe, clip=None)))


def test_a_penalty_on_the_weights_is_added_once_a_step_and_not_clipped() -> None:
    recipe = Recipe(epochs=1, batch=IMAGES, weight_decay=0, warmup=0, clip=1e-3, micro_batches=3)  # one step
    model = flat()
    before = nn.utils.parameters_to_vector(model.parameters()).detach()
    list(train(model, coloured(), CrossEntropy(), recipe, hooks=Hooks(weight_penalty=lambda: sum_of(model))))
    moved = nn.utils.parameters_to_vector(model.parameters()).detach() - before
    torch.testing.assert_close(moved, torch.full_like(moved, -1.9 * 0.05), atol=1e-3 * 1.9 * 0.05, rtol=0)


def sum_of(model: nn.Module) -> Tensor:
    return nn.utils.parameters_to_vector(model.parameters()).sum()


def test_a_network_that_is_pruned_in_training_has_no_average() -> None:
    with pytest.raises(SecateurError, match="needs ema_decay=0 and a single process"):
        list(
            train(
                flat(),
                coloured(),
                CrossEntropy(),
                replace(RECIPE, ema_decay=0.5),
                hooks=Hooks(on_epoch_end=lambda _: None),
            )
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


def test_a_split_smaller_than_a_batch_takes_the_step_of_its_mean_loss() -> None:
    class Noted(CrossEntropy):
        def __call__(self, batch: StudentBatch) -> Tensor:
            noted.append(batch)
            return super().__call__(batch)

    recipe = Recipe(epochs=1, batch=64, weight_decay=0, warmup=0, clip=None)
    model, before, noted = flat(), flat(), list[StudentBatch]()
    (step,) = train(model, coloured(6), Noted(), recipe)
    loss = F.cross_entropy(before(noted[0].images[0]), noted[0].labels)
    assert len(noted[0].labels) == 6
    assert step.loss == pytest.approx(float(loss.detach()))
    for after, old, gradient in zip(
        model.parameters(), before.parameters(), torch.autograd.grad(loss, [*before.parameters()]), strict=True
    ):
        torch.testing.assert_close(after.detach() - old.detach(), -1.9 * 0.05 * gradient)


def test_a_trainer_takes_a_step_when_it_is_asked() -> None:
    model = flat()
    trainer = Trainer(model, coloured(), CrossEntropy(), RECIPE)
    assert (trainer.done, trainer.steps, trainer.steps_per_epoch, trainer.epoch) == (0, 12, 6, 0)
    batches = trainer.rest_of_epoch()
    first = next(batches)
    before = nn.utils.parameters_to_vector(model.parameters()).detach()
    loss = trainer.train_step(first)
    with torch.no_grad():
        nn.utils.vector_to_parameters(before, (again := flat()).parameters())
        expected = F.cross_entropy(again(first.images[0]), first.labels)
    torch.testing.assert_close(loss, expected)
    assert trainer.done == 1
    assert torch.equal(next(trainer.rest_of_epoch()).indices, next(batches).indices)


def test_dropout_differs_from_step_to_step_and_from_one_micro_batch_to_the_next() -> None:
    class Noted(CrossEntropy):
        def __call__(self, batch: StudentBatch) -> Tensor:
            draws.append(float(torch.rand(())))
            return super().__call__(batch)

    draws: list[float] = []
    list(train(flat(), coloured(), Noted(), replace(RECIPE, micro_batches=2)))
    assert len(draws) == len(set(draws)) == 24
