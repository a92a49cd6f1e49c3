"""Fine-tuning: one plain training loop that can be stopped and taken up at any step."""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from math import cos, pi
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ...errors import SecateurError
from ...models.evaluate import device_of, embed
from ...models.split import Split, Views
from ...seeds import derive_seed
from ..objectives.base import Objective, StudentBatch
from .checkpoint import load_checkpoint, save_checkpoint
from .distributed import world


@dataclass(frozen=True)
class Recipe:
    """How to train: SGD with Nesterov momentum 0.9, or AdamW; learning rate warmed up, then cosine to 0.

    ``batch``: images a step, all processes together, each of which takes its share in ``parts``, one by one, where
    memory is short. ``clip``: the longest that a step's gradient may be; what was pruned or compensated can begin far
    too steep. ``average``: how much of the moving average of the weights outlives a step; with it the average is what
    remains in the end. ``fixed_views``: how many views there are of each image, shown in turn, those that a bank holds;
    0: each is new. ``bfloat16``: the student runs in autocast. ``warmup`` in epochs; ``keep_every``: steps between
    checkpoints, what a kill can cost at most. ``about``: what else makes a training another one, in words.
    """

    epochs: int = 10
    batch: int = 128
    learning_rate: float = 0.05
    weight_decay: float = 5e-4
    warmup: float = 0.2
    seed: int = 0
    checkpoint_every: int = 50
    optimizer: str = "sgd"
    micro_batches: int = 1
    clip: float | None = 5.0
    ema_decay: float = 0.0
    fixed_views: int = 0
    bfloat16: bool = False
    identity: str = ""

    def __post_init__(self) -> None:
        least = min(self.epochs, self.checkpoint_every, self.micro_batches)
        if least < 1 or self.batch < 2 * self.micro_batches or not self.learning_rate > 0:
            raise SecateurError(
                f"epochs={self.epochs}, batch={self.batch}, parts={self.micro_batches}, learning_rate={self.learning_rate}: "
                "give at least 1 epoch, 2 images a batch and part and a positive learning rate"
            )
        if self.optimizer not in ("sgd", "adamw") or not 0 <= self.ema_decay < 1:
            raise SecateurError(
                f"optimizer={self.optimizer!r}, average={self.ema_decay}: give sgd or adamw, and a share in [0, 1)"
            )

    @property
    def precision(self) -> str:
        """What the student runs in, as a word."""
        return "bfloat16" if self.bfloat16 else "float32"


@dataclass(frozen=True)
class Step:
    """One step of training: its number of how many, the loss, and the seconds so far."""

    step: int
    steps: int
    epoch: int
    loss: float
    learning_rate: float
    seconds: float


