"""The checkpoint of a training: weights and optimizer state at one step, as safetensors."""

import json
from pathlib import Path

import torch
from torch import Tensor

from ...errors import SecateurError
from ...files import ensure_folder
from ...models.evaluate import device_of
from ...models.files.tensors import read_tensors, write_tensors
from .trainer import Trainer

CHECKPOINT = "checkpoint.safetensors"
SCRATCH = "delete it to train from scratch"


def save_checkpoint(trainer: Trainer, folder: Path) -> None:
    """Write the trainer's state to ``folder``, whole or not at all."""
    tensors = {f"state.{name}": _plain(tensor) for name, tensor in trainer.state.state_dict().items()}
    for number, state in trainer.optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{number}.{name}": _plain(tensor) for name, tensor in state.items()}
    recipe = json.dumps(trainer.recipe.stored())
    metadata = {"done": str(trainer.done), "seconds": str(trainer.seconds), "recipe": recipe}
    if trainer.scale != 1:
        metadata["scale"] = str(trainer.scale)
    if trainer.epoch_loss:  # within an epoch
        metadata["epoch_loss"] = str(trainer.epoch_loss)
    write_tensors(tensors, ensure_folder(folder) / CHECKPOINT, metadata)


def load_checkpoint(trainer: Trainer, folder: Path) -> None:
    """Bring the trainer to where the checkpoint in ``folder`` ended; without one it stays as it is.

    Raises SecateurError where the checkpoint is broken, or of another recipe, network or method.
    """
    path = folder / CHECKPOINT
    if not path.exists():
        return
    metadata, tensors = read_tensors(path, SCRATCH, str(device_of(trainer.model)))
    if lost := {"done", "seconds", "recipe"} - metadata.keys():
        raise SecateurError(f"{path} is damaged (it lacks {min(lost)!r}); {SCRATCH}")
    if json.loads(metadata["recipe"]) != trainer.recipe.stored():
        raise SecateurError(
            f"{path} is of another recipe ({metadata['recipe']}); pass the same options or a different --out"
        )
    try:
        trainer.state.load_state_dict({n[6:]: t for n, t in tensors.items() if n.startswith("state.")})
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise SecateurError(
            f"{path} is of another network or method ({reason}); pass the same options or a different --out"
        ) from error
    trainer.optimizer.load_state_dict({**trainer.optimizer.state_dict(), "state": _optimizer_state(tensors)})
    trainer.done, trainer.seconds = int(metadata["done"]), float(metadata["seconds"])
    trainer.scale = float(metadata.get("scale", 1))
    unknown = "nan" if trainer.done % trainer.steps_per_epoch else "0"  # an earlier version did not keep it
    trainer.epoch_loss = float(metadata.get("epoch_loss", unknown))


def _optimizer_state(tensors: dict[str, Tensor]) -> dict[int, dict[str, Tensor]]:
    """The optimizer's tensors, by number of the parameter and by name."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimizer."):
            _, number, key = name.split(".")
            state.setdefault(int(number), {})[key] = tensor
    return state


def _plain(tensor: Tensor) -> Tensor:
    """A copy as safetensors takes it: in the usual layout, with its own memory (modules may share a layer)."""
    return tensor.detach().clone(memory_format=torch.contiguous_format)
