"""From a network and a teacher to a smaller network: widths are learnt while it is distilled."""

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec

from ...errors import SecateurError
from ...files import RESTORE, append_json, ensure_folder, read_json_lines
from ...models.precision import in_bfloat16
from ...models.split import Split
from ...models.supernet import Supernet
from ...progress import Update
from ..training.recipe import Recipe
from ..training.train import train
from .learner import Learner

WIDTHS = "widths.jsonl"  # of the first half: a line an epoch


@dataclass(frozen=True)
class Training:
    """How long, from which seed and in which precision a student is trained, and where its files go.

    A part of the epochs finds the widths, the others train the network that has them.

    Args:
        epochs: Passes over the training images, 2 or more, both parts together.
        seed: Decides everything that is random.
        precision: A name of ``PRECISIONS``.
        folder: Where checkpoints and metrics go, to be resumed; None: nothing is written.
        identity: What else decides the result; see ``Recipe``.
        recipe: Optimizer, batch and schedule.
        learning: The share of the epochs that finds the widths.
    """

    epochs: int
    seed: int = 0
    precision: str = "auto"
    folder: Path | None = None
    identity: Mapping[str, object] = field(default_factory=dict, hash=False)
    recipe: Recipe = field(default_factory=Recipe)
    learning: float = 0.5

    def __post_init__(self) -> None:
        if self.epochs < 2:
            raise SecateurError(f"epochs={self.epochs}: some find the widths and the rest train them; pass 2 or more")

    def recipes(self, net: Supernet) -> tuple[Recipe, Recipe]:
        """The recipes of finding widths and of training with them."""
        how: dict[str, Any] = {"seed": self.seed, "identity": self.identity}
        recipe = replace(self.recipe, bfloat16=in_bfloat16(self.precision, net), **how)
        first = max(int(self.epochs * self.learning), 1)
        return replace(recipe, epochs=first), replace(recipe, epochs=self.epochs - first)

    @property
    def learn_folder(self) -> Path | None:
        """Where the first half keeps its files."""
        return self.folder / "learn" if self.folder else None

    @property
    def transfer_folder(self) -> Path | None:
        """Where the second half keeps its files."""
        return self.folder / "transfer" if self.folder else None


def learn_widths(
    learner: Learner, split: Split, recipe: Recipe, *, folder: Path | None = None, holdout: Split | None = None
) -> Generator[Update, None, None]:
    """The first half, step by step; the widths after each epoch go to a file in ``folder``."""
    model, objective, what = learner.model, learner.objective, f"learning widths: {learner.description}"
    for step in train(model, split, objective, recipe, folder=folder, hooks=learner.hooks, holdout=holdout):
        if folder and step.step % split.steps(recipe.batch) == 0:
            _append_widths(folder, step.epoch + 1, learner)
        yield Update(what, step.step, step.steps, step.ended and replace(step.ended, training=what))
    if folder and recipe.epochs not in _widths(folder):  # a kill fell between the last checkpoint and its line
        _append_widths(folder, recipe.epochs, learner)


def widths_by_epoch(folder: Path) -> list[list[int]]:
    """The widths after each epoch, once each, even if a kill made an epoch run twice."""
    return list(_widths(folder).values())


def _append_widths(folder: Path, epoch: int, learner: Learner) -> None:
    append_json(ensure_folder(folder) / WIDTHS, {"epoch": epoch, "widths": learner.subnetwork().widths.tolist()})


def _widths(folder: Path) -> dict[int, list[int]]:
    path = folder / WIDTHS
    try:
        lines = msgspec.convert(read_json_lines(path), list[_Line])
    except msgspec.ValidationError as error:
        raise SecateurError(f"{path} is damaged ({error}); {RESTORE}") from error
    return {line.epoch: line.widths for line in lines}


class _Line(msgspec.Struct, frozen=True):
    """The widths of all groups after an epoch."""

    epoch: int
    widths: list[int]
