"""An architecture that was found once is built again: on other data, and on a deeper network.

python examples/reuse_widths.py [--quick]
"""

from pathlib import Path

import torch
from chain import asked_for_quick
from several_budgets import trained
from torch import nn

import secateur as sc
from secateur.deploy.reuse import reuse


def main(quick: bool = False) -> int:
    """Search ResNet-20 on digits; build its widths for 100 classes, and its shares of each block on ResNet-56."""
    data = sc.open_data("digits", (3, 16, 16))
    net = sc.Supernet.of(trained(data, 1 if quick else 10), data.example)
    found = sc.find(net, data, "50%", trials=1 if quick else 100, views=0)
    sc.save(sc.slim(net, found.best(), provenance={"model": "resnet20"}, classes=data.classes), "found")

    other = reuse(Path("found"), "resnet20", Path("other-data"), classes=100, shape=(3, 32, 32))
    deeper = reuse(Path("found"), "resnet56", Path("deeper"), classes=10, shape=(3, 32, 32))
    print(f"on 100 classes: {other.summary}", f"on ResNet-56: {deeper.summary}", sep="\n")
    fresh: nn.Module = sc.load("other-data", base=sc.constructor("resnet20", 100))  # train it as any network
    return int(fresh(torch.zeros(1, 3, 32, 32)).shape[1])


if __name__ == "__main__":
    main(quick=asked_for_quick(__doc__))
