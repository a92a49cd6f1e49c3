"""Segmentation: against a loop over images and classes."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from secateur.errors import SecateurError
from secateur.models.tasks.segmentation import Segmentation


def drawn(seed: int, images: int, classes: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    maps = torch.randint(classes + 1, (images, 4, 5), generator=generator)
    return torch.randn(images, classes, 4, 5, generator=generator), torch.where(maps == classes, 255, maps)


@given(st.integers(0, 2**31), st.integers(1, 5), st.integers(2, 6))
def test_miou_is_that_of_a_loop_over_classes(seed: int, images: int, classes: int) -> None:
    logits, maps = drawn(seed, images, classes)
    metric, counted, found = Segmentation(classes).metric, maps != 255, logits.argmax(1)
    parts = []
    for each in range(classes):
        there, here = (maps == each) & counted, (found == each) & counted
        if (there | here).any():
            parts.append(float((there & here).sum() / (there | here).sum()))
    pairs = zip(torch.split(logits, 2), torch.split(maps, 2), strict=True)
    whole = torch.stack([metric.tally(part, wanted).sum(0) for part, wanted in pairs]).sum(0)
    assert metric.value(whole, images) == pytest.approx(sum(parts) / len(parts), abs=1e-6)


def test_the_loss_of_an_image_is_the_mean_over_the_pixels_that_count() -> None:
    logits, maps = drawn(0, 3, 4)
    task = Segmentation(4)
    expected = [F.cross_entropy(logits[n : n + 1], maps[n : n + 1], ignore_index=255) for n in range(3)]
    torch.testing.assert_close(task.loss({"out": logits, "aux": logits * 0}, maps), torch.stack(expected))
    torch.testing.assert_close(task.loss(logits, maps[:, None]), torch.stack(expected))  # masks with a channel


def test_an_image_without_a_pixel_that_counts_costs_nothing() -> None:
    logits = torch.randn(1, 2, 2, 2, requires_grad=True)
    loss = Segmentation(2).loss(logits, torch.full((1, 2, 2), 255))
    assert loss.tolist() == [0.0]
    assert torch.autograd.grad(loss.sum(), logits)[0].isfinite().all()


def test_chance_is_the_entropy_of_the_classes() -> None:
    task, maps = Segmentation(3), torch.tensor([[[0, 0, 0, 1], [255, 255, 255, 255]]])
    assert task.chance is not None
    assert task.chance(maps) == pytest.approx(-0.75 * math.log(0.75) - 0.25 * math.log(0.25))


def test_the_divergence_is_0_of_the_same_maps_and_above_of_others() -> None:
    logits, _ = drawn(0, 3, 4)
    compare = Segmentation(4).divergence
    assert compare is not None
    torch.testing.assert_close(compare(logits, {"out": logits}), torch.zeros(3))
    assert (compare(logits, logits.flip(1)) > 0).all()


def test_maps_of_other_classes_and_targets_that_are_no_maps_are_refused() -> None:
    task = Segmentation(3)
    with pytest.raises(SecateurError, match=r"returns \(2, 4, 4\) for an image, and the task has 3 classes"):
        task.check(torch.zeros(1, 2, 4, 4), torch.zeros(1, 4, 4, dtype=torch.long), 1)
    with pytest.raises(SecateurError, match="the targets are no maps of class numbers"):
        task.check(torch.zeros(1, 3, 4, 4), torch.zeros(1, 4, 4), 1)
    with pytest.raises(SecateurError, match=r"loss failed on the network's output of .* targets of"):
        task.check(torch.zeros(1, 3, 4, 4), torch.zeros(1, 8, 8, dtype=torch.long), 1)
    with pytest.raises(SecateurError, match="classes=1; pass 2 or more"):
        Segmentation(1)
