"""From a network and a teacher to a smaller network: widths are learnt while it is distilled."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from torch import nn

from .ask import Ask
from .data import Data
from .models.batches import Split
from .models.errors import SecateurError
from .models.precision import in_bfloat16
from .models.supernet import Supernet
from .pipeline import settled, silent
from .search.widths import Progress
from .transfer.blockwise import block_after_block
from .transfer.blockwise import blockwise as blocks_together
from .transfer.finetune import Recipe
from .transfer.finetune import finetune as train
from .transfer.kddp import kddp as kddp_learner
from .transfer.learner import Learner, strides
from .transfer.pdd import pdd as pdd_learner

WIDTHS = "widths.jsonl"  # of the first half: a line an epoch


def pdd(
    net: Supernet,
    data: Data,
    *,
    teacher: nn.Module | None = None,
    budget: str | None = None,
    params: str | None = None,
    epochs: int = Ask.epochs,
    seed: int = 0,
    precision: str = Ask.precision,
    folder: Path | None = None,
    progress: Progress = silent,
) -> nn.Module:
    """Pruning during distillation: masks over channels for half of the ``epochs``, then fine-tuning.

    ``budget`` (of MACs) and ``params`` are an extension; without, the width is what training leaves. Here as in the
    other methods the dense network teaches where no ``teacher`` is given, a ``folder`` is taken up where it ended,
    student and teacher run in ``precision``, a word of ``secateur.models.precision``, and a plain network comes back
    that carries its architecture.
    """
    limits = net.budget(budget, params=params) if budget or params else None
    learner = pdd_learner(net, teacher or net.model, budget=limits, seed=seed)
    recipes = halves(net, epochs, seed, precision, f"pdd {budget} {params}")
    return _whole(net, data, learner, "pdd", recipes, folder, progress)


def kddp(
    net: Supernet,
    data: Data,
    *,
    teacher: nn.Module | None = None,
    strength: float | None = None,
    neurons: str = Ask.neurons,
    epochs: int = Ask.epochs,
    seed: int = 0,
    precision: str = Ask.precision,
    folder: Path | None = None,
    progress: Progress = silent,
) -> nn.Module:
    """Distillation with dynamic pruning: idle neurons go during half of the ``epochs``, then distillation goes on."""
    recipes = halves(net, epochs, seed, precision, f"kddp {strength} {neurons}")
    learner = kddp_of(net, teacher, data.train, recipes[0], strength, neurons)
    return _whole(net, data, learner, "kddp", recipes, folder, progress)


def blockwise(
    net: Supernet,
    data: Data,
    *,
    teacher: nn.Module | None = None,
    strength: float | None = None,
    strengths: Mapping[str, float] | None = None,
    constraint: str = Ask.constraint,
    blocks: str = Ask.blocks,
    epochs: int = Ask.epochs,
    seed: int = 0,
    precision: str = Ask.precision,
    folder: Path | None = None,
    progress: Progress = silent,
) -> nn.Module:
    """Block-wise structure learning: batch-norm scales have a price for half of the ``epochs``, then distillation.

    ``strengths``: what the strength is multiplied by in the groups of these names, with wildcards.
    """
    recipes = halves(net, epochs, seed, precision, f"blockwise {strength} {strengths} {constraint} {blocks}")
    learner = blockwise_of(net, teacher, data.train, recipes[0], strength, strengths or {}, constraint, blocks)
    return _whole(net, data, learner, "blockwise", recipes, folder, progress)


def kddp_of(
    net: Supernet, teacher: nn.Module | None, split: Split, recipe: Recipe, strength: float | None, neurons: str
) -> Learner:
    """The learner of ``kddp`` under a recipe; its usual strength where none is given."""
    given = {} if strength is None else {"strength": strength}
    return kddp_learner(net, teacher or net.model, reach=float(strides(recipe, split).sum()), neurons=neurons, **given)


def blockwise_of(
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
    far = strides(recipe, split)
    if blocks == "together":
        reach = float(far.sum())
        return blocks_together(net, teacher or net.model, reach=reach, blocks=strengths, constraint=constraint, **given)
    if blocks != "in-turn":
        raise SecateurError(f"blocks {blocks!r} are neither together nor in-turn; give one of these")
    if teacher is not None:
        raise SecateurError("blocks in turn compare features with those of the dense network; leave --teacher out")
    return block_after_block(net, strides=far, blocks=strengths, constraint=constraint, **given)


def halves(net: Supernet, epochs: int, seed: int, precision: str, about: str = "") -> tuple[Recipe, Recipe]:
    """The recipes of finding widths and of training with them, together so many epochs."""
    if epochs < 2:
        raise SecateurError(f"epochs={epochs}: half of them find the widths; give 2 or more")
    recipe = Recipe(seed=seed, bfloat16=in_bfloat16(precision, net), about=about)
    return replace(recipe, epochs=epochs // 2), replace(recipe, epochs=epochs - epochs // 2)


def learn(learner: Learner, split: Split, recipe: Recipe, folder: Path | None, progress: Progress) -> None:
    """The first half; the widths after each epoch go to a file in ``folder``."""
    hooks = learner.between, learner.price
    for step in train(learner.model, None, split, learner.objective, recipe, folder, *hooks):
        if folder and step.step % split.steps(recipe.batch) == 0:
            _note(folder, step.epoch + 1, learner)
        progress(f"learning widths: {learner.form}", step.step, step.steps)
    if folder and recipe.epochs not in _lines(folder):  # a kill fell between the last checkpoint and its line
        _note(folder, recipe.epochs, learner)


def noted(folder: Path) -> list[list[int]]:
    """The widths after each epoch, once each, whatever was done twice after a kill."""
    return list(_lines(folder).values())


def finish(
    net: Supernet, data: Data, learner: Learner, method: str, recipe: Recipe, folder: Path | None, progress: Progress
) -> nn.Module:
    """The second half: the slimmed network is trained, recalibrated, and given its architecture."""
    kept, model = learner.kept(), learner.slimmed()
    for step in train(model, net.head, data.train, learner.then, recipe, folder):
        progress(f"fine-tuning ({method})", step.step, step.steps)
    training = {"method": method, "epochs": recipe.epochs, "seed": recipe.seed, "precision": recipe.precision}
    training |= {"form": learner.form, "gates_open": []}
    return settled(model, net, kept, data, training)


def _whole(
    net: Supernet,
    data: Data,
    learner: Learner,
    method: str,
    recipes: tuple[Recipe, Recipe],
    folder: Path | None,
    progress: Progress,
) -> nn.Module:
    first, second = recipes
    data = data.suited(net.model)
    learn(learner, data.train, first, folder / "learn" if folder else None, progress)
    return finish(net, data, learner, method, second, folder / "transfer" if folder else None, progress)


def _note(folder: Path, epoch: int, learner: Learner) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / WIDTHS).open("a") as file:
        file.write(json.dumps({"epoch": epoch, "widths": learner.kept().widths.tolist()}) + "\n")


def _lines(folder: Path) -> dict[int, list[int]]:
    path = folder / WIDTHS
    lines = map(json.loads, path.read_text().splitlines() if path.exists() else ())
    return {line["epoch"]: line["widths"] for line in lines}
