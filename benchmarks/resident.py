"""Trainings whose images lie on the device and whose whole step is one CUDA graph.

The images, their order, crops and learning rates are those of ``train``: only where they are made differs. On a GPU a
step replays a graph: gather, crop, normalise, forward, loss, backward, clip, optimizer. Elsewhere the same lines run
one by one.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from secateur.data.images import Images, sample_crops
from secateur.data.order import shuffled, split_into
from secateur.models.evaluate import device_of, embed
from secateur.models.module_outputs import outputs_of
from secateur.models.split import Split
from secateur.seeds import derive_generator, derive_seed
from secateur.transfer.objectives.base import Objective, StudentBatch
from secateur.transfer.training.recipe import MOMENTUM, Recipe, learning_rate

WARM_UP = 3  # steps before a graph is captured


@dataclass(frozen=True, eq=False)
class Resident:
    """The training images on a device, with their border, and what they are normalised by.

    Shape: padded (N, H + 2p, W + 2p, 3) uint8; labels (N,); mean, std (3,)
    """

    images: Images
    padded: Tensor
    labels: Tensor
    mean: Tensor
    std: Tensor

    @classmethod
    def of(cls, images: Split, device: torch.device) -> "Resident":
        """Read all images once."""
        if not isinstance(images, Images):
            raise TypeError(f"{images!r} are no images")
        pixels = images.at(torch.arange(len(images))).to(device)
        padded = F.pad(pixels, [images.pad] * 4).permute(0, 2, 3, 1).contiguous()
        mean, std = (torch.tensor(each, device=device) for each in images.normalisation)
        return cls(images, padded, images.labels.to(device), mean, std)

    def epoch(self, recipe: Recipe, number: int) -> Tensor:
        """What ``Images.epoch`` draws: index, row, column, mirrored. Shape: → (steps, B, 4) int64"""
        images, seed = self.images, derive_seed(recipe.seed, number)
        order = split_into(shuffled(len(images), seed), recipe.batch)[: images.steps(recipe.batch)]
        streams = (derive_generator(seed, 1 + step) for step in range(len(order)))
        crops = [sample_crops(len(b), images.pad, images.flip, each) for b, each in zip(order, streams, strict=True)]
        return torch.cat([torch.stack(order)[..., None], torch.stack(crops)], -1).to(self.padded.device)

    def shown(self, draws: Tensor) -> Tensor:
        """The normalised crops. Shape: draws (B, 4) → (B, 3, H, W) float32, channels last in memory"""
        index, top, left, mirrored = draws.unbind(1)
        height, width = self.images.shape[1:]
        rows, columns = (torch.arange(n, device=draws.device) for n in (height, width))
        across = torch.where(mirrored[:, None].bool(), columns.flip(0), columns) + left[:, None]
        chosen = self.padded[index[:, None, None], (rows + top[:, None])[:, :, None], across[:, None, :]]
        return ((chosen.float() / 255 - self.mean) / self.std).permute(0, 3, 1, 2)


class ResidentTraining:
    """One training, a ``step`` at a time; ``losses`` add up on the device."""

    def __init__(
        self,
        model: nn.Module,
        resident: Resident,
        objective: Objective,
        recipe: Recipe,
        *,
        head: str | None,
        graphed: bool,
    ) -> None:
        device = device_of(model)
        self.model, self.resident, self.objective, self.recipe, self.head = model, resident, objective, recipe, head
        self.rate = torch.zeros((), device=device)
        self.optimizer = torch.optim.SGD(
            [*model.parameters(), *objective.module.parameters()],
            self.rate if graphed else recipe.learning_rate,
            momentum=MOMENTUM,
            nesterov=True,
            weight_decay=recipe.weight_decay,
            fused=graphed or None,
        )
        self.per_epoch = resident.images.steps(recipe.batch)
        steps = recipe.epochs * self.per_epoch
        self.rates = [learning_rate(recipe, step, steps, self.per_epoch) for step in range(steps)]
        self.done, self.losses = 0, torch.zeros((), device=device)
        self.draws = torch.zeros(recipe.batch, 4, dtype=torch.int64, device=device)  # a graph reads them here
        self.order = self.draws[:0]  # those of the epoch
        self.stream: AbstractContextManager[object] = nullcontext()
        self._run: Callable[[], None] = self._step
        model.train()
        if graphed:
            self._capture()

    def step(self) -> None:
        """The next step, on this training's own stream; the first of an epoch draws it."""
        epoch, place = divmod(self.done, self.per_epoch)
        if place == 0:
            self.order = self.resident.epoch(self.recipe, epoch)
        with self.stream:
            self.draws.copy_(self.order[place])
            self._set_rate(self.rates[self.done])
            self._run()
        self.done += 1

    def _set_rate(self, rate: float) -> None:
        if isinstance(self.optimizer.param_groups[0]["lr"], Tensor):
            self.rate.fill_(rate)
        else:
            self.optimizer.param_groups[0]["lr"] = rate

    def _step(self) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.objective(self._forward())
        loss.backward()  # type: ignore[no-untyped-call]
        if self.recipe.clip is not None:
            nn.utils.clip_grad_norm_(self.optimizer.param_groups[0]["params"], self.recipe.clip)
        self.optimizer.step()
        self.losses += loss.detach()

    def _forward(self) -> StudentBatch:
        images, index = self.resident.shown(self.draws), self.draws[:, 0]
        bfloat16 = self.recipe.bfloat16
        autocast = torch.autocast(images.device.type, torch.bfloat16, enabled=bfloat16, cache_enabled=False)
        with autocast, outputs_of(self.model, self.objective.features) as features:
            logits, embeddings = (each.float()[None] for each in embed(self.model, self.head, images))
        labels = self.resident.labels[index]
        return StudentBatch(logits, embeddings, labels, index, images[None], bfloat16=bfloat16, features=features)

    def _capture(self) -> None:
        """Record the step; what it did to the weights before is undone."""
        before = {name: tensor.clone() for name, tensor in self.model.state_dict().items()}
        self.stream = torch.cuda.stream(torch.cuda.Stream())  # type: ignore[no-untyped-call]
        torch.cuda.synchronize()
        with self.stream:
            for _ in range(WARM_UP):
                self._step()
        torch.cuda.synchronize()
        self.optimizer.zero_grad(set_to_none=True)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._step()
        self.model.load_state_dict(before)
        for state in self.optimizer.state.values():
            state["momentum_buffer"].zero_()
        self.losses.zero_()
        self._run = graph.replay


def train_together(trainings: Sequence[ResidentTraining]) -> None:
    """Trainings of one recipe side by side, step by step, to their end; on a GPU each on its own stream."""
    for _ in range(trainings[0].done, len(trainings[0].rates)):
        for each in trainings:
            each.step()
    if torch.cuda.is_available():
        torch.cuda.synchronize()


@torch.no_grad()
def difference(one: nn.Module, other: nn.Module) -> float:
    """The largest distance of two networks' parameters, each as a share of its length."""
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    return max(float((a - b).norm() / b.norm().clamp(min=1e-12)) for a, b in pairs)


@torch.no_grad()
def apart(one: nn.Module, other: nn.Module, start: nn.Module) -> float:
    """How far two networks ended from each other, as a share of the way of the second from where both began.

    >>> start, one, other = (nn.Linear(1, 1, bias=False) for _ in range(3))
    >>> for model, weight in ((start, 1.0), (one, 3.5), (other, 3.0)):
    ...     _ = nn.init.constant_(model.weight, weight)
    >>> apart(one, other, start)
    0.25
    """
    here, there, before = (nn.utils.parameters_to_vector(model.parameters()) for model in (one, other, start))
    return float((here - there).norm() / (there - before).norm())
