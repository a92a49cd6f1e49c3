"""What benchmarks on CIFAR-10 share: its images, opened once; scores as plain values; results kept line by line."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import secateur as sc
from secateur.data.dataset import Data
from secateur.data.images import Images
from secateur.models.score import Score
from secateur.models.split import Split


@lru_cache(maxsize=1)
def opened(cifar: str) -> Data:
    """The data, once a process."""
    return sc.open_data(f"imagefolder:{cifar}")


def part(images: Split, count: int) -> Images:
    """``count`` of the images, any; the same ones always."""
    if not isinstance(images, Images):
        raise TypeError(f"{images!r} are no images")
    chosen = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))[:count]
    read = partial(_chosen, images, chosen)
    return replace(images, read=read, labels=images.labels[chosen])


def figures(result: Score) -> dict[str, float]:
    """A score as plain values."""
    return {"loss": round(result.loss, 4), "accuracy": result.value, "n": result.n}


def finished(path: Path) -> dict[str, dict[str, Any]]:
    """The results that a JSON-lines file holds, by their jobs as JSON."""
    lines = path.read_text().splitlines() if path.exists() else []
    return {json.dumps(line["job"]): line["result"] for line in map(json.loads, lines)}


def keep(path: Path, job: str, result: dict[str, Any]) -> None:
    """Add a result to the file; the job as JSON."""
    with path.open("a") as file:
        file.write(json.dumps({"job": json.loads(job), "result": result}) + "\n")


def _chosen(images: Images, chosen: Tensor, chunks: Sequence[Tensor]) -> Iterator[Tensor]:
    return images.read([chosen[chunk] for chunk in chunks])
