"""What is recorded of every epoch: its loss and learning rate, and the score on a part of the holdout."""

import csv
import json
from dataclasses import asdict, replace
from io import StringIO
from pathlib import Path

import torch
from torch import nn

from ...digests import sealed
from ...files import append_json, ensure_folder, read_json_lines, write_text
from ...models.evaluate import device_of, evaluate
from ...models.split import Split
from ...progress import Epoch
from ...seeds import random_streams

METRICS, TABLE = "metrics.jsonl", "metrics.csv"  # a line an epoch
MOST, LEAST = 1000, 100  # holdout images that score an epoch, within a fifth of the training images
SHARE = 5


def holdout_images(training_images: int) -> int:
    """How many holdout images score an epoch, so that this costs little beside its training.

    >>> [holdout_images(n) for n in (432, 1078, 45_000)]
    [100, 215, 1000]
    """
    return min(MOST, max(LEAST, training_images // SHARE))


def scored(epoch: Epoch, model: nn.Module, holdout: Split, images: int, *, bfloat16: bool) -> Epoch:
    """The epoch with the model's score on the holdout; the model and all random streams stay as they are."""
    with random_streams(), torch.autocast(device_of(model).type, torch.bfloat16, enabled=bfloat16):
        score = evaluate(model, holdout, images)
    return replace(epoch, holdout_loss=score.loss, holdout=score.value, metric=score.name, n=score.n)


def write_epoch(folder: Path, epoch: Epoch) -> None:
    """Add a line to metrics.jsonl, and write metrics.csv of all of them."""
    plain = {name: value for name, value in asdict(epoch).items() if value is not None and name != "training"}
    append_json(ensure_folder(folder) / METRICS, plain)
    lines = read_json_lines(folder / METRICS)
    text = StringIO()
    table = csv.DictWriter(text, list(dict.fromkeys(name for line in lines for name in line)), lineterminator="\n")
    table.writeheader()
    table.writerows(lines)
    write_text(folder / TABLE, text.getvalue())


def forget_after(folder: Path, step: int) -> None:
    """Leave out the epochs that ended after this step: a training that resumes there repeats them."""
    path = folder / METRICS
    lines = read_json_lines(path)
    known = [line for line in lines if line["step"] <= step]
    if known != lines:
        write_text(path, "".join(f"{json.dumps(sealed(line))}\n" for line in known))
