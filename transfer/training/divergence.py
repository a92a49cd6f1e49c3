"""A training whose loss is no number goes back to where it was sound, once and slower, and then stops."""

from collections.abc import Callable, Iterator
from math import isfinite
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from ...errors import SecateurError
from .checkpoint import CHECKPOINT, load_checkpoint
from .metrics import forget_after
from .trainer import Trainer

SLOWER = 0.1  # of the learning rate, from the step to which a training went back
Each = TypeVar("Each")
State = dict[str, Tensor]


class Diverged(Exception):  # noqa: N818  (not an error yet)
    """The loss of a step is not finite."""


def require_finite(loss: float) -> None:
    """Raise Diverged where a loss is not finite: the weights are lost from there on."""
    if not isfinite(loss):
        raise Diverged


def recovering(trainer: Trainer, folder: Path | None, steps: Callable[[], Iterator[Each]]) -> Iterator[Each]:
    """The steps of a training; where the loss is not finite, from the last checkpoint again at a lower learning rate.

    Without a checkpoint from the start again. Raises SecateurError where that fails as well, and at once where the
    method prunes the network on the way, which has no way back.
    """
    begun = _copied(trainer) if trainer.done == 0 and trainer.hooks.on_epoch_end is None else None
    try:
        yield from steps()
        return
    except Diverged:
        if trainer.scale != 1 or trainer.hooks.on_epoch_end:
            raise _lost(trainer) from None
    _go_back(trainer, folder, begun)
    try:
        yield from steps()
    except Diverged:
        raise _lost(trainer) from None


def _go_back(trainer: Trainer, folder: Path | None, begun: State | None) -> None:
    """To the last checkpoint, else to the start."""
    trainer.optimizer.state.clear()
    if folder and (folder / CHECKPOINT).exists():
        load_checkpoint(trainer, folder)
    elif begun:
        trainer.state.load_state_dict(begun)
        trainer.done, trainer.epoch_loss = 0, 0.0
    if folder and trainer.world.first:
        forget_after(folder, trainer.done)
    trainer.scale = SLOWER


def _copied(trainer: Trainer) -> State:
    with torch.no_grad():
        return {name: tensor.clone() for name, tensor in trainer.state.state_dict().items()}


def _lost(trainer: Trainer) -> SecateurError:
    again = f", again at {SLOWER:g} of the learning rate" if trainer.scale != 1 else ""
    return SecateurError(
        f"the loss is not finite at step {trainer.done} of {trainer.steps}{again}; look for NaN in weights and data, "
        "or pass a lower learning rate or another method"
    )
