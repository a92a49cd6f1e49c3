"""How many images a second does streaming read, decode, crop and normalise, beside timm's loader on the same files?

Both read the JPEGs of a folder ROOT/CLASS/NAME.jpg at random, with a random resized crop to 224 pixels, mirrored, in
batches of 64, by the same number of workers that stay from epoch to epoch. Epochs alternate; the first of each, in
which the workers start, is left out. A rate is the median over epochs, with all of them beside it.

    python benchmarks/loader.py ROOT [--images 2048] [--workers 2] [--epochs 4] [--out FOLDER]

Target, printed and written, never enforced: as many images a second as timm.
"""

import argparse
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import timm
import torch
from conditions import conditions
from timm.data.loader import create_loader
from torch.utils.data import Dataset, Subset
from torchvision.datasets import ImageFolder

import secateur as sc

HERE = Path(__file__).parent
SIZE, BATCH, TARGET = 224, 64, 1.0
Epoch = Callable[[int], Iterator[Any]]


class ForTimm(Dataset[Any]):
    """The images with a transform that timm sets."""

    def __init__(self, images: Dataset[Any], count: int) -> None:
        self.images, self.count = images, count
        self.transform: Callable[[Any], Any] | None = None

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, position: int) -> Any:
        image, label = self.images[position]
        return (self.transform(image) if self.transform else image), label


def timms(images: Dataset[Any], count: int, workers: int) -> Epoch:
    """timm's training loader, without its own further augmentation."""
    loader = create_loader(
        ForTimm(images, count),  # type: ignore[arg-type]  # it needs a length and a transform
        input_size=(3, SIZE, SIZE),
        batch_size=BATCH,
        is_training=True,
        use_prefetcher=False,
        re_prob=0.0,
        color_jitter=None,  # type: ignore[arg-type]  # as its own train.py does
        interpolation="bilinear",
        num_workers=workers,
        persistent_workers=True,
    )
    return lambda _: iter(loader)


def ours(images: Dataset[Any], few: Dataset[Any], workers: int) -> Epoch:
    """Training epochs of a streamed data set."""
    data = sc.Data.of(images, few, few, shape=(3, SIZE, SIZE), augment="imagenet", workers=workers, memory_bytes=0)
    return lambda seed: data.train.epoch(BATCH, seed)


def rate(batches: Iterator[Any]) -> float:
    """Images a second over an epoch."""
    start, count = time.perf_counter(), 0
    for batch in batches:
        count += len(batch[1])
    return count / (time.perf_counter() - start)


def main() -> None:
    """Run, print, and write results/loader.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path)
    parser.add_argument("--images", type=int, default=2048)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--out", type=Path, default=HERE / "results")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    folder = ImageFolder(str(asked.root))
    images = Subset(folder, [position % len(folder) for position in range(asked.images)])
    readers = {
        "timm": timms(images, asked.images, asked.workers),
        "secateur": ours(images, Subset(folder, range(64)), asked.workers),
    }
    rates: dict[str, list[float]] = {name: [] for name in readers}
    for epoch in range(1 + asked.epochs):
        for name, read in readers.items():
            found = rate(read(epoch))
            rates[name].extend([round(found, 1)] if epoch else [])
            print(f"epoch {epoch}, {name}: {found:.1f} images a second", flush=True)
    medians = {name: median(each) for name, each in rates.items()}
    ratio = medians["secateur"] / medians["timm"]
    print(f"median {medians}: {ratio:.2f} times timm's rate (target {TARGET})")
    result = {**conditions(timm), "images": asked.images, "workers": asked.workers, "batch": BATCH, "size": SIZE}
    result |= {"load": os.getloadavg(), "rates": rates, "median": medians, "ratio": round(ratio, 3), "target": TARGET}
    (asked.out / "loader.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
