"""From a network and a teacher to a smaller network: widths are learnt while it is distilled."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from torch import nn

from ...errors import SecateurError
from ...models.precision import in_bfloat16
from ...models.split import Split
from ...models.supernet import Supernet
from ...progress import Progress
from ..training.train import Recipe
from ..training.train import train as train
from .blockwise import blocks_in_turn_learner
from .blockwise import blockwise_learner as blocks_together
from .kddp import kddp_learner as kddp_learner
from .learner import Learner, step_sizes

WIDTHS = "widths.jsonl"  # of the first half: a line an epoch


def kddp_learner_for(
    net: Supernet, teacher: nn.Module | None, split: Split, recipe: Recipe, strength: float | None, neurons: str
) -> Learner:
    """The learner of ``kddp`` under a recipe; its usual strength where none is given."""
    given = {} if strength is None else {"strength": strength}
    return kddp_learner(
        net, teacher or net.model, reach=float(step_sizes(recipe, split).sum()), neurons=neurons, **given
    )


def blockwise_learner_for(
    net: Supernet,
    teacher: nn.Module | None,
    split: Split,
    recipe: Recipe,
    strength: float | None,
    strengths: Mapping[str, float],
    constraint: str,
    blocks: str,
) -> Learner:
    """The learner of ``blockwise`` under a recipe."""
    given = {} if strength is None else {"strength": strength}
    far = step_sizes(recipe, split)
    if blocks == "together":
        reach = float(far.sum())
        return blocks_together(net, teacher or net.model, reach=reach, blocks=strengths, constraint=constraint, **given)
    if blocks != "in-turn":
        raise SecateurError(f"blocks {blocks!r} are neither together nor in-turn; give one of these")
    if teacher is not None:
        raise SecateurError("blocks in turn compare features with those of the dense network; leave --teacher out")
    return blocks_in_turn_learner(net, strides=far, blocks=strengths, constraint=constraint, **given)


def split_recipe(net: Supernet, epochs: int, seed: int, precision: str, about: str = "") -> tuple[Recipe, Recipe]:
    """The recipes of finding widths and of training with them, together so many epochs."""
    if epochs < 2:
        raise SecateurError(f"epochs={epochs}: half of them find the widths; give 2 or more")
    recipe = Recipe(seed=seed, bfloat16=in_bfloat16(precision, net), identity=about)
    return replace(recipe, epochs=epochs // 2), replace(recipe, epochs=epochs - epochs // 2)


def learn_widths(learner: Learner, split: Split, recipe: Recipe, folder: Path | None, progress: Progress) -> None:
    """The first half; the widths after each epoch go to a file in ``folder``."""
    hooks = learner.on_epoch_end, learner.weight_penalty
    for step in train(learner.model, None, split, learner.objective, recipe, folder, *hooks):
        if folder and step.step % split.steps(recipe.batch) == 0:
            _note(folder, step.epoch + 1, learner)
        progress(f"learning widths: {learner.description}", step.step, step.steps)
    if folder and recipe.epochs not in _lines(folder):  # a kill fell between the last checkpoint and its line
        _note(folder, recipe.epochs, learner)


def widths_by_epoch(folder: Path) -> list[list[int]]:
    """The widths after each epoch, once each, whatever was done twice after a kill."""
    return list(_lines(folder).values())


def _note(folder: Path, epoch: int, learner: Learner) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / WIDTHS).open("a") as file:
        file.write(json.dumps({"epoch": epoch, "widths": learner.kept().widths.tolist()}) + "\n")


def _lines(folder: Path) -> dict[int, list[int]]:
    path = folder / WIDTHS
    lines = map(json.loads, path.read_text().splitlines() if path.exists() else ())
    return {line["epoch"]: line["widths"] for line in lines}
