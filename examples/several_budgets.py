"""One search for a whole range of budgets: its Pareto front answers for each, and can be drawn.

python examples/several_budgets.py [--quick]
"""

import torch
from chain import asked_for_quick
from fit import fit
from torch.utils.data import TensorDataset

import secateur as sc
from secateur.data.dataset import Data


def trained(data: Data, epochs: int) -> torch.nn.Module:
    """A ResNet-20 that has learned these images; load your own in its place."""
    torch.manual_seed(0)
    images, labels = (torch.cat(each) for each in list(zip(*data.train.batches(100), strict=True))[:2])
    return fit(sc.constructor("resnet20", 10)(), TensorDataset(images, labels), data.task.loss, epochs)


def main(quick: bool = False) -> list[float]:
    """Search between 20% and 60% of the MACs."""
    data = sc.open_data("digits", (3, 16, 16))
    net = sc.Supernet.of(trained(data, 1 if quick else 10), data.example)
    found = sc.find(net, data, "20%..60%", trials=1 if quick else 150, views=0)
    shares = []
    for budget in ("25%", "40%", "55%"):
        best = found.best(budget)
        shares.append(net.macs(best) / net.macs(net.dense))
        print(f"{budget}: widths {best.widths.tolist()}, {shares[-1]:.1%} of the MACs")
    for point in found.front:
        print(f"{point.macs / 1e6:.2f}M MACs, holdout loss {point.loss:.4f}")
    return shares


if __name__ == "__main__":
    main(quick=asked_for_quick(__doc__))
