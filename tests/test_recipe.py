"""The recipe: which ones are refused, and the schedule of the learning rate."""

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secateur.errors import SecateurError
from secateur.transfer.training.recipe import Recipe, learning_rate


@pytest.mark.parametrize(
    "wrong",
    [{"epochs": 0}, {"batch": 1}, {"micro_batches": 65}, {"learning_rate": 0.0}, {"learning_rate": -0.1}],
    ids=str,
)
def test_a_recipe_that_cannot_train_is_refused(wrong: dict[str, float]) -> None:
    name, value = next(iter(wrong.items()))
    with pytest.raises(SecateurError, match=rf"{name}={value}.* pass at least 1 epoch"):
        Recipe(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [{"optimizer": "lion"}, {"ema_decay": 1.0}], ids=str)
def test_what_no_optimiser_is_and_no_average_can_be_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(SecateurError, match=r"pass sgd or adamw, and a share in \[0, 1\)"):
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


def test_checkpoints_hold_a_recipe_under_the_names_that_they_always_had() -> None:
    recipe = Recipe(
        epochs=3,
        checkpoint_every=7,
        micro_batches=2,
        ema_decay=0.5,
        clip=None,
        identity={"method": "kddp", "strength": 0.0, "neurons": "hidden"},
    )
    assert list(recipe.stored().items()) == [
        ("epochs", 3),
        ("batch", 128),
        ("learning_rate", 0.05),
        ("weight_decay", 5e-4),
        ("warmup", 0.2),
        ("seed", 0),
        ("keep_every", 7),
        ("optimizer", "sgd"),
        ("parts", 2),
        ("clip", None),
        ("average", 0.5),
        ("fixed_views", 0),
        ("bfloat16", False),
        ("about", "kddp 0.0 hidden"),
    ]
    assert Recipe().stored()["about"] == ""


# --- the recipe that fits a training set ---


@given(images=st.integers(1, 999))
def test_the_batch_of_a_small_set_leaves_twenty_steps_or_is_the_least(images: int) -> None:
    batch = Recipe.fitted(images).batch
    assert batch == 8 or images // batch >= 20
    assert batch == 32 or images // (2 * batch) < 20  # the largest such power of two
    assert batch & (batch - 1) == 0


@pytest.mark.parametrize("images", [1000, 1078, 45_000])
def test_a_set_that_is_large_enough_keeps_the_plain_recipe(images: int) -> None:
    assert Recipe.fitted(images) == Recipe()


@pytest.mark.parametrize(("optimizer", "rate", "decay"), [("sgd", 0.05, 5e-4), ("adamw", 0.001, 0.05)])
def test_the_default_learning_rate_follows_optimizer_and_batch(optimizer: str, rate: float, decay: float) -> None:
    recipe = Recipe.fitted(45_000, optimizer=optimizer, batch=64)
    assert (recipe.learning_rate, recipe.weight_decay) == (rate / 2, decay)


def test_what_is_passed_is_taken() -> None:
    recipe = Recipe.fitted(10, batch=6, learning_rate=0.3, weight_decay=0.0, epochs=3)
    assert recipe == Recipe(epochs=3, batch=6, learning_rate=0.3, weight_decay=0.0)


def test_an_unknown_optimizer_is_refused_by_name() -> None:
    with pytest.raises(SecateurError, match="optimizer='lion'"):
        Recipe.fitted(100, optimizer="lion")
