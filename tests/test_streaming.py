"""Images and samples read by workers that stay: the same as in this process, pass after pass."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import Dataset, TensorDataset
from torchvision.transforms import v2

import secateur as sc
from secateur.data import streaming
from secateur.data.streaming import BatchLoader, ImageStream

PIXELS = torch.randint(256, (30, 3, 12, 12), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
ASKED = [torch.arange(12), torch.arange(12, 30)]
STREAMS = [(1, 0), (1, 1)]
CROPS = v2.RandomResizedCrop(12, antialias=True)


class Frames(Dataset[Tensor | str]):
    def __getitem__(self, position: int) -> Tensor | str:
        return PIXELS[position] if position < 30 else f"image {position} is not there"


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers begin at few items."""
    monkeypatch.setattr(streaming, "MANY", 20)


def same(one: list[Tensor], two: list[Tensor]) -> bool:
    return len(one) == len(two) and all(map(torch.equal, one, two))


@pytest.mark.usefixtures("few")
def test_workers_read_and_augment_as_this_process_does_and_stay() -> None:
    here, there = (ImageStream(Frames(), CROPS, workers) for workers in (0, 1))
    assert same(list(here.views(ASKED, STREAMS)), list(there.views(ASKED, STREAMS)))
    workers = there._load._loader._iterator._workers  # type: ignore[union-attr]
    assert same(list(here(ASKED)), list(there(ASKED)))
    assert there._load._loader._iterator._workers is workers  # type: ignore[union-attr]
    assert [worker.is_alive() for worker in workers] == [True]


@pytest.mark.usefixtures("few")
def test_a_pass_that_is_left_early_leaves_nothing_to_the_next() -> None:
    stream = ImageStream(Frames(), None, 1)
    passing = stream(ASKED)
    next(passing)
    passing.close()  # type: ignore[attr-defined]
    assert same(list(stream(ASKED)), [PIXELS[each] for each in ASKED])


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("workers", [0, 1])
def test_what_is_wrong_with_an_image_is_one_line(workers: int) -> None:
    with pytest.raises(sc.SecateurError, match=r"^image 33 is not there$"):
        list(ImageStream(Frames(), None, workers)([*ASKED, torch.tensor([33])]))


def test_few_items_need_no_worker() -> None:
    load = BatchLoader(Frames(), list, 1)
    assert [len(batch) for batch in load([[0, 1], [2]])] == [2, 1]
    assert "_loader" not in vars(load)


@pytest.mark.parametrize("augment", ["imagenet", "trivial", "crop-flip"])
def test_streamed_views_are_those_in_memory(augment: Any) -> None:
    parts = [TensorDataset(PIXELS, torch.arange(30) % 3)] * 3
    held, streamed = (sc.Data.of(*parts, augment=augment, memory_bytes=size).train for size in (10**9, 0))
    assert isinstance(streamed.read, ImageStream)
    shows: list[Callable[[Any], Any]] = [
        lambda split: split.epoch(8, 5, views=2),
        lambda split: split.epoch(8, 5, fixed=(0, 2)),
        lambda split: split.batches(8, view=1),
    ]
    for show in shows:
        assert same([batch.images for batch in show(held)], [batch.images for batch in show(streamed)])
