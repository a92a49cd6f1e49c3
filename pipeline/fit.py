"""Whether a network, a data set and a task fit each other, and what the network returns for a sample."""

from dataclasses import dataclass

import torch

from ..data.dataset import Data
from ..errors import SecateurError, in_a_line
from ..models.evaluate import device_of
from ..models.inputs import call, moved
from ..models.outputs import OutputForm, in_float32
from ..models.split import Split
from ..models.supernet import Supernet
from ..models.tasks.classification import Classification
from ..models.tasks.metric import first_of
from ..models.tasks.task import Task
from ..models.tracing.modules import evaluating

SAMPLES = 2  # that a task is tried on; batch norm needs two


@dataclass(frozen=True)
class OutputSize:
    """Of one sample's output: how many numbers it has, and how many channels its first tensor."""

    numbers: int
    channels: int


def output_size(net: Supernet, data: Data) -> OutputSize:
    """The size of what the network returns."""
    if isinstance(data.task, Classification):
        return OutputSize(len(data.classes), len(data.classes))
    with torch.no_grad(), evaluating(net.model):
        output = call(net.model, moved(data.example, device_of(net.model)))
    first = first_of(output)
    return OutputSize(OutputForm.of(output, len(first)).numbers, first.shape[1] if first.ndim > 1 else 1)


@torch.no_grad()
def require_fit(net: Supernet, data: Data) -> None:
    """Raise SecateurError unless the network, of finite weights, runs on the data, and the task judges its output."""
    _require_finite(net)
    batch = next(data.holdout.batches(SAMPLES, SAMPLES))
    images, targets, indices = moved(batch, device_of(net.model))
    try:
        with evaluating(net.model):
            output = in_float32(call(net.model, images))
    except Exception as error:
        raise SecateurError(
            f"the network does not run on the samples of {data.name} ({in_a_line(error)}); pass data of its inputs, "
            f"or trace it with data.example"
        ) from error
    if isinstance(data.task, Classification) and isinstance(output, torch.Tensor) and output.ndim == 2:
        _require_classes(output.shape[1], data)
    data.task.check(output, targets, len(indices))


def class_numbers(split: Split) -> torch.Tensor | None:
    """The class of every sample, for contrastive terms; None where the task has no classes. Shape: → (N,) int64"""
    task: Task = split.task
    if split.labels is not None or task.negatives is None:
        return split.labels
    found = torch.empty(len(split), dtype=torch.int64)
    for batch in split.batches(SAMPLES * 250):
        found[batch.indices] = task.negatives(batch.labels)
    return found


def _require_finite(net: Supernet) -> None:
    """Buffers may be infinite, as masks are; weights may not."""
    lost = [name for name, weight in net.model.named_parameters() if not bool(weight.isfinite().all())]
    if lost:
        raise SecateurError(
            f"{len(lost)} weights of the network hold NaN or infinity, {lost[0]} first; load a sound checkpoint"
        )


def _require_classes(outputs: int, data: Data) -> None:
    classes = len(data.classes)
    if outputs == 1 and classes == 2:
        fix = "pass a network of two outputs, or task=sc.MultiLabel() with targets of shape (1,)"
        raise SecateurError(f"the network has one logit and {data.name} has 2 classes; {fix}")
    if outputs != classes:
        raise SecateurError(
            f"the network has {outputs} outputs and {data.name} has {classes} classes; pass matching ones"
        )
    if classes < 2:
        raise SecateurError(f"{data.name} has 1 class, so that every answer is right; pass data of 2 or more")
