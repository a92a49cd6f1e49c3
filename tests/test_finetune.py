import json
import math
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from secateur.data import Images
from secateur.models.errors import SecateurError
from secateur.models.subnetwork import Subnetwork
from secateur.transfer.bank import MemoryBank, Teacher
from secateur.transfer.finetune import Recipe, Step, finetune, learning_rate
from secateur.transfer.objectives import ContrastiveTransfer, CrossEntropy, Objective, Seen

IMAGES, CLASSES = 60, 4
RECIPE = Recipe(epochs=2, batch=10, keep_every=5)  # 12 steps, checkpoints after 5, 10 and 12


class Toy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 6, 3, stride=2, padding=1), nn.BatchNorm2d(6)
        self.drop, self.head = nn.Dropout(0.3), nn.Linear(6, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return torch.as_tensor(self.head(self.drop(F.relu(self.norm(self.stem(x))).mean((2, 3)))))


def toy(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return Toy()


def coloured(count: int = IMAGES, flip: bool = True) -> Images:
    """Noise, brighter in the colour of its class: easy."""
    pixels = torch.randint(120, (count, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(count) % CLASSES
    for image, label in zip(pixels, labels.tolist(), strict=True):
        image[: label or 3] += 0 if label == 3 else 120
    return Images(lambda chunks: (pixels[chunk] for chunk in chunks), labels, (3, 8, 8), flip=flip, pad=1)


def cross_entropy(folder: Path) -> Objective:
    return CrossEntropy()


def contrastive(folder: Path) -> Objective:
    random = torch.Generator().manual_seed(1)
    labels, logits = torch.arange(IMAGES) % CLASSES, torch.randn(2, IMAGES, CLASSES, generator=random)
    teachers = (Teacher(Subnetwork(((0,),)), 0.0, 1), Teacher(Subnetwork(((1,),)), 1.0, 1))
    bank = MemoryBank(folder, teachers, tuple(logits.half()), tuple(torch.randn(2, IMAGES, 7, generator=random).half()))
    return ContrastiveTransfer(bank, labels, 6, pull=1.0, contrast=0.5, seed=0)


OBJECTIVES = pytest.mark.parametrize("make", [cross_entropy, contrastive])


def train(
    model: nn.Module, objective: Objective, recipe: Recipe = RECIPE, folder: Path | None = None
) -> Iterator[Step]:
    yield from finetune(model, "head", coloured(), objective, recipe, folder)


def state(model: nn.Module, objective: Objective) -> dict[str, Tensor]:
    return {**model.state_dict(), **{f"objective.{n}": t for n, t in objective.module.state_dict().items()}}


def assert_same(one: dict[str, Tensor], two: dict[str, Tensor]) -> None:
    assert list(one) == list(two)
    assert [name for name in one if not torch.equal(one[name], two[name])] == []


# --- the recipe ---


@pytest.mark.parametrize(
    "wrong", [{"epochs": 0}, {"batch": 1}, {"learning_rate": 0.0}, {"learning_rate": -0.1}], ids=str
)
def test_a_recipe_that_cannot_train_is_refused(wrong: dict[str, float]) -> None:
    name, value = next(iter(wrong.items()))
    with pytest.raises(SecateurError, match=rf"{name}={value}.* give at least 1 epoch"):
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
    losses = [step.loss for step in train(model, make(tmp_path), recipe)]
    assert sum(losses[-6:]) < 0.8 * sum(losses[:6])
    model.eval()
    right = sum(
        int((model(batch.images.to(device)).argmax(1).cpu() == batch.labels).sum()) for batch in coloured().batches(60)
    )
    assert right > 0.6 * IMAGES


def test_every_step_says_where_training_is() -> None:
    steps = list(train(toy(), CrossEntropy()))
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
        def __call__(self, seen: Seen) -> Tensor:
            noted.append((seen.embeddings[0].detach(), seen.labels))
            return super().__call__(seen)

    steps = list(finetune(model, "2", coloured(), Noted(), recipe))
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


def test_training_is_in_training_mode_whatever_the_model_was_in() -> None:
    one, two = toy(), toy().eval()
    before = one.get_buffer("norm.running_mean").clone()
    list(train(one, CrossEntropy()))
    list(train(two, CrossEntropy()))
    assert_same(one.state_dict(), two.state_dict())
    assert int(one.get_buffer("norm.num_batches_tracked")) == 12
    assert not torch.equal(one.get_buffer("norm.running_mean"), before)


def test_the_objective_trains_along(tmp_path: Path) -> None:
    objective = contrastive(tmp_path)
    (projection,) = objective.module.parameters()
    before = projection.detach().clone()
    list(train(toy(), objective))
    assert (projection - before).abs().max() > 1e-3
    assert objective.gates()[0] == 1.0
    assert all(0 <= share <= 1 for share in objective.gates())


def test_each_image_is_seen_once_a_view_and_an_epoch() -> None:
    class Noted(CrossEntropy):
        def __call__(self, seen: Seen) -> Tensor:
            shapes.add((tuple(seen.logits.shape), tuple(seen.embeddings.shape)))
            indices.append(seen.indices)
            assert torch.equal(coloured().labels[seen.indices], seen.labels)
            return super().__call__(seen)

    shapes, indices = set[object](), list[Tensor]()
    list(train(toy(), Noted(views=3)))
    assert shapes == {((3, 10, CLASSES), (3, 10, 6))}
    epochs = torch.cat(indices).reshape(2, IMAGES)
    assert torch.equal(epochs.sort(1).values, torch.arange(IMAGES).expand(2, -1))
    assert not torch.equal(epochs[0], epochs[1])


def test_the_seed_alone_decides() -> None:
    found = []
    for seed, disturbance in ((0, 1), (0, 2), (1, 1)):
        model, objective = toy(), CrossEntropy()
        torch.manual_seed(disturbance)  # the global random state does not matter
        list(train(model, objective, replace(RECIPE, seed=seed)))
        found.append(state(model, objective))
    assert_same(found[0], found[1])
    assert not torch.equal(found[0]["head.weight"], found[2]["head.weight"])


def test_the_global_random_state_is_left_alone() -> None:
    model = toy()
    torch.manual_seed(3)
    list(train(model, CrossEntropy()))
    found = torch.rand(2)
    torch.manual_seed(3)
    assert torch.equal(found, torch.rand(2))


# --- stopping ---


@OBJECTIVES
@pytest.mark.parametrize("stop", [3, 5, 6, 8, 11, 12])
def test_a_training_that_was_stopped_ends_in_the_same_weights(
    make: Callable[[Path], Objective], stop: int, tmp_path: Path
) -> None:
    model, objective = toy(), make(tmp_path)
    whole = [step.loss for step in train(model, objective)]
    expected = state(model, objective)
    going = train(toy(), make(tmp_path), folder=tmp_path / "run")
    losses = [next(going).loss for _ in range(stop)]
    del going
    model, objective = toy(seed=1), make(tmp_path)  # what was in it is replaced
    if stop < 5:  # before the first checkpoint: nothing to take up
        model = toy()
    taken_up = list(train(model, objective, folder=tmp_path / "run"))
    last = {3: 0, 5: 5, 6: 5, 8: 5, 11: 10, 12: 12}[stop]
    assert [step.step for step in taken_up] == list(range(last + 1, 13))
    assert losses[:last] + [step.loss for step in taken_up] == whole
    assert_same(state(model, objective), expected)
    assert sorted(file.name for file in (tmp_path / "run").iterdir()) == ["checkpoint.safetensors", "metrics.jsonl"]


def test_a_training_may_be_stopped_again_and_again(tmp_path: Path) -> None:
    model = toy()
    list(train(model, CrossEntropy()))
    for stop in (1, 5, 4, 2):  # at 1, then at 5, then at 9, then past 10
        again = toy()
        going = train(again, CrossEntropy(), folder=tmp_path)
        for _ in range(stop):
            next(going, None)
        del going
    again = toy()
    list(train(again, CrossEntropy(), folder=tmp_path))
    assert_same(model.state_dict(), again.state_dict())


def test_seconds_go_on_where_they_stopped(tmp_path: Path) -> None:
    going = train(toy(), CrossEntropy(), folder=tmp_path)
    fifth = [next(going) for _ in range(5)][-1]
    del going
    assert next(train(toy(), CrossEntropy(), folder=tmp_path)).seconds > fifth.seconds


def test_metrics_are_a_line_for_every_checkpoint(tmp_path: Path) -> None:
    steps = list(train(toy(), CrossEntropy(), folder=tmp_path))
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert lines == [steps[i - 1].__dict__ for i in (5, 10, 12)]


def test_without_a_folder_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    list(train(toy(), CrossEntropy()))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("change", [{"epochs": 3}, {"learning_rate": 0.1}, {"seed": 1}, {"batch": 12}], ids=str)
def test_a_checkpoint_of_another_recipe_is_refused(change: dict[str, float], tmp_path: Path) -> None:
    list(train(toy(), CrossEntropy(), folder=tmp_path))
    other = replace(RECIPE, **change)  # type: ignore[arg-type]
    with pytest.raises(SecateurError, match=r"another recipe .*; give the same options or another --out"):
        next(train(toy(), CrossEntropy(), other, tmp_path))


@pytest.mark.parametrize("left", [0, 20, -1])
def test_a_truncated_checkpoint_is_refused(left: int, tmp_path: Path) -> None:
    list(train(toy(), CrossEntropy(), folder=tmp_path))
    path = tmp_path / "checkpoint.safetensors"
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(SecateurError, match=r"cannot be read .*; delete it to start this stage anew"):
        next(train(toy(), CrossEntropy(), folder=tmp_path))


def test_a_checkpoint_of_another_objective_is_refused(tmp_path: Path) -> None:
    list(train(toy(), CrossEntropy(), folder=tmp_path / "run"))
    with pytest.raises(SecateurError, match=r"another network or method .*; give the same options or another --out"):
        next(train(toy(), contrastive(tmp_path), folder=tmp_path / "run"))


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
    list(train(model, CrossEntropy()))
    going = train(deepcopy(again), CrossEntropy(), folder=tmp_path)
    for _ in range(7):
        next(going)
    del going
    list(train(again, CrossEntropy(), folder=tmp_path))
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], tensor)


def test_between_epochs_somebody_else_has_a_turn_before_the_checkpoint(tmp_path: Path) -> None:
    def between(optimizer: torch.optim.Optimizer) -> None:
        assert all("momentum_buffer" in optimizer.state[parameter] for parameter in model.parameters())
        turns.append(model.get_parameter("head.bias").detach().clone())
        with torch.no_grad():
            model.get_parameter("head.bias").fill_(len(turns))

    model, turns = toy(), list[Tensor]()
    list(finetune(model, "head", coloured(), CrossEntropy(), RECIPE, tmp_path, between))
    assert len(turns) == RECIPE.epochs
    assert model.get_parameter("head.bias").tolist() == [2.0] * CLASSES
    again = toy()
    assert not list(finetune(again, "head", coloured(), CrossEntropy(), RECIPE, tmp_path, between))
    assert_same(again.state_dict(), model.state_dict())
