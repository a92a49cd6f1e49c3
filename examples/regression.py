"""Regression: a grey picture of one channel goes in, the x and y of the digit in it come out.

python examples/regression.py [--quick]
"""

import torch
from chain import Chain, asked_for_quick, halved
from fit import fit
from scenes import SIZE, scenes
from torch import nn
from torch.utils.data import TensorDataset

import secateur as sc


def network(width: int) -> nn.Sequential:
    """Four convolutions of stride 2 and two linear layers, for inputs (1, 64, 64) and two outputs."""
    layers: list[nn.Module] = []
    for reads, makes in ((1, width), (width, 2 * width), (2 * width, 4 * width), (4 * width, 4 * width)):
        layers += [nn.Conv2d(reads, makes, 3, 2, 1, bias=False), nn.BatchNorm2d(makes), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(64 * width, 64), nn.ReLU(), nn.Linear(64, 2))


def places(split: str, count: int) -> TensorDataset:
    """Pairs of a grey picture and the centre of its digit, in shares of the picture's side."""
    drawn = scenes(split, count, most=1)
    return TensorDataset(drawn.images.mean(1, keepdim=True), drawn.boxes[:, 0, 1:3] / SIZE)


def main(quick: bool = False) -> Chain:
    """Train, halve, tune."""
    images, epochs, width = (48, 1, 4) if quick else (4000, 20, 16)
    task = sc.Regression()
    parts = places("train", images), places("holdout", images // 4), places("test", images // 4)
    data = sc.Data.of(*parts, task=task, name="digits in grey photographs")
    torch.manual_seed(0)
    model = fit(network(width), parts[0], task.loss, epochs)
    chain = halved(model, data, epochs=max(1, epochs // 3), quick=quick)
    print(chain)
    return chain


if __name__ == "__main__":
    main(quick=asked_for_quick(__doc__))
