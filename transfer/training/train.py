"""The training loop: every step of every epoch, with checkpoints around it."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from ...models.split import Split
from ...progress import Epoch
from ..objectives.base import Objective
from .checkpoint import load_checkpoint, save_checkpoint
from .divergence import recovering, require_finite
from .metrics import holdout_images, resume_history, scored, write_epoch
from .recipe import Recipe
from .trainer import NO_HOOKS, Hooks, Trainer


@dataclass(frozen=True)
class Step:
    """One step of training: its number, from 1, of how many, the loss, and the seconds so far.

    ``ended``: the epoch that ended with it.
    """

    step: int
    steps: int
    epoch: int
    loss: float
    learning_rate: float
    seconds: float
    ended: Epoch | None = None


def train(
    model: nn.Module,
    split: Split,
    objective: Objective,
    recipe: Recipe,
    *,
    head: str | None = None,
    folder: Path | None = None,
    hooks: Hooks = NO_HOOKS,
    holdout: Split | None = None,
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
        folder: Where checkpoints, metrics.jsonl and metrics.csv go; a checkpoint that is there is resumed.
        hooks: What a method adds to the loop.
        holdout: Images that score each epoch, 1,000 at most; the weights are the same without them.

    Raises:
        SecateurError: The checkpoint is broken, or of another recipe, network or method; the metrics of an epoch
            before it are lost; the recipe does not fit the processes or the hooks; or the loss is not finite, also at
            a tenth of the learning rate.

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
        if trainer.world.first:
            resume_history(folder, trainer.done, trainer.steps_per_epoch)
    trainer.world.broadcast(trainer.state.state_dict().values())

    def steps() -> Iterator[Step]:
        return _checkpointed(_steps(trainer, holdout), trainer, folder) if folder else _steps(trainer, holdout)

    yield from recovering(trainer, folder, steps)
    trainer.finish()


def _steps(trainer: Trainer, holdout: Split | None) -> Iterator[Step]:
    """Take all steps that are left, one whenever the next is asked for, and run the hooks after each."""
    hooks, start = trainer.hooks, time.perf_counter() - trainer.seconds
    trainer.model.train()
    while trainer.done < trainer.steps:
        epoch, ended = trainer.epoch, None
        for batch in trainer.rest_of_epoch():
            rate = trainer.learning_rate
            loss = float(trainer.train_step(batch))
            require_finite(loss)
            if hooks.on_step_end:
                hooks.on_step_end(trainer.done)
            if hooks.on_epoch_end and trainer.done % trainer.steps_per_epoch == 0:
                hooks.on_epoch_end(trainer.optimizer)
            trainer.seconds = time.perf_counter() - start
            trainer.epoch_loss += loss
            if trainer.done % trainer.steps_per_epoch == 0:
                ended = _ended(trainer, rate, holdout)
            yield Step(trainer.done, trainer.steps, epoch, loss, rate, trainer.seconds, ended)


def _ended(trainer: Trainer, rate: float, holdout: Split | None) -> Epoch:
    """The epoch that has just ended; the first process scores it."""
    epoch = Epoch(
        epoch=trainer.epoch,
        epochs=trainer.recipe.epochs,
        step=trainer.done,
        steps=trainer.steps,
        loss=trainer.epoch_loss / trainer.steps_per_epoch,
        learning_rate=rate,
        seconds=trainer.seconds,
    )
    trainer.epoch_loss = 0.0
    if holdout is None or not trainer.world.first:
        return epoch
    images = holdout_images(len(trainer.split))
    return scored(epoch, trainer.result, holdout, images, bfloat16=trainer.recipe.bfloat16)


def _checkpointed(steps: Iterator[Step], trainer: Trainer, folder: Path) -> Iterator[Step]:
    """The same steps; a checkpoint is written first every so often and after the last one, metrics after each epoch."""
    for step in steps:
        if step.ended and trainer.world.first:  # before the checkpoint, which a resumed training begins at
            write_epoch(folder, step.ended)
        due = step.step % trainer.recipe.checkpoint_every == 0 or step.step == step.steps
        if due and trainer.world.first:
            save_checkpoint(trainer, folder)
        yield step
