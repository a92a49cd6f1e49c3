import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from toys import Functional, Grouped, Shared, Toy, Transposed

from secateur.models.tracing.groups import Member
from secateur.search.importance.readings import Readings, channel_maps


def seen(model: nn.Module, images: Tensor) -> list[tuple[str, Tensor]]:
    """Every reading of a forward pass, in order."""
    found: list[tuple[str, Tensor]] = []
    with torch.no_grad(), Readings(dict(model.named_parameters()), len(images), lambda *each: found.append(each)):
        model.eval()(images)
    return found


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("toy", "names"),
    [
        (Functional, ["stem.weight", "weight", "matrix", "head.weight"]),
        (Grouped, ["stem.weight", "grouped.weight", "head.weight"]),
        (Shared, ["stem.weight", "again.weight", "again.weight", "again.weight", "head.weight"]),
        (Transposed, ["stem.weight", "up.weight", "up3.weight", "head.weight"]),
    ],
)
def test_every_product_with_a_weight_is_seen_each_time(toy: type[Toy], names: list[str]) -> None:
    assert [name for name, _ in seen(toy(), draw(5, 3, 8, 8))] == names


def test_a_convolution_reads_its_input() -> None:
    first, second = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 1)
    images = draw(5, 3, 8, 8)
    (_, image), (_, hidden) = seen(nn.Sequential(first, nn.ReLU(), second), images)
    assert torch.equal(image, images)
    assert torch.equal(hidden, F.relu(first(images)))


@pytest.mark.parametrize("bias", [True, False])
def test_a_linear_layer_reads_one_number_of_each_feature(bias: bool) -> None:
    images = draw(5, 6)
    ((_, read),) = seen(nn.Linear(6, 3, bias=bias), images)
    assert torch.equal(read, images[:, :, None])


@pytest.mark.parametrize("bias", [True, False])
def test_a_linear_layer_on_tokens_reads_all_places_of_an_image(bias: bool) -> None:
    images = draw(5, 4, 7, 6)  # (B, height, width, features)
    ((_, read),) = seen(nn.Linear(6, 3, bias=bias), images)
    assert torch.equal(read, images.permute(0, 3, 1, 2).flatten(2))


def test_a_weight_on_the_left_reads_columns() -> None:
    class Left(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(draw(3, 6))

        def forward(self, x: Tensor) -> Tensor:
            return self.weight @ x

    columns = draw(6, 5)
    with torch.no_grad():
        model, found = Left(), list[Tensor]()
        with Readings({"weight": model.weight}, 5, lambda _, x: found.append(x)):
            model(columns)
    assert torch.equal(found[0], columns.T[:, :, None])


def member(channels: list[int], places: list[int]) -> Member:
    return Member("weight", 1, True, np.array(channels), np.array(places))


def test_maps_come_in_the_order_of_the_channels() -> None:
    x = draw(2, 3, 5, 4)
    maps = channel_maps(x, member([1, 0], [0, 2]), 2, 3)
    assert torch.equal(maps, x[:, [2, 0]][:, :, None])


def test_a_channel_of_a_grouped_convolution_has_a_map_in_each_group() -> None:
    x = draw(2, 6, 5, 4)  # two groups of three channels
    maps = channel_maps(x, member([0, 1], [1, 2]), 2, 3)
    assert torch.equal(maps, torch.stack([x[:, [1, 4]], x[:, [2, 5]]], 1))


def test_a_channel_twice_in_a_concatenation_has_two_maps() -> None:
    x = draw(2, 4, 5, 5)
    maps = channel_maps(x, member([0, 0, 1, 1], [0, 2, 1, 3]), 2, 4)
    assert torch.equal(maps, torch.stack([x[:, [0, 2]], x[:, [1, 3]]], 1))


@pytest.mark.parametrize(("pixels", "shape"), [(16, (4, 4)), (6, (1, 6)), (1, (1, 1))])
def test_a_flattened_map_is_taken_for_square_where_it_can_be(pixels: int, shape: tuple[int, int]) -> None:
    image = draw(2, 3, *shape)
    places = list(range(3 * pixels))
    flat = channel_maps(image.flatten(1)[:, :, None], member([p // pixels for p in places], places), 3, len(places))
    assert torch.equal(flat, image[:, :, None])
    tokens = channel_maps(image.flatten(2), member([0, 1, 2], [0, 1, 2]), 3, 3)
    assert torch.equal(tokens, image[:, :, None])


def test_planes_of_a_volume_are_maps() -> None:
    x = draw(2, 3, 5, 4, 4)
    assert torch.equal(channel_maps(x, member([0, 1, 2], [0, 1, 2]), 3, 3), x)
