"""A network of timm, on a folder of images laid out as ROOT/train/CLASS/, ROOT/val/CLASS/ and ROOT/test/CLASS/.

python examples/timm_folder.py [--quick]

The same on the command line, with a checkpoint of your own:

    secateur run timm:resnet10t --weights checkpoint.pth.tar --data imagefolder:ROOT --flops 50% --out runs/timm
"""

from pathlib import Path
from typing import Any

import timm
import torch
from chain import asked_for_quick, say
from fit import fit
from safetensors.torch import save_model
from scenes import SIZE, scenes
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2
from torchvision.utils import save_image

import secateur as sc

FOLDERS = {"train": "train", "val": "holdout", "test": "test"}


def written(root: Path, images: int) -> Path:
    """A folder of pictures of one digit each, ten classes; your own takes its place."""
    for folder, split in FOLDERS.items():
        found = scenes(split, images if folder == "train" else images // 2, most=1)
        for number, (image, box) in enumerate(zip(found.images, found.boxes[:, 0], strict=True)):
            path = root / folder / f"digit {int(box[0])}" / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            save_image(image, path)
    return root


def main(quick: bool = False) -> float:
    """Train, save the checkpoint, and run: search, bank, fine-tuning, test, speed. Returns the share of MACs kept."""
    name, images, epochs = ("test_resnet", 120, 1) if quick else ("resnet10t", 4000, 10)
    root = written(Path("pictures"), images)
    usual: Any = timm.create_model(name).default_cfg
    seen = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(usual["mean"], usual["std"])]
    train = ImageFolder(root / "train", v2.Compose(seen))
    torch.manual_seed(0)
    model = fit(timm.create_model(name, num_classes=10), train, torch.nn.CrossEntropyLoss(reduction="none"), epochs)
    save_model(model, "checkpoint.safetensors")

    small: dict[str, Any] = {"trials": 1, "views": 0, "divisor": 8, "precision": "float32"} if quick else {}
    data = {"data": f"imagefolder:{root}", "input": "3x32x32" if quick else f"3x{SIZE}x{SIZE}"}
    asked = sc.Ask(f"timm:{name}", weights="checkpoint.safetensors", **data, flops="50%", epochs=epochs, **small)
    stages = sc.run(asked, "runs/timm", progress=say)
    dense, slim = stages["test"]["dense"], stages["test"]["tuned"]
    speed = " and ".join(f"{row['speedup']:.2f} times ({row['batch']} at once)" for row in stages["speed"]["latency"])
    print(f"test accuracy: {dense['test']['accuracy']:.2%} dense, {slim['test']['accuracy']:.2%} slim; as fast {speed}")
    return float(slim["macs"] / dense["macs"])


if __name__ == "__main__":
    main(quick=asked_for_quick(__doc__))
