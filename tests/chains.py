"""A chain of convolutions, the plainest network that a search can work on."""

import torch
from torch import nn

from secateur.models.supernet import Supernet


def plain(widths: tuple[int, ...] = (16, 24, 12, 20), divisor: int = 1) -> Supernet:
    """Convolutions of these widths, each with batch norm, on 8 x 8 pixels; four classes."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for reads, writes in zip((3, *widths), widths, strict=False):
        layers += [nn.Conv2d(reads, writes, 3, padding=1), nn.BatchNorm2d(writes), nn.ReLU()]
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], 4))
    return Supernet.of(model, torch.zeros(1, 3, 8, 8), divisor=divisor)
