"""A training in progress, and the one step that it repeats."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ...errors import SecateurError
from ...models.evaluate import device_of, embed
from ...models.inputs import each_tensor, flattened, moved
from ...models.module_outputs import outputs_of
from ...models.outputs import OutputForm
from ...models.split import Split, Views
from ...models.tasks.classification import Classification
from ...seeds import derive_seed
from ..objectives.base import Objective, StudentBatch
from .distributed import World, world
from .recipe import Recipe, learning_rate, make_optimizer


@dataclass(frozen=True)
class Hooks:
    """What a method adds to the training loop.

    Args:
        weight_penalty: A term on the weights themselves, added once a step. It is not clipped, since no batch
            can make it steep. Shape: → ()
        on_step_end: Called after every step with the number of steps done.
        on_epoch_end: Called after every epoch; it may prune the model in place, and the optimizer's state with it.
    """

    weight_penalty: Callable[[], Tensor] | None = None
    on_step_end: Callable[[int], None] | None = None
    on_epoch_end: Callable[[torch.optim.Optimizer], None] | None = None


NO_HOOKS = Hooks()


class Trainer:
    """A model, the objective that trains it, and their optimizer, with how far training is.

    ``done`` of ``steps`` steps took ``seconds``; ``epoch_loss`` adds up the losses of this epoch. ``state`` is what a
    checkpoint holds, beside the optimizer's state.
    Processes of torchrun share each batch and add up their gradients: their step is that of one process with as many
    micro-batches. Buffers (statistics of batch norm, gate counts, memories) are each process's own; those of rank 0
    are kept.

    Raises SecateurError where the processes are too many for the recipe's batch, or the hooks prune a model that is
    averaged or shared.
    """

    def __init__(
        self,
        model: nn.Module,
        split: Split,
        objective: Objective,
        recipe: Recipe,
        *,
        head: str | None = None,
        hooks: Hooks = NO_HOOKS,
    ) -> None:
        self.model, self.split, self.objective, self.recipe = model, split, objective, recipe
        self.head, self.hooks, self.world = head, hooks, world()
        _require_compatible(recipe, hooks, self.world)
        objective.module.to(device_of(model))
        self.ema = _ema_of(model, recipe)
        self.state = nn.ModuleDict(
            {"model": model, "objective": objective.module, "average": self.ema or nn.Module()}  # names in checkpoints
        )
        self.parameters = [*model.parameters(), *objective.module.parameters()]
        self.optimizer = make_optimizer(self.parameters, recipe)
        self.steps_per_epoch = split.steps(recipe.batch)
        self.steps = recipe.epochs * self.steps_per_epoch
        self.done, self.seconds, self.epoch_loss = 0, 0.0, 0.0
        self.scale = 1.0  # of the learning rate: less after a loss that was not finite

    @property
    def epoch(self) -> int:
        """The number of the epoch that the next step belongs to."""
        return self.done // self.steps_per_epoch

    @property
    def learning_rate(self) -> float:
        """The learning rate of the next step."""
        return self.scale * learning_rate(self.recipe, self.done, self.steps, self.steps_per_epoch)

    @property
    def fixed_views(self) -> tuple[int, ...]:
        """The numbers of the fixed views that this epoch shows; empty where each view is new."""
        count, views = self.recipe.fixed_views, self.objective.views
        return tuple((self.epoch * views + view) % count for view in range(views)) if count else ()

    def rest_of_epoch(self) -> Iterator[Views]:
        """The batches of this epoch that are left, or this process's part of them; (seed, epoch, step) decide all."""
        seed, part = derive_seed(self.recipe.seed, self.epoch), (self.world.rank, self.world.world_size)
        start, fixed = self.done % self.steps_per_epoch, self.fixed_views
        return self.split.epoch(self.recipe.batch, seed, self.objective.views, start, fixed=fixed, part=part)

    def train_step(self, batch: Views) -> Tensor:
        """Take one step of the optimizer. Returns the loss, a mean over the images of all processes. Shape: → ()"""
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate
        self.optimizer.zero_grad(set_to_none=True)
        loss = torch.zeros((), device=device_of(self.model))
        for number, micro_batch in enumerate(self._micro_batches(batch), self.recipe.micro_batches * self.world.rank):
            with _dropout_seed(derive_seed(self.recipe.seed, self.recipe.epochs + self.done, number)):
                part = self.objective(self._forward(micro_batch)) * self._share(micro_batch)
            part.backward()  # type: ignore[no-untyped-call]
            loss += part.detach()
        self.world.all_reduce([loss, *(p.grad for p in self.parameters if p.grad is not None)])
        if self.recipe.clip is not None:
            nn.utils.clip_grad_norm_(self.parameters, self.recipe.clip)
        if self.hooks.weight_penalty:
            self.hooks.weight_penalty().backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        if self.ema:
            self.ema.update_parameters(self.model)
        self.done += 1
        return loss

    @property
    def result(self) -> nn.Module:
        """The network as it would be if training ended here: the moving average, where there is one."""
        return self.ema.module if self.ema else self.model

    def finish(self) -> None:
        """Put the moving average of the weights into the model, where there is one."""
        if self.ema:
            self.model.load_state_dict(self.ema.module.state_dict())

    def _micro_batches(self, batch: Views) -> Iterator[Views]:
        if self.recipe.micro_batches == 1:
            yield batch
            return
        for places in torch.arange(len(batch.indices)).tensor_split(self.recipe.micro_batches):
            yield _at(places, batch, per_view=self.split.labels is None)

    def _share(self, batch: Views) -> float:
        """The share of a step's images that these are; a split may hold fewer than a batch."""
        return len(batch.indices) / min(self.recipe.batch, len(self.split))

    def _forward(self, batch: Views) -> StudentBatch:
        """What the model makes of a batch, in float32."""
        device, count = device_of(self.model), len(batch.indices)
        images, labels = moved(batch.images, device), moved(batch.labels, device)
        targets = labels if self.split.labels is None else None
        if targets is not None:
            labels = each_tensor(lambda x: x[0], targets)
        autocast = torch.autocast(device.type, torch.bfloat16, enabled=self.recipe.bfloat16)
        with autocast, outputs_of(self.model, self.objective.features) as features:
            output, embeddings = embed(self.model, self.head, flattened(images))
        form = None if isinstance(self.split.task, Classification) else OutputForm.of(output, len(embeddings))
        rows = output if form is None else form.pack(output)
        logits, embeddings = (each.float().reshape(-1, count, each[0].numel()) for each in (rows, embeddings))
        how = self.fixed_views, self.recipe.bfloat16, self.split.task
        return StudentBatch(
            logits, embeddings, labels, batch.indices, images, *how, form, targets, features, self.epoch
        )


