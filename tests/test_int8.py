"""A slim network as ONNX goes through onnxruntime's own static quantisation, and answers the same."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from onnxruntime import InferenceSession
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static
from sklearn.datasets import load_digits
from torch import Tensor, nn

import secateur as sc

NAME = "images"  # of the input


class Some(CalibrationDataReader):  # type: ignore[misc]  # untyped
    """Batches to calibrate on."""

    def __init__(self, images: Tensor) -> None:
        self.left: Iterator[Tensor] = iter(torch.split(images, 100))

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(({NAME: batch.numpy()} for batch in self.left), None)


def network() -> nn.Sequential:
    return nn.Sequential(
        *(nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU()),
        *(nn.Conv2d(16, 32, 3, 2, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10)),
    )


def fitted(images: Tensor, labels: Tensor) -> nn.Module:
    torch.manual_seed(0)
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    for batch in range(150):
        chosen = torch.randperm(len(labels), generator=torch.Generator().manual_seed(batch))[:64]
        optimizer.zero_grad()
        F.cross_entropy(model(images[chosen]), labels[chosen]).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return model.eval()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_int8_answers_as_float_does(tmp_path: Path) -> None:
    digits = load_digits()
    images, labels = torch.tensor(digits.images / 16).float()[:, None], torch.tensor(digits.target)
    net = sc.Supernet.of(fitted(images[:1200], labels[:1200]), images[:1])
    sc.save(sc.slim(net, sc.Subnetwork(tuple(tuple(range(0, group.width, 2)) for group in net.groups))), tmp_path)
    path, small = tmp_path / "slim.onnx", tmp_path / "int8.onnx"
    sc.export(tmp_path, "onnx", path, base=network)
    quantize_static(path, small, Some(images[:500]), quant_format=QuantFormat.QDQ)

    of_float, of_int8 = (InferenceSession(each).run(None, {NAME: images[1200:].numpy()})[0] for each in (path, small))
    assert np.abs(of_int8 - of_float).max() < 0.2 * np.abs(of_float).max()
    assert (of_int8.argmax(1) == of_float.argmax(1)).mean() > 0.95
    assert small.stat().st_size < path.stat().st_size