def train(
    model: nn.Module,
    head: str | None,
    split: Split,
    objective: Objective,
    recipe: Recipe,
    folder: Path | None = None,
    on_epoch_end: Callable[[torch.optim.Optimizer], None] | None = None,
    weight_penalty: Callable[[], Tensor] | None = None,
) -> Iterator[Step]:
    """Train ``model`` in place, yielding every step; a checkpoint in ``folder`` is taken up where it ended.

    ``between`` is called at the end of every epoch, before the checkpoint: it may narrow the model in place, and what
    the optimiser keeps of it. ``price``: a term on the weights themselves, added once a step; no batch makes it steep,
    so it is not clipped.

    The order and augmentation of images come from (seed, epoch, step), so a run that was stopped goes on to
    the very same weights. Batch norm is left with the running statistics of training. Processes of torchrun share
    each batch and add up their gradients: the step is that of one process that takes as many parts. Buffers (batch
    norm's statistics, gate counts, memories) are each process's own; the first one's are kept.
    """
    device, team = device_of(model), world()
    if recipe.batch < 2 * recipe.micro_batches * team.world_size:
        raise SecateurError(
            f"batch={recipe.batch} for {team.world_size} processes; give at least 2 images for each part"
        )
    if on_epoch_end and (recipe.ema_decay or team.world_size > 1):
        raise SecateurError("a network that is narrowed while it is trained is trained by one process, without average")
    objective.module.to(device)
    average = _average(model, recipe)
    kept = nn.ModuleDict({"model": model, "objective": objective.module, "average": average})
    trained = [*model.parameters(), *objective.module.parameters()]
    optimizer = _optimizer(trained, recipe)
    per_epoch = split.steps(recipe.batch)
    steps = recipe.epochs * per_epoch
    done, before = load_checkpoint(kept, optimizer, folder, asdict(recipe))
    team.broadcast(kept.state_dict().values())
    start = time.perf_counter() - before
    model.train()
    while done < steps:
        epoch, offset = divmod(done, per_epoch)
        fixed, part = _in_turn(recipe.fixed_views, epoch, objective.views), (team.rank, team.world_size)
        seed = derive_seed(recipe.seed, epoch)
        for batch in split.epoch(recipe.batch, seed, objective.views, offset, fixed=fixed, part=part):
            for group in optimizer.param_groups:
                group["lr"] = rate = learning_rate(recipe, done, steps, per_epoch)
            optimizer.zero_grad(set_to_none=True)
            loss = torch.zeros((), device=device)
            for number, piece in enumerate(
                _micro_batches(batch, recipe.micro_batches), recipe.micro_batches * team.rank
            ):
                see = partial(_see, model, head, piece, fixed, recipe.bfloat16)
                share = len(piece.labels) / min(recipe.batch, len(split))
                loss += _backward(objective, see, share, derive_seed(recipe.seed, recipe.epochs + done, number))
            team.all_reduce([loss, *(p.grad for p in trained if p.grad is not None)])
            if recipe.clip is not None:
                nn.utils.clip_grad_norm_(trained, recipe.clip)
            if weight_penalty:
                weight_penalty().backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            if isinstance(average, AveragedModel):
                average.update_parameters(model)
            done += 1
            if on_epoch_end and done % per_epoch == 0:
                on_epoch_end(optimizer)
            seconds = time.perf_counter() - start
            step = Step(done, steps, epoch, float(loss), rate, seconds)
            if folder and team.first and (done % recipe.checkpoint_every == 0 or done == steps):
                save_checkpoint(kept, optimizer, folder, asdict(recipe), done, seconds)
                with (folder / "metrics.jsonl").open("a") as file:
                    file.write(json.dumps(asdict(step)) + "\n")
            yield step
    if isinstance(average, AveragedModel):
        model.load_state_dict(average.module.state_dict())


def learning_rate(recipe: Recipe, step: int, steps: int, per_epoch: int) -> float:
    """Linear over the warm-up, then a half cosine that reaches 0 after the last step."""
    warm = min(recipe.warmup * per_epoch, steps / 2)
    if step < warm:
        return recipe.learning_rate * (step + 1) / (warm + 1)
    return recipe.learning_rate * 0.5 * (1 + cos(pi * (step - warm) / (steps - warm)))


def _optimizer(parameters: list[nn.Parameter], recipe: Recipe) -> torch.optim.Optimizer:
    rate, decay = recipe.learning_rate, recipe.weight_decay
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(parameters, rate, weight_decay=decay)
    return torch.optim.SGD(parameters, rate, momentum=0.9, nesterov=True, weight_decay=decay)


def _average(model: nn.Module, recipe: Recipe) -> nn.Module:
    """What holds the moving average of the weights; nothing, where none is asked for."""
    if not recipe.ema_decay:
        return nn.Module()
    return AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(recipe.ema_decay))  # type: ignore[no-untyped-call]


def _in_turn(count: int, epoch: int, views: int) -> tuple[int, ...]:
    """The numbers of the fixed views that an epoch shows."""
    return tuple((epoch * views + view) % count for view in range(views)) if count else ()


def _micro_batches(batch: Views, parts: int) -> Iterator[Views]:
    images, labels, indices = batch
    split = images.tensor_split(parts, 1), labels.tensor_split(parts), indices.tensor_split(parts)
    return map(Views, *split)


def _backward(objective: Objective, see: Callable[[], StudentBatch], share: float, seed: int) -> Tensor:
    """Add the gradients of one piece of a batch; gives its ``share`` of the loss. The seed is for dropout."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        loss = objective(see()) * share
    loss.backward()  # type: ignore[no-untyped-call]
    return loss.detach()


def _see(model: nn.Module, head: str | None, batch: Views, fixed: tuple[int, ...], bfloat16: bool) -> StudentBatch:
    device, (views, count) = device_of(model), batch.images.shape[:2]
    images, labels = batch.images.to(device), batch.labels.to(device)
    with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
        seen = embed(model, head, images.flatten(0, 1))
    logits, embeddings = (each.float().reshape(views, count, -1) for each in seen)
    return StudentBatch(logits, embeddings, labels, batch.indices, images, fixed, bfloat16)
