"""A checkpoint of torchvision's training script and folders of JPEGs, to ONNX, by the commands of the README.

The first half makes what a reader has: train/, val/ and test/ with a folder a class, and a file that ``train.py`` of
torchvision's references would have written. The second half types the commands.

    python examples/torchvision_folder.py [--quick]
"""

import argparse
import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from chain import asked_for_quick
from fit import fit
from scenes import scenes
from torch import Tensor, nn
from torch.utils.data import TensorDataset
from torchvision.models import get_model
from torchvision.transforms.v2.functional import normalize, to_pil_image

import secateur as sc

CLASSES, SIDE = 10, 32
FOLDERS = {"train": "train", "holdout": "val", "test": "test"}  # a split of the scenes → a folder
NORMALISED = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]  # as torchvision's presets


def pictures(split: str, count: int) -> tuple[Tensor, Tensor]:
    """Photographs with one digit in them, and which it is. Shape: → (N, 3, 32, 32) float in 0..1, (N,)"""
    drawn = scenes(split, count, most=1)
    return nn.functional.avg_pool2d(drawn.images, 2), drawn.boxes[:, 0, 0].long()


def lay_out(root: Path, count: int) -> None:
    """ROOT/train/CLASS/, ROOT/val/CLASS/ and ROOT/test/CLASS/ with JPEGs."""
    for split, folder in FOLDERS.items():
        images, digits = pictures(split, count if split == "train" else count // 4)
        for number, (image, digit) in enumerate(zip(images, digits.tolist(), strict=True)):
            place = root / folder / f"digit {digit}"
            place.mkdir(parents=True, exist_ok=True)
            to_pil_image(image.clamp(0, 1)).save(place / f"{number}.jpg", quality=95)


def train(network: str, path: Path, count: int, epochs: int) -> None:
    """Train, and save what torchvision's references save: weights, optimizer, epoch and the arguments."""
    images, digits = pictures("train", count)
    torch.manual_seed(0)
    model = get_model(network, num_classes=CLASSES)
    fit(model, TensorDataset(normalize(images, *NORMALISED), digits), sc.Classification().loss, epochs)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 30)
    state = {"model": model, "optimizer": optimizer, "lr_scheduler": schedule}
    arguments = argparse.Namespace(model=network, epochs=epochs, batch_size=32, lr=0.003, data_path="pictures")
    torch.save({**{name: each.state_dict() for name, each in state.items()}, "epoch": epochs, "args": arguments}, path)


def typed(line: str) -> str:
    """What a command writes to standard output."""
    print(f"$ secateur {line}", flush=True)
    return subprocess.run(
        [sys.executable, "-m", "secateur", *shlex.split(line)], check=True, stdout=subprocess.PIPE, text=True
    ).stdout


def main(quick: bool = False) -> dict[str, Any]:
    """Make the pictures and the checkpoint, and go from ``inspect`` to ONNX. Returns figures of ``run``."""
    network, count, epochs = ("shufflenet_v2_x0_5", 240, 1) if quick else ("resnet18", 4000, 10)
    how = "--trials 1 --epochs 1 --views 0 --method kd --anyway" if quick else "--epochs 10"
    lay_out(Path("pictures"), count)
    train(network, Path("checkpoint.pth"), count, epochs)
    named = f"torchvision:{network}"
    print(typed(f"inspect {named} --classes {CLASSES} --input 3x{SIDE}x{SIDE} --flops 50% --picture groups.svg"))
    options = f"--weights checkpoint.pth --data imagefolder:pictures --flops 50% --out slim {how}"
    found = json.loads(typed(f"run {named} {options} --json"))
    for line in ("report slim", "export slim --format onnx"):
        print(typed(line))
    return found  # type: ignore[no-any-return]


if __name__ == "__main__":
    outcome = main(quick=asked_for_quick(__doc__))
    print(json.dumps(outcome["test"], indent=1))