def _at(places: Tensor, batch: Views, per_view: bool) -> Views:
    """The samples at these places of a batch."""
    images = each_tensor(lambda x: x[:, places], batch.images)
    labels = each_tensor(lambda x: x[:, places] if per_view else x[places], batch.labels)
    return Views(images, labels, batch.indices[places])


@contextmanager
def _dropout_seed(seed: int) -> Iterator[None]:
    """Inside, torch's random state comes from ``seed``; after, it is what it was before."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


def _ema_of(model: nn.Module, recipe: Recipe) -> AveragedModel | None:
    if not recipe.ema_decay:
        return None
    return AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(recipe.ema_decay))  # type: ignore[no-untyped-call]


def _require_compatible(recipe: Recipe, hooks: Hooks, team: World) -> None:
    if recipe.batch < 2 * recipe.micro_batches * team.world_size:
        raise SecateurError(
            f"batch={recipe.batch} for {team.world_size} processes of {recipe.micro_batches} micro-batches; "
            "pass at least 2 images for each micro-batch"
        )
    if hooks.on_epoch_end and (recipe.ema_decay or team.world_size > 1):
        raise SecateurError(
            f"ema_decay={recipe.ema_decay}, {team.world_size} processes: a network that is pruned while it is trained "
            "needs ema_decay=0 and a single process"
        )
