"""What the tests of the learners share: a pupil, its teacher, and easy images."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from trainings import CLASSES, IMAGES, coloured

from secateur.models.split import Split
from secateur.models.supernet import Supernet
from secateur.transfer.joint.learner import Learner
from secateur.transfer.objectives.base import Objective, StudentBatch
from secateur.transfer.training.recipe import Recipe
from secateur.transfer.training.train import train

RECIPE = Recipe(epochs=2, batch=10, learning_rate=0.1, checkpoint_every=5)  # 12 steps
__all__ = ["CLASSES", "IMAGES", "RECIPE", "Pupil", "coloured", "funnel", "learn", "looked", "pupil", "random_norms"]


class Pupil(nn.Module):
    """Two convolutions of which the second is added to, then a hidden linear layer of 16 neurons."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8)
        self.conv, self.norm2 = nn.Conv2d(8, 10, 3, padding=1), nn.BatchNorm2d(10)
        self.back, self.norm3 = nn.Conv2d(10, 8, 1), nn.BatchNorm2d(8)
        self.hidden, self.head = nn.Linear(8, 16), nn.Linear(16, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.stem(x)))
        x = F.relu(x + self.norm3(self.back(F.relu(self.norm2(self.conv(x))))))
        logits: Tensor = self.head(F.relu(self.hidden(x.mean((2, 3)))))
        return logits


def pupil(seed: int = 0) -> Supernet:
    torch.manual_seed(seed)
    return Supernet.of(Pupil().eval(), torch.zeros(1, 3, 8, 8))


def funnel() -> Supernet:
    """An early block on many pixels and a late wide one."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for reads, writes, stride in ((3, 16, 1), (16, 16, 1), (16, 48, 4), (48, 48, 1)):
        layers += [nn.Conv2d(reads, writes, 3, stride, 1, bias=False), nn.BatchNorm2d(writes), nn.ReLU()]
    model = nn.Sequential(
        nn.Sequential(*layers[:6]), nn.Sequential(*layers[6:]), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(48, 4)
    )
    for norm in (module for module in model.modules() if isinstance(module, nn.BatchNorm2d)):
        norm.weight.data.uniform_(0.2, 1)
    return Supernet.of(model.eval(), torch.zeros(1, 3, 8, 8))


def random_norms(model: nn.Module, seed: int = 0) -> None:
    """Batch norm as training could have left it."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight.data, module.running_var):
                torch.as_tensor(tensor).uniform_(0.5, 1.5, generator=generator)
            for tensor in (module.bias.data, module.running_mean):
                torch.as_tensor(tensor).normal_(0, 0.3, generator=generator)


def looked(logits: Tensor, seed: int = 0) -> StudentBatch:
    """A batch of which the student said ``logits``. Shape: (B, C)"""
    generator = torch.Generator().manual_seed(seed)
    images, labels = torch.randn(1, len(logits), 3, 8, 8, generator=generator), torch.arange(len(logits)) % CLASSES
    return StudentBatch(logits[None], logits[None], labels, torch.arange(len(logits)), images)


def learn(learner: Learner, split: Split | None = None, recipe: Recipe = RECIPE) -> list[float]:
    """The losses of the first half."""
    objective: Objective = learner.objective
    steps = train(learner.model, split or coloured(), objective, recipe, hooks=learner.hooks)
    return [step.loss for step in steps]
