from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import Dataset, IterableDataset, Subset, TensorDataset

from secateur.data.dataset import Data, open_data
from secateur.data.images import Images, crop_and_flip, sample_crops
from secateur.errors import SecateurError
from secateur.models.zoo.normalisation import MEAN, STD


class Listed(Dataset[Any]):
    """Pairs of image and label that note which of them were asked for."""

    def __init__(self, pairs: Sequence[tuple[object, int]]) -> None:
        self.pairs = pairs
        self.asked: list[int] = []

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, position: int) -> tuple[object, int]:
        self.asked.append(position)
        return self.pairs[position]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(count: int, size: int = 8, seed: int = 0) -> Tensor:
    return torch.randint(256, (count, 3, size, size), dtype=torch.uint8, generator=generator(seed))


def labelled(count: int, classes: int = 4, size: int = 8, seed: int = 0) -> TensorDataset:
    return TensorDataset(noise(count, size, seed), torch.arange(count) * classes // count)


def photos(count: int, width: int, height: int) -> Listed:
    pixels = np.random.default_rng(0).integers(0, 256, (count, height, width, 3), dtype=np.uint8)
    return Listed([(Image.fromarray(one), i % 2) for i, one in enumerate(pixels)])


def pixels_of(data: Data, count: int) -> Tensor:
    """The first pixels of train, as read."""
    assert isinstance(data.train, Images)
    return next(data.train.read([torch.arange(count)]))


def toy(**options: Any) -> Data:
    return Data.of(labelled(40, seed=1), labelled(12, seed=2), labelled(16, seed=3), **options)


def assert_same(one: Iterable[tuple[Tensor, ...]], two: Iterable[tuple[Tensor, ...]]) -> None:
    for left, right in zip(one, two, strict=True):
        assert all(map(torch.equal, left, right))


def test_it_says_itself_in_a_line() -> None:
    assert repr(toy()) == "Data('data', train=40, holdout=12, test=16, classes=4, shape=(3, 8, 8))"


# --- layout ---


def test_images_are_channels_last_where_the_network_runs_on_that() -> None:
    plain, model = toy(), nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(72, 2))
    suited = plain.in_memory_format_of(model)
    (images, _, _), (views, _, _) = next(suited.holdout.batches(12)), next(suited.train.epoch(8, 0, views=2))
    assert images.is_contiguous(memory_format=torch.channels_last)
    assert not images.is_contiguous()
    assert views.flatten(0, 1).is_contiguous(memory_format=torch.channels_last)
    assert_same(plain.holdout.batches(5), suited.holdout.batches(5))
    assert_same(plain.train.epoch(8, 3, views=2), suited.train.epoch(8, 3, views=2))
    assert suited.fingerprint == plain.fingerprint
    assert model.training


