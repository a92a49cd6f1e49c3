"""The checkpoint of a training: weights and optimiser at one step, as safetensors."""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from ...errors import SecateurError
from ...models.evaluate import device_of


def save_checkpoint(
    kept: nn.Module,
    optimizer: torch.optim.Optimizer,
    folder: Path,
    recipe: Mapping[str, object],
    done: int,
    seconds: float,
) -> None:
    """Write weights and the optimiser's state to ``folder``, whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {f"state.{name}": _plain(tensor) for name, tensor in kept.state_dict().items()}
    for number, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{number}.{name}": _plain(tensor) for name, tensor in state.items()}
    about = {"done": str(done), "seconds": str(seconds), "recipe": json.dumps(recipe)}
    save_file(tensors, folder / "checkpoint.partial", about)
    (folder / "checkpoint.partial").replace(folder / "checkpoint.safetensors")


def load_checkpoint(
    kept: nn.Module, optimizer: torch.optim.Optimizer, folder: Path | None, recipe: Mapping[str, object]
) -> tuple[int, float]:
    """Load the checkpoint, if there is one. Returns the steps done and the seconds they took."""
    path = folder / "checkpoint.safetensors" if folder else None
    if path is None or not path.exists():
        return 0, 0.0
    try:
        with safe_open(path, "pt", device=str(device_of(kept))) as file:
            about, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise SecateurError(f"{path} cannot be read ({error}); delete it to start this stage anew") from error
    if json.loads(about["recipe"]) != recipe:
        raise SecateurError(f"{path} is of another recipe ({about['recipe']}); give the same options or another --out")
    try:
        kept.load_state_dict({n[6:]: t for n, t in tensors.items() if n.startswith("state.")})
    except RuntimeError as error:
        what = " ".join(str(error).split())[:200]
        raise SecateurError(
            f"{path} is of another network or method ({what}); give the same options or another --out"
        ) from error
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        kind, number, key = (*name.split("."), "", "")[:3]
        if kind == "optimizer":
            state.setdefault(int(number), {})[key] = tensor
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
    return int(about["done"]), float(about["seconds"])


def _plain(tensor: Tensor) -> Tensor:
    """A copy as safetensors takes it: in the usual layout, memory of its own (modules may share a layer)."""
    return tensor.detach().clone(memory_format=torch.contiguous_format)
