"""Multi-label: which digits are in a picture; none, one or several of ten labels hold at once.

python examples/multi_label.py [--quick]
"""

import torch
from chain import Chain, asked_for_quick, halved
from fit import fit
from scenes import scenes
from torch.utils.data import TensorDataset

import secateur as sc


def labels(split: str, count: int) -> TensorDataset:
    """Pairs of a picture and ten numbers, 1 for a digit that is in it."""
    drawn = scenes(split, count)
    marks = torch.zeros(count, 10)
    marks.scatter_add_(1, drawn.boxes[:, :, 0].long(), drawn.boxes[:, :, 4])
    return TensorDataset(drawn.images, marks.clamp(max=1))


def main(quick: bool = False) -> Chain:
    """Train, halve, tune."""
    images, epochs = (48, 1) if quick else (2000, 10)
    task = sc.MultiLabel()
    parts = labels("train", images), labels("holdout", images // 4), labels("test", images // 4)
    data = sc.Data.of(*parts, task=task, name="digits in photographs")
    torch.manual_seed(0)
    model = fit(sc.constructor("resnet20", 10)(), parts[0], task.loss, epochs)
    chain = halved(model, data, epochs=max(1, epochs // 3), quick=quick)
    print(chain)
    return chain


if __name__ == "__main__":
    main(quick=asked_for_quick(__doc__))
