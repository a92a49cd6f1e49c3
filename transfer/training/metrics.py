"""What is recorded of every epoch: its loss and learning rate, and the score on a part of the holdout."""

import csv
import json
from dataclasses import asdict, replace
from io import StringIO
from pathlib import Path

import msgspec
import torch
from torch import nn

from ...digests import sealed
from ...errors import SecateurError
from ...files import RESTORE, append_json, ensure_folder, read_json_lines, write_text
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


def resume_history(folder: Path, step: int, steps_per_epoch: int) -> None:
    """Leave metrics.jsonl with the epochs that a training that resumes at this step has behind it.

    Raises SecateurError where one of them is lost: no checkpoint brings it back.
    """
    forget_after(folder, step)
    known = _lines(folder / METRICS)
    if any(line.epochs is None for line in known):  # an earlier version wrote steps
        return
    if lost := {*range(1, step // steps_per_epoch + 1)} - {line.epoch for line in known}:
        raise SecateurError(
            f"{folder / METRICS} is damaged (epoch {min(lost)} is missing); restore it from a copy, or delete {folder} "
            "to train again"
        )


def forget_after(folder: Path, step: int) -> None:
    """Leave out the epochs that ended after this step: a training that resumes there repeats them."""
    path = folder / METRICS
    lines = read_json_lines(path)
    known = [line for line, each in zip(lines, _lines(path), strict=True) if each.step <= step]
    if known != lines:
        write_text(path, "".join(f"{json.dumps(sealed(line))}\n" for line in known))


class _Line(msgspec.Struct, frozen=True):
    """The epoch that ended at this step, of how many; an earlier version wrote steps, of no ``epochs``."""

    step: int
    epoch: int
    epochs: int | None = None


def _lines(path: Path) -> list[_Line]:
    try:
        return msgspec.convert(read_json_lines(path), list[_Line])
    except msgspec.ValidationError as error:
        raise SecateurError(f"{path} is damaged ({error}); {RESTORE}") from error
