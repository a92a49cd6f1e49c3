"""The training loop: every step of every epoch, with checkpoints around it."""

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from torch import nn

from ...files import append_json, ensure_folder
from ...models.split import Split
from ..objectives.base import Objective
from .checkpoint import load_checkpoint, save_checkpoint
from .divergence import recovering, require_finite
from .recipe import Recipe
from .trainer import NO_HOOKS, Hooks, Trainer

METRICS = "metrics.jsonl"  # a line a checkpoint


@dataclass(frozen=True)
class Step:
    """One step of training: its number, from 1, of how many, the loss, and the seconds so far."""

    step: int
    steps: int
    epoch: int
    loss: float
    learning_rate: float
    seconds: float


def train(
    model: nn.Module,
    split: Split,
    objective: Objective,
    recipe: Recipe,
    *,
    head: str | None = None,
    folder: Path | None = None,
    hooks: Hooks = NO_HOOKS,
) -> Iterator[Step]:
    """Every step of a training of ``model``, in place; nothing happens until it is iterated.

    The order and augmentation of images come from (seed, epoch, step), so a training that was stopped resumes to
    the very same weights. Batch norm is left with the running statistics of training.

    Args:
        model: The network; its parameters and buffers change.
        split: The training images.
        objective: The loss to minimise; what it trains itself is trained along.
        recipe: Optimizer, schedule and precision.
        head: The name of the last layer, whose input is the embedding; None: the logits stand for it.
        folder: Where checkpoints and metrics.jsonl go; a checkpoint that is there is resumed.
        hooks: What a method adds to the loop.

    Raises:
        SecateurError: The checkpoint is broken, or of another recipe, network or method; the recipe does not
            fit the processes or the hooks; or the loss is not finite, also at a tenth of the learning rate.

    >>> import torch
    >>> from secateur.data.images import Images
    >>> from secateur.transfer.objectives.base import CrossEntropy
    >>> pixels = torch.zeros(8, 3, 4, 4, dtype=torch.uint8)
    >>> images = Images(lambda chunks: (pixels[chunk] for chunk in chunks), torch.arange(8) % 2, (3, 4, 4))
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(48, 2))
    >>> [step.step for step in train(model, images, CrossEntropy(), Recipe(epochs=2, batch=4))]
    [1, 2, 3, 4]
    """
    trainer = Trainer(model, split, objective, recipe, head=head, hooks=hooks)
    if folder:
        load_checkpoint(trainer, folder)
    trainer.world.broadcast(trainer.state.state_dict().values())

    def steps() -> Iterator[Step]:
        return _checkpointed(_steps(trainer), trainer, folder) if folder else _steps(trainer)

    yield from recovering(trainer, folder, steps)
    trainer.finish()


def _steps(trainer: Trainer) -> Iterator[Step]:
    """Take all steps that are left, one whenever the next is asked for, and run the hooks after each."""
    hooks, start = trainer.hooks, time.perf_counter() - trainer.seconds
    trainer.model.train()
    while trainer.done < trainer.steps:
        epoch = trainer.epoch
        for batch in trainer.rest_of_epoch():
            rate = trainer.learning_rate
            loss = trainer.train_step(batch)
            if hooks.on_step_end:
                hooks.on_step_end(trainer.done)
            if hooks.on_epoch_end and trainer.done % trainer.steps_per_epoch == 0:
                hooks.on_epoch_end(trainer.optimizer)
            trainer.seconds = time.perf_counter() - start
            require_finite(value := float(loss))
            yield Step(trainer.done, trainer.steps, epoch, value, rate, trainer.seconds)


def _checkpointed(steps: Iterator[Step], trainer: Trainer, folder: Path) -> Iterator[Step]:
    """The same steps; every so often, and after the last one, a checkpoint and a line of metrics are written first."""
    for step in steps:
        due = step.step % trainer.recipe.checkpoint_every == 0 or step.step == step.steps
        if due and trainer.world.first:
            append_json(ensure_folder(folder) / METRICS, asdict(step))  # first: a kill repeats a line, and loses none
            save_checkpoint(trainer, folder)
        yield step
