"""Fine-tuning: one plain training loop that can be stopped and taken up at any step."""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from math import cos, pi
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from ..models.batches import Split
from ..models.errors import SecateurError
from ..models.evaluate import device_of, embed
from .objectives import Objective, Seen


@dataclass(frozen=True)
class Recipe:
    """How to train: SGD with Nesterov momentum 0.9, learning rate warmed up, then cosine to 0.

    ``warmup`` in epochs; ``keep_every``: steps between checkpoints, what a kill can cost at most.
    """

    epochs: int = 10
    batch: int = 128
    learning_rate: float = 0.05
    weight_decay: float = 5e-4
    warmup: float = 0.2
    seed: int = 0
    keep_every: int = 50

    def __post_init__(self) -> None:
        if min(self.epochs, self.keep_every) < 1 or self.batch < 2 or not self.learning_rate > 0:
            raise SecateurError(
                f"epochs={self.epochs}, batch={self.batch}, learning_rate={self.learning_rate}: "
                "give at least 1 epoch, 2 images a batch and a positive learning rate"
            )


@dataclass(frozen=True)
class Step:
    """One step of training: its number of how many, the loss, and the seconds so far."""

    step: int
    steps: int
    epoch: int
    loss: float
    learning_rate: float
    seconds: float


def finetune(
    model: nn.Module,
    head: str | None,
    split: Split,
    objective: Objective,
    recipe: Recipe,
    folder: Path | None = None,
    between: Callable[[torch.optim.Optimizer], None] | None = None,
) -> Iterator[Step]:
    """Train ``model`` in place, yielding every step; a checkpoint in ``folder`` is taken up where it ended.

    ``between`` is called at the end of every epoch, before the checkpoint: it may narrow the model, and what the
    optimiser keeps of it.

    The order and augmentation of images come from (seed, epoch, step), so a run that was stopped goes on to
    the very same weights. Batch norm is left with the running statistics of training.
    """
    device = device_of(model)
    objective.module.to(device)
    trained = nn.ModuleDict({"model": model, "objective": objective.module})
    optimizer = torch.optim.SGD(
        trained.parameters(),
        lr=recipe.learning_rate,
        momentum=0.9,
        nesterov=True,
        weight_decay=recipe.weight_decay,
    )
    per_epoch = split.steps(recipe.batch)
    steps = recipe.epochs * per_epoch
    done, before = _resume(trained, optimizer, folder, recipe)
    start = time.perf_counter() - before
    model.train()
    while done < steps:
        epoch, offset = divmod(done, per_epoch)
        for images, labels, indices in split.epoch(recipe.batch, _mixed(recipe.seed, epoch), objective.views, offset):
            for group in optimizer.param_groups:
                group["lr"] = rate = learning_rate(recipe, done, steps, per_epoch)
            with torch.random.fork_rng():
                torch.manual_seed(_mixed(recipe.seed, recipe.epochs + done))  # for dropout
                loss = objective(_see(model, head, images.to(device), labels.to(device), indices))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            done += 1
            value = float(loss.detach())
            del loss  # with its graph, which holds the shapes that parameters had
            if between and done % per_epoch == 0:
                between(optimizer)
            step = Step(done, steps, epoch, value, rate, time.perf_counter() - start)
            if folder and (done % recipe.keep_every == 0 or done == steps):
                _keep(trained, optimizer, folder, recipe, step)
            yield step


def learning_rate(recipe: Recipe, step: int, steps: int, per_epoch: int) -> float:
    """Linear over the warm-up, then a half cosine that reaches 0 after the last step."""
    warm = min(recipe.warmup * per_epoch, steps / 2)
    if step < warm:
        return recipe.learning_rate * (step + 1) / (warm + 1)
    return recipe.learning_rate * 0.5 * (1 + cos(pi * (step - warm) / (steps - warm)))


def _see(model: nn.Module, head: str | None, images: Tensor, labels: Tensor, indices: Tensor) -> Seen:
    views, batch = images.shape[:2]
    logits, embeddings = embed(model, head, images.flatten(0, 1))
    return Seen(logits.reshape(views, batch, -1), embeddings.reshape(views, batch, -1), labels, indices, images)


def _keep(trained: nn.Module, optimizer: torch.optim.SGD, folder: Path, recipe: Recipe, step: Step) -> None:
    """Weights and momentum as safetensors, whole or not at all, and a line of metrics.jsonl."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {f"state.{name}": _plain(tensor) for name, tensor in trained.state_dict().items()}
    for name, parameter in trained.named_parameters():
        if (momentum := optimizer.state[parameter].get("momentum_buffer")) is not None:
            tensors[f"momentum.{name}"] = _plain(momentum)
    about = {"done": str(step.step), "seconds": str(step.seconds), "recipe": json.dumps(asdict(recipe))}
    save_file(tensors, folder / "checkpoint.partial", about)
    (folder / "checkpoint.partial").replace(folder / "checkpoint.safetensors")
    with (folder / "metrics.jsonl").open("a") as file:
        file.write(json.dumps(asdict(step)) + "\n")


def _resume(trained: nn.Module, optimizer: torch.optim.SGD, folder: Path | None, recipe: Recipe) -> tuple[int, float]:
    """Load the checkpoint, if there is one. Returns the steps done and the seconds they took."""
    path = folder / "checkpoint.safetensors" if folder else None
    if path is None or not path.exists():
        return 0, 0.0
    try:
        with safe_open(path, "pt", device=str(device_of(trained))) as file:
            about, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise SecateurError(f"{path} cannot be read ({error}); delete it to start this stage anew") from error
    if json.loads(about["recipe"]) != asdict(recipe):
        raise SecateurError(f"{path} is of another recipe ({about['recipe']}); give the same options or another --out")
    try:
        trained.load_state_dict({n[6:]: t for n, t in tensors.items() if n.startswith("state.")})
    except RuntimeError as error:
        what = " ".join(str(error).split())[:200]
        raise SecateurError(
            f"{path} is of another network or method ({what}); give the same options or another --out"
        ) from error
    for name, parameter in trained.named_parameters():
        if f"momentum.{name}" in tensors:
            optimizer.state[parameter]["momentum_buffer"] = tensors[f"momentum.{name}"]
    return int(about["done"]), float(about["seconds"])


def _plain(tensor: Tensor) -> Tensor:
    """A copy as safetensors takes it: in the usual layout, memory of its own (modules may share a layer)."""
    return tensor.detach().clone(memory_format=torch.contiguous_format)


def _mixed(seed: int, stream: int) -> int:
    return int(np.random.SeedSequence([seed, stream]).generate_state(1)[0])
