"""What the tests of importance scores score: a network with all kinds of members, images, and the peer's answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
import torch_pruning as tp
from torch import Tensor, nn

from secateur.data.images import Images
from secateur.models.split import Batch, Views
from secateur.models.supernet import Supernet
from secateur.models.tasks.classification import Classification
from secateur.models.tasks.task import Task
from secateur.models.tracing.atoms import FloatArray

MADE = {tp.prune_conv_out_channels, tp.prune_linear_out_channels, tp.prune_depthwise_conv_out_channels}
READ = {tp.prune_conv_in_channels, tp.prune_linear_in_channels}


class Residual(nn.Module):
    """A residual block, a strided layer, and a linear head that reads four places of every channel."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.inner, self.inner_norm = nn.Conv2d(8, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.back, self.back_norm = nn.Conv2d(6, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.down, self.down_norm = nn.Conv2d(8, 5, 3, stride=2, padding=1), nn.BatchNorm2d(5)
        self.drop = nn.Dropout()
        self.head = nn.Linear(5 * 4, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.stem(x)))
        x = F.relu(x + self.back_norm(self.back(F.relu(self.inner_norm(self.inner(x))))))
        x = F.max_pool2d(F.relu(self.down_norm(self.down(x))), 2)
        return torch.as_tensor(self.head(self.drop(x.flatten(1))))


READERS = {"stem": ["inner", "down"], "inner": ["back"], "down": ["head"]}  # who reads each group's channels
MAKERS = {"stem": ["stem", "back"], "inner": ["inner"], "down": ["down"]}


def residual(seed: int = 0) -> Supernet:
    torch.manual_seed(seed)
    model = Residual().eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
            nn.init.normal_(torch.as_tensor(module.running_mean))
    return Supernet.of(model, torch.zeros(1, 3, 8, 8))


def noise(count: int, seed: int = 0) -> Images:
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(256, (count, 3, 8, 8), dtype=torch.uint8, generator=generator)
    return Images(lambda chunks: (pixels[chunk] for chunk in chunks), torch.arange(count) % 4, (3, 8, 8))


@dataclass
class Given:
    """A split of these very images, which notes how many of them were read, and in how many batches."""

    images: Tensor
    labels: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.int64))
    read: list[int] = field(default_factory=list)
    task: Task = field(default_factory=Classification)
    content: str = ""

    def __len__(self) -> int:
        return len(self.images)

    def batches(self, size: int, limit: int | None = None, view: int | None = None) -> Iterator[Batch]:
        for images in torch.split(self.images[:limit], size):
            self.read.append(len(images))
            yield Batch(images, torch.arange(len(images)) % 4, torch.arange(len(images)))

    def steps(self, size: int) -> int:
        raise NotImplementedError

    def epoch(self, size: int, seed: int, views: int = 1, start: int = 0, **other: object) -> Iterator[Views]:
        raise NotImplementedError


def drawn(count: int, shape: tuple[int, ...] = (3, 8, 8), seed: int = 0) -> Given:
    return Given(torch.randn(count, *shape, generator=torch.Generator().manual_seed(seed)))


def weight(net: Supernet, layer: str) -> Tensor:
    return net.model.get_parameter(f"{layer}.weight").detach().double()


def by_torch_pruning(
    net: Supernet, layer: str, importance: tp.importance.Importance, handlers: set[Callable[..., object]]
) -> FloatArray:
    """What torch-pruning scores the channels that a layer makes, at those members alone that ``handlers`` prune."""
    module, example = net.model.get_submodule(layer), torch.randn(1, 3, 8, 8)
    graph = tp.DependencyGraph().build_dependency(net.model, example_inputs=example)
    width = len(torch.as_tensor(module.weight))
    group = graph.get_pruning_group(module, tp.prune_conv_out_channels, idxs=list(range(width)))
    group.items[:] = [item for item in group.items if item.dep.handler in handlers]
    scores: FloatArray = importance(group).double().numpy()
    return scores
