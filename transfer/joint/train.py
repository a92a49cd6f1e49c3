"""From a network and a teacher to a smaller network: widths are learnt while it is distilled."""

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec
from torch.optim import Optimizer

from ...errors import SecateurError
from ...files import RESTORE, append_json, ensure_folder, read_json_lines
from ...models.precision import in_bfloat16
from ...models.split import Split
from ...models.supernet import Supernet
from ...progress import Update
from ..training.recipe import Recipe
from ..training.train import train
from ..training.trainer import Hooks
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
    objective, what = learner.objective, f"learning widths: {learner.description}"
    hooks = _Notes(learner, folder, split.steps(recipe.batch)).hooks if folder else learner.hooks
    for step in train(learner.model, split, objective, recipe, folder=folder, hooks=hooks, holdout=holdout):
        yield Update(what, step.step, step.steps, step.ended and replace(step.ended, training=what))
    if folder:
        _complete(folder, learner, recipe.epochs)


class _Notes:
    """The hooks of a method, which note the widths after each epoch.

    That is before the checkpoint, so that a kill leaves a line too many and never one too few.
    """

    def __init__(self, learner: Learner, folder: Path, steps: int) -> None:
        self._learner, self._folder, self._steps, self._done = learner, folder, steps, 0

    @property
    def hooks(self) -> Hooks:
        """Those of the method, and this."""
        after_epoch = self._on_epoch_end if self._learner.hooks.on_epoch_end else None
        return replace(self._learner.hooks, on_step_end=self._on_step_end, on_epoch_end=after_epoch)

    def _on_step_end(self, done: int) -> None:
        self._done = done
        if self._learner.hooks.on_step_end:
            self._learner.hooks.on_step_end(done)
        if not self._learner.hooks.on_epoch_end and done % self._steps == 0:
            self._note()

    def _on_epoch_end(self, optimizer: Optimizer) -> None:
        assert self._learner.hooks.on_epoch_end
        self._learner.hooks.on_epoch_end(optimizer)
        self._note()

    def _note(self) -> None:
        _append(self._folder, self._done // self._steps, self._learner)


def _complete(folder: Path, learner: Learner, epochs: int) -> None:
    """Note the widths after the last epoch where they are lost. Raises SecateurError where those of others are."""
    lost = {*range(1, epochs + 1)} - _widths(folder).keys()
    if others := lost - {epochs}:
        raise SecateurError(
            f"{folder / WIDTHS} is damaged (epoch {min(others)} is missing); delete {folder} to learn the widths again"
        )
    if lost:
        _append(folder, epochs, learner)


def _append(folder: Path, epoch: int, learner: Learner) -> None:
    append_json(ensure_folder(folder) / WIDTHS, {"epoch": epoch, "widths": learner.subnetwork().widths.tolist()})


def widths_by_epoch(folder: Path) -> list[list[int]]:
    """The widths after each epoch, once each, even if a kill made an epoch run twice."""
    return list(_widths(folder).values())


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
