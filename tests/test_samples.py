"""Splits of samples as their data set has them: what is random is fixed by seed, epoch and position."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from secateur.data.reading import SampleReader
from secateur.data.samples import Samples
from secateur.models.tasks.regression import Regression


class Shifted(Dataset[Any]):
    """Positions, shifted at random by less than one, with the shift as the target; it notes what was read."""

    def __init__(self, count: int = 23) -> None:
        self.count = count
        self.read: list[int] = []

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, position: int) -> tuple[Tensor, Tensor]:
        self.read.append(position)
        shift = torch.rand(1)
        return position + shift, shift


def split(count: int = 23, most: int | None = None, memory: int = 0, labels: Tensor | None = None) -> Samples:
    return Samples(SampleReader(Shifted(count)), Regression(), labels, most, memory)


def test_batches_are_the_same_samples_for_ever_in_one_shuffled_order() -> None:
    one, other = list(split().batches(5)), list(split().batches(8))
    images, indices = (torch.cat([batch[part] for batch in one]) for part in (0, 2))
    assert torch.equal(images, torch.cat([batch.images for batch in other]))
    assert sorted(indices.tolist()) == list(range(23))
    assert indices.tolist() != sorted(indices.tolist())
    assert torch.equal(images[:, 0].floor().long(), indices)
    assert len(next(split().batches(30, limit=4)).indices) == 4


def test_inputs_and_targets_share_their_transform() -> None:
    for batch in split().batches(5):
        torch.testing.assert_close(batch.images - batch.indices[:, None], batch.labels)


def test_a_fixed_view_never_changes_and_differs_from_others() -> None:
    views = [torch.cat([batch.images for batch in split().batches(5, view=view)]) for view in (0, 0, 1, None)]
    assert torch.equal(views[0], views[1])
    assert not any(torch.equal(views[0], other) for other in views[2:])
    batch = next(split().epoch(6, 3, fixed=(1, 0)))
    shown = {int(index): image for index, image in zip(batch.indices, batch.images[1], strict=True)}
    every = {
        int(i): image for part in split().batches(5, view=0) for i, image in zip(part.indices, part.images, strict=True)
    }
    assert all(torch.equal(image, every[index]) for index, image in shown.items())


def test_an_epoch_resumes_anywhere_and_another_seed_is_another_epoch() -> None:
    whole, rest = list(split().epoch(5, 7, 2)), list(split().epoch(5, 7, 2, start=2))
    assert len(whole) == split().steps(5) == 4
    assert all(torch.equal(one.images, other.images) for one, other in zip(whole[2:], rest, strict=True))
    assert not torch.equal(whole[0].images, next(split().epoch(5, 8, 2)).images)
    assert whole[0].images.shape == whole[0].labels.shape == (2, 5, 1)
    torch.testing.assert_close(whole[0].images - whole[0].indices[:, None], whole[0].labels)


def test_processes_share_the_very_batches() -> None:
    whole = next(split().epoch(6, 1))
    parts = [next(split().epoch(6, 1, part=(rank, 2))) for rank in range(2)]
    assert torch.equal(torch.cat([part.images for part in parts], 1), whole.images)


def test_batches_that_are_read_hold_no_more_than_the_most() -> None:
    assert [len(batch.indices) for batch in split(most=10).batches(500)] == [10, 10, 3]
    assert [batch.images.shape[1] for batch in split(most=10).epoch(15, 0)] == [15]  # training has its own


def test_what_fits_in_memory_is_read_once() -> None:
    held, streamed = split(memory=10**6), split()
    first = [list(each.batches(5)) for each in (held, streamed)]
    for each in (held, streamed):
        each.read.dataset.read.clear()
    again = [list(each.batches(5)) for each in (held, streamed)]
    assert (len(held.read.dataset.read), len(streamed.read.dataset.read)) == (0, 23)
    for before, after in zip(first, again, strict=True):
        assert all(torch.equal(one.images, other.images) for one, other in zip(before, after, strict=True))


def test_half_of_it_is_held_where_no_more_fits() -> None:
    held = split(memory=200)  # a batch of 5 takes 80 bytes
    before = [batch.images for batch in held.batches(5)]
    held.read.dataset.read.clear()
    assert all(torch.equal(one, batch.images) for one, batch in zip(before, held.batches(5), strict=True))
    assert len(held.read.dataset.read) == 23 - 10


def test_known_labels_take_the_place_of_targets() -> None:
    labelled = split(labels=torch.arange(23) * 2)
    assert all(torch.equal(batch.labels, 2 * batch.indices) for batch in labelled.batches(5))
    assert all(torch.equal(batch.labels, 2 * batch.indices) for batch in labelled.epoch(5, 0))


def test_the_example_is_zeros_like_one_sample() -> None:
    assert torch.equal(split().example, torch.zeros(1, 1))
    assert split().shape == (1,)


def test_passes_that_run_at_the_same_time_show_the_same_batches() -> None:
    expected = torch.cat([batch.indices for batch in split().batches(5)])
    both = split(memory=10**6)
    one, other = both.batches(5), both.batches(5)
    next(one), next(other)
    next(one)  # it holds what the other has still to read
    assert torch.equal(torch.cat([batch.indices for batch in other]), expected[5:])
