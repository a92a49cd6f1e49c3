"""Ten lines: a trained network and a FLOPs budget go in, a smaller network comes out.

python examples/first_search.py [--quick]
"""

import torch
from chain import asked_for_quick
from fit import fit
from torch.utils.data import TensorDataset

import secateur as sc


def main(quick: bool = False) -> float:
    """Search ResNet-20 at 40% of its MACs on scikit-learn's digits."""
    data = sc.open_data("digits", (3, 16, 16))
    torch.manual_seed(0)
    images = torch.cat([batch for batch, *_ in data.train.batches(100)])  # or a network that you have trained
    labels = torch.cat([labels for _, labels, _ in data.train.batches(100)])
    model = fit(sc.constructor("resnet20", 10)(), TensorDataset(images, labels), data.task.loss, 1 if quick else 10)

    net = sc.Supernet.of(model, data.example)  # follows every channel; the model is not changed
    print(net.profile("40%"))
    found = sc.find(net, data, "40%", trials=1 if quick else 100, views=1)
    student = sc.finetune(net, found.best(), found.bank, data, epochs=1 if quick else 10, views=1)
    sc.save(student, "slim")  # architecture.json and weights.safetensors
    again = sc.load("slim", base=sc.constructor("resnet20", 10))
    print(f"test accuracy: {sc.evaluate(model, data.test)} dense, {sc.evaluate(again, data.test)} slim")
    return net.macs(found.best()) / net.macs(net.dense)


if __name__ == "__main__":
    main(quick=asked_for_quick(__doc__))
