"""One dimension: digits read pixel by pixel are signals of 64 samples, and the network is made of Conv1d.

python examples/one_dimension.py [--quick]
"""

import itertools

import torch
from chain import Chain, asked_for_quick, halved
from fit import fit
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import TensorDataset

import secateur as sc


def network(width: int) -> nn.Sequential:
    """Four Conv1d, for inputs (1, 64), and ten logits."""
    layers: list[nn.Module] = []
    for reads, makes in ((1, width), (width, 2 * width), (2 * width, 4 * width), (4 * width, 4 * width)):
        layers += [nn.Conv1d(reads, makes, 9, 2, 4, bias=False), nn.BatchNorm1d(makes), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(4 * width, 10))


def main(quick: bool = False) -> Chain:
    """Train, halve, tune."""
    epochs, width = (1, 4) if quick else (30, 16)
    digits = load_digits()
    signals, labels = torch.tensor(digits.data / 16).float().unsqueeze(1), torch.tensor(digits.target)
    cuts = (0, 90, 120, 150) if quick else (0, 1100, 1400, 1797)
    parts = [TensorDataset(signals[a:b], labels[a:b]) for a, b in itertools.pairwise(cuts)]
    data = sc.Data.of(*parts, name="digits as signals")
    torch.manual_seed(0)
    model = fit(network(width), parts[0], data.task.loss, epochs)
    chain = halved(model, data, epochs=max(1, epochs // 3), quick=quick)
    print(chain)
    return chain


if __name__ == "__main__":
    main(quick=asked_for_quick(__doc__))
