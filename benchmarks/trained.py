"""The networks that were trained on CIFAR-10 (JPEG copy), as supernets."""

from pathlib import Path
from typing import Any

import torch

import secateur as sc
from secateur.data.dataset import Data

WEIGHTS = Path(__file__).parent.parent.parent / "shared" / "weights"  # beside this project
FROZEN = {"all": [], "inner": ["conv1", "layer2.0.conv2", "layer3.0.conv2"]}  # inner: residual stages stay whole


def trained(
    name: str, data: Data, weights: Path = WEIGHTS, *, device: torch.device | str = "cpu", **wishes: Any
) -> sc.Supernet:
    """The dense network with its weights; ``wishes`` go to ``Supernet.of``."""
    dense = sc.constructor(name, len(data.classes))()
    sc.load_weights(dense, weights / f"{name}-cifar10-jpeg.safetensors")
    return sc.Supernet.of(dense.eval().to(device), data.example, **wishes)
