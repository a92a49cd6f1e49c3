"""Loss and accuracy of a network over a split, with batch norm handled on purpose.

A narrowed network's running statistics are those of the dense one and mean nothing. The search uses batch
statistics (no extra pass, but batches must mix the classes); networks that ship get recalibrated running statistics.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from ..signatures import checked
from .class_scores import ClassScore, ClassTally
from .inputs import Inputs, call, flattened, moved
from .outputs import in_float32
from .score import Score
from .split import Split
from .tasks.metric import first_of
from .tracing.modules import evaluating

BATCH = 500
CALIBRATION = 4000  # images for running statistics
TRIED = 2  # images on which it is seen whether the task can judge the network


@contextmanager
def batch_statistics(model: nn.Module) -> Iterator[None]:
    """Batch norm normalises with its own batch; running statistics stay as they are, the rest evaluates."""
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    running = [(m, m.running_mean, m.running_var, m.num_batches_tracked) for m in norms]
    with evaluating(model):
        try:
            for norm in norms:
                norm.running_mean = norm.running_var = norm.num_batches_tracked = None
            yield
        finally:
            for norm, mean, var, tracked in running:
                norm.running_mean, norm.running_var, norm.num_batches_tracked = mean, var, tracked


def recalibrate(model: nn.Module, split: Split, images: int = CALIBRATION) -> None:
    """Set running statistics to the average over about ``images`` images as they are; weights don't change.

    EagleEye's adaptive batch norm with a cumulative instead of a decaying average. For subnetworks that were not
    trained; use ``recalibrate_as_trained`` for those that were, and leave the dense network its own.
    """
    _averaged(model, (batch.images for batch in split.batches(BATCH, images)))


def recalibrate_as_trained(model: nn.Module, split: Split, images: int = CALIBRATION) -> None:
    """The same over augmented images, which training normalises with: those as they are cost a point of accuracy."""
    batches = islice(split.epoch(BATCH, 0), -(-images // BATCH))
    _averaged(model, (flattened(batch.images) for batch in batches))


@torch.no_grad()
def _averaged(model: nn.Module, batches: Iterator[Inputs]) -> None:
    """Set running statistics to the average over these batches of images."""
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.track_running_stats]
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    with evaluating(model):
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # cumulative
            norm.train()
        for images in batches:
            call(model, moved(images, device_of(model)))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


@torch.no_grad()
def outputs(
    model: nn.Module, split: Split, limit: int | None = None, batch: int = BATCH
) -> Iterator[tuple[Any, Any, Tensor]]:
    """Outputs batch by batch, in whatever mode the model is in. Yields (logits (B, C), labels (B,), indices (B,)), or
    what the network returns and the task has for targets.
    """
    device = device_of(model)
    for images, labels, indices in split.batches(batch, limit):
        yield call(model, moved(images, device)), moved(labels, device), indices


def image_losses(
    model: nn.Module, split: Split, limit: int | None = None, batch: int = BATCH
) -> Iterator[tuple[Tensor, Tensor]]:
    """The task's loss and the metric's tally of every image, batch by batch. Yields (B,), (B, ...)

    Of classification: the cross-entropy (nats), and whether the label is predicted.
    """
    for losses, tally, _ in _judged(model, split, limit, batch):
        yield losses, tally


def _judged(
    model: nn.Module, split: Split, limit: int | None = None, batch: int = BATCH
) -> Iterator[tuple[Tensor, Tensor, Any]]:
    """The same, and the targets beside them."""
    task = split.task
    for output, labels, _ in outputs(model, split, limit, batch):
        yield task.loss(in_float32(output), labels), task.metric.tally(output, labels), labels


def evaluate_as_is(
    model: nn.Module, split: Split, limit: int | None = None, classes: ClassTally | None = None
) -> Score:
    """Loss and metric in whatever mode the model is in, over the first ``limit`` images of the fixed order.

    ``classes``: what the tallies are added to, too.
    """
    loss, total, n, metric = 0.0, torch.zeros(()), 0, split.task.metric
    for losses, tally, labels in _judged(model, split, limit):
        if classes:
            classes.add(tally, labels)
        loss += float(losses.double().sum())
        total = total + tally.double().sum(0).cpu()
        n += len(losses)
    return Score.of(metric.name, metric.value(total, n), loss=loss / n, n=n)


@checked
def evaluate(model: nn.Module, split: Split, limit: int | None = None) -> Score:
    """The loss and the metric of the split's task, with the running statistics, as the network is used.

    Args:
        model: the network; its mode is put back.
        split: the samples, such as ``data.test``.
        limit: only the first this many, in a fixed shuffled order; by default all.

    Returns:
        The score. Raises SecateurError where the network returns what the task can't judge.

    >>> import secateur as sc
    >>> data = sc.open_data("digits", (3, 8, 8))
    >>> score = sc.evaluate(sc.constructor("resnet20", 10)().eval(), data.test)
    >>> score.n, 0 <= score.accuracy <= 1
    (359, True)
    """
    with evaluating(model):
        _require_judged(model, split)
        return evaluate_as_is(model, split, limit)


def evaluate_by_class(model: nn.Module, split: Split) -> tuple[Score, dict[int, ClassScore]]:
    """The score over all of a split, and from the same pass that of each class by its number, if there are classes."""
    classes = ClassTally(split.task)
    with evaluating(model):
        _require_judged(model, split)
        return evaluate_as_is(model, split, classes=classes), classes.scores


def _require_judged(model: nn.Module, split: Split) -> None:
    """Raise SecateurError where the task cannot judge what the network returns for the first images."""
    output, target, indices = next(outputs(model, split, TRIED))
    split.task.check(in_float32(output), target, len(indices))


def device_of(model: nn.Module) -> torch.device:
    """Where the model's tensors are."""
    return next((t.device for t in (*model.parameters(), *model.buffers())), torch.device("cpu"))


def embed(model: nn.Module, head: str | None, images: Inputs) -> tuple[Any, Tensor]:
    """The output and embeddings: the input of the module ``head``; without a head the logits stand for both.

    Where the head reads many places of an image, as a convolution does, the mean over them.

    Shape: images (B, channels, height, width) → (B, C), (B, D)
    """
    if head is None:
        output = call(model, images)
        return output, _mean_over_places(first_of(output), 1)
    seen: list[Tensor] = []
    reader = model.get_submodule(head)
    hook = reader.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    try:
        output = call(model, images)
    finally:
        hook.remove()
    return output, _mean_over_places(seen[0], -1 if isinstance(reader, nn.Linear) else 1)


def _mean_over_places(features: Tensor, channel: int) -> Tensor:
    """The mean over all dimensions but the first and the ``channel``. Shape: → (B, D)"""
    return features.movedim(channel, 1)[..., None].flatten(2).mean(2)