def test_images_stay_as_they_are_for_a_network_that_views_them() -> None:
    class Views(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.view(len(x), -1)

    images, _, _ = next(toy().in_memory_format_of(Views()).holdout.batches(12))
    assert images.is_contiguous()


# --- batches ---


def test_batches_are_the_images_scaled_and_normalised() -> None:
    pixels, mean, std = noise(40, seed=1), torch.tensor(MEAN), torch.tensor(STD)
    for images, labels, indices in toy().train.batches(16):
        expected = (pixels[indices] / 255 - mean[:, None, None]) / std[:, None, None]
        torch.testing.assert_close(images, expected)
        assert torch.equal(labels, indices * 4 // 40)
        assert images.dtype == torch.float32
        assert labels.dtype == indices.dtype == torch.int64


def test_batches_hold_every_image_once_and_a_limit_takes_the_first_of_them() -> None:
    train = toy().train
    order = torch.cat([batch.indices for batch in train.batches(16)])
    assert sorted(order.tolist()) == list(range(40))
    assert torch.equal(torch.cat([batch.indices for batch in train.batches(7, limit=10)]), order[:10])
    assert list(train.batches(7, limit=0)) == []


def test_the_fixed_order_never_changes_and_mixes_the_classes() -> None:
    one, two = (open_data("digits").holdout for _ in range(2))
    assert_same(one.batches(64), two.batches(64))
    for batch in one.batches(64, limit=256):
        assert len(set(batch.labels.tolist())) == 10


# --- epochs ---


def test_an_epoch_visits_each_image_at_most_once_in_full_batches() -> None:
    train = toy().train
    epoch = list(train.epoch(16, seed=0))
    assert [len(views.indices) for views in epoch] == [16, 16]
    assert len(epoch) == train.steps(16)
    assert len(set(torch.cat([views.indices for views in epoch]).tolist())) == 32


def test_a_stream_without_positions_is_refused() -> None:
    class Stream(IterableDataset[Any]):
        def __iter__(self) -> Iterator[Any]:
            return iter(labelled(4))

    with pytest.raises(SecateurError, match="flow is a stream; pass map-style data sets"):
        Data.of(Stream(), labelled(4), labelled(4), name="flow")


def test_a_split_smaller_than_a_batch_is_one_batch() -> None:
    holdout = toy().holdout
    assert holdout.steps(100) == 1
    assert [len(views.indices) for views in holdout.epoch(100, seed=0)] == [12]


@pytest.mark.parametrize("start", [0, 1, 3, 5])
def test_an_epoch_taken_up_at_a_batch_goes_on_as_if_never_stopped(start: int) -> None:
    train = toy().train
    assert_same(list(train.epoch(8, seed=7, views=2))[start:], train.epoch(8, seed=7, views=2, start=start))


def test_an_epoch_taken_up_late_does_not_read_the_batches_before() -> None:
    noted = photos(20, 8, 8)
    train = Data.of(noted, noted, noted, memory_bytes=0).train
    noted.asked.clear()
    (last,) = train.epoch(5, seed=0, start=3)
    assert noted.asked == last.indices.tolist()


def test_seeds_give_different_epochs() -> None:
    train = toy().train
    one, two = (next(train.epoch(40, seed)) for seed in (0, 1))
    assert not torch.equal(one.indices, two.indices)


def test_views_of_a_batch_differ_and_more_views_leave_the_first_as_it_is() -> None:
    train = toy().train
    three, one = next(train.epoch(8, seed=0, views=3)), next(train.epoch(8, seed=0))
    assert three.images.shape == (3, 8, 3, 8, 8)
    assert torch.equal(three.images[:1], one.images)
    assert not torch.equal(three.images[0], three.images[1])
    assert not torch.equal(three.images[1], three.images[2])


def test_global_random_state_is_neither_used_nor_moved() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    data = toy(memory_bytes=0)
    first = list(data.train.epoch(8, seed=0))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(1)
    assert_same(first, data.train.epoch(8, seed=0))


def test_a_fixed_view_of_an_image_is_the_same_everywhere_and_for_ever() -> None:
    train = toy().train
    plain, three = torch.empty(2, 40, 3, 8, 8)
    for into, view in ((plain, None), (three, 3)):
        for batch in train.batches(7, view=view):
            into[batch.indices] = batch.images
    assert not torch.equal(plain[0], three[0])
    for seed in (0, 1):
        for views in train.epoch(16, seed, views=2, fixed=(5, 3)):
            assert torch.equal(views.images[1], three[views.indices])
            assert not torch.equal(views.images[0], views.images[1])


@pytest.mark.parametrize("fixed", [(), (0, 4)])
def test_the_parts_of_a_batch_are_the_whole(fixed: tuple[int, ...]) -> None:
    train = toy().train
    whole = list(train.epoch(10, seed=2, views=2, start=1, fixed=fixed))
    parts = [list(train.epoch(10, seed=2, views=2, start=1, fixed=fixed, part=(i, 3))) for i in range(3)]
    assert [len(part[0].indices) for part in parts] == [4, 3, 3]
    for batch, *split in zip(whole, *parts, strict=True):
        assert torch.equal(torch.cat([part.images for part in split], 1), batch.images)
        assert torch.equal(torch.cat([part.indices for part in split]), batch.indices)


# --- augmentation ---


def augmented(pixels: Tensor, pad: int, flip: bool, generator: torch.Generator) -> Tensor:
    return crop_and_flip(pixels, pad, sample_crops(len(pixels), pad, flip, generator))


def reference(image: Tensor, top: int, left: int, mirrored: bool, pad: int) -> Tensor:
    """One image, pixel by pixel."""
    _, height, width = image.shape
    crop = torch.zeros_like(image)
    for y in range(height):
        for x in range(width):
            row, column = y + top - pad, (width - 1 - x if mirrored else x) + left - pad
            if 0 <= row < height and 0 <= column < width:
                crop[:, y, x] = image[:, row, column]
    return crop


def test_crops_and_flips_equal_a_slow_loop_over_single_images() -> None:
    pixels, pad = noise(24), 2
    draws = generator(5)
    tops, lefts = torch.randint(2 * pad + 1, (2, 24), generator=draws).tolist()
    mirrored = (torch.rand(24, generator=draws) < 0.5).tolist()
    expected = [reference(*one, pad) for one in zip(pixels, tops, lefts, mirrored, strict=True)]
    assert torch.equal(augmented(pixels, pad, True, generator(5)), torch.stack(expected))


def test_each_image_has_a_crop_of_its_own() -> None:
    pixels = noise(1).expand(64, -1, -1, -1)
    crops = augmented(pixels, 4, False, generator())
    assert len({crop.numpy().tobytes() for crop in crops}) > 30  # 81 offsets; one draw for all would give 1


def test_half_of_the_images_are_mirrored_and_none_where_flips_are_off() -> None:
    pixels = noise(400)
    plain = augmented(pixels, 0, False, generator())
    assert torch.equal(plain, pixels)
    same = (augmented(pixels, 0, True, generator()) == pixels).flatten(1).all(1)
    assert 150 < same.sum() < 250


# --- reading ---


def test_a_source_gives_its_size_its_flip_and_its_name() -> None:
    digits = open_data("digits")
    assert digits.name == "digits"
    assert digits.shape == (3, 32, 32)
    assert digits.example.shape == (1, 3, 32, 32)
    assert digits.classes == tuple("0123456789")
    assert isinstance(digits.train, Images)
    assert not digits.train.flip
    assert open_data("digits", (3, 16, 16), memory_bytes=0).shape == (3, 16, 16)


def test_streamed_images_are_those_in_memory_bit_for_bit() -> None:
    kept, streamed = photos(21, 12, 10), photos(21, 12, 10)  # resized and cropped
    one = Data.of(kept, kept, kept, shape=(3, 8, 8)).train
    two = Data.of(streamed, streamed, streamed, shape=(3, 8, 8), memory_bytes=0).train
    kept.asked.clear()
    streamed.asked.clear()
    assert_same(one.batches(4), two.batches(4))
    assert_same(one.epoch(4, seed=3, views=2), two.epoch(4, seed=3, views=2))
    assert len(kept.asked) == 0
    assert len(streamed.asked) == 21 + 20


def test_workers_give_the_same_as_the_main_process() -> None:
    wide = labelled(2100, size=4)
    data = [Data.of(wide, wide, wide, memory_bytes=limit).train for limit in (0, 10**9)]
    assert_same(data[0].batches(512), data[1].batches(512))


def test_images_are_cropped_about_their_centre() -> None:
    wide = photos(4, 12, 10)
    pixels = pixels_of(Data.of(wide, wide, wide, shape=(3, 10, 10)), 4)
    for one, (image, _) in zip(pixels, wide.pairs, strict=True):
        assert torch.equal(one, torch.tensor(np.array(image)).permute(2, 0, 1)[:, :, 1:11])


@pytest.mark.parametrize(("width", "height", "side"), [(9, 9, 9), (12, 10, 224)])
def test_data_has_the_size_of_its_images_only_when_they_agree_on_a_square(width: int, height: int, side: int) -> None:
    one = photos(3, width, height)
    assert Data.of(one, one, one, memory_bytes=0).shape == (3, side, side)


def test_images_of_several_sizes_become_224_pixels_wide() -> None:
    mixed = Listed([*photos(2, 9, 9).pairs, *photos(2, 8, 8).pairs])
    assert Data.of(mixed, mixed, mixed, memory_bytes=0).shape == (3, 224, 224)


def test_progress_counts_the_images_of_all_splits_up_to_the_last() -> None:
    heard: list[tuple[int, int]] = []
    toy(progress=lambda done, total: heard.append((done, total)))
    assert heard == [(40, 68), (52, 68), (68, 68)]


def test_grey_and_other_pil_images_become_colour() -> None:
    grey = Listed([(Image.new("L", (8, 8), 7), 0), (Image.new("RGBA", (8, 8), (7, 7, 7, 0)), 1)])
    data = Data.of(grey, grey, grey)
    assert torch.equal(pixels_of(data, 2), torch.full((2, 3, 8, 8), 7).byte())


# --- fingerprint ---


def test_the_fingerprint_is_that_of_the_data_not_of_how_it_is_read() -> None:
    assert toy().fingerprint == toy(name="other", memory_bytes=0).fingerprint
    assert len(toy().fingerprint) == 16


def test_the_fingerprint_changes_with_images_order_labels_size_and_class_names() -> None:
    part = labelled(12)
    images, labels = part.tensors
    reversed_images = TensorDataset(images.flip(0), labels)
    other_labels = TensorDataset(images, labels.flip(0))
    data = [Data.of(x, part, part) for x in (part, reversed_images, other_labels, labelled(12, seed=1))]
    data += [toy(), toy(shape=(3, 4, 4)), Data.of(part, part, reversed_images)]
    data += [Data("x", data[0].train, data[0].holdout, data[0].test, tuple("abcd"))]
    assert len({one.fingerprint for one in data}) == len(data)


# --- errors ---


def test_a_workers_error_arrives_as_one_line() -> None:
    images: list[tuple[object, int]] = [(noise(1)[0], 0)] * 1999
    broken = Listed([*images, (torch.zeros(3, 8, 8), 0)])
    split = Data.of(broken, labelled(4, 1), labelled(4, 1), shape=(3, 8, 8), memory_bytes=0).train
    with pytest.raises(SecateurError, match=r"^an image is of type torch.float32 \(3, 8, 8\); pass PIL") as caught:
        list(split.batches(500))
    assert "\n" not in str(caught.value)


def test_float_images_are_read_as_they_are() -> None:
    part = TensorDataset(torch.randn(4, 3, 8, 8), torch.arange(4))
    batch = next(Data.of(part, part, part).train.batches(4))
    assert torch.equal(batch.images, part.tensors[0][batch.indices])
    assert torch.equal(batch.labels, batch.indices)


class Contradicting(TensorDataset):
    targets = (0, 1, 2, 0)


def test_targets_that_contradict_the_labels_are_refused() -> None:
    part = Contradicting(noise(4), torch.arange(4))
    with pytest.raises(SecateurError, match="image 3 has label 3, not 0 as in targets"):
        Data.of(part, part, part)


def test_an_empty_split_or_a_label_without_a_class_is_refused() -> None:
    part, none = labelled(8), Subset(labelled(8), [])
    with pytest.raises(SecateurError, match="holdout split of toy is empty"):
        Data.of(part, none, part, name="toy")
    with pytest.raises(SecateurError, match="train split of data is empty"):
        Data.of(none, part, part)
    with pytest.raises(SecateurError, match=r"test has label 4, not in range\(0, 4\)"):
        Data.of(part, part, labelled(8, classes=5))


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 0, 8), (3, 8)])
def test_shapes_other_than_three_channels_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(SecateurError, match=r"images of shape \(.*; pass \(3, height, width\)"):
        toy(shape=shape)
