from copy import deepcopy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from scored import Given, drawn, residual
from torch import Tensor, nn
from toys import Flatten, Functional, Grouped

from secateur.errors import SecateurError
from secateur.models.supernet import Supernet
from secateur.models.tracing.atoms import FloatArray
from secateur.models.tracing.groups import Member
from secateur.search.importance.feature_maps import CHIP_IMAGES, HRANK_IMAGES, channel_maps, chip, hrank, nuclear_losses
from secateur.search.importance.scores import Importance

BOTH: list[Importance] = [hrank, chip]


def by_definition(matrix: Tensor) -> list[float]:
    """The nuclear norm less that of the matrix with one row set to zero."""
    without = [matrix.index_fill(0, torch.tensor(row), 0) for row in range(len(matrix))]
    return [(torch.linalg.matrix_norm(matrix, "nuc") - torch.linalg.matrix_norm(w, "nuc")).item() for w in without]


def passing(channels: int) -> Supernet:
    """A network that reads its own image, channel by channel, after a ReLU."""
    stem = nn.Conv2d(channels, channels, 1, bias=False)
    with torch.no_grad():
        stem.weight.copy_(torch.eye(channels)[:, :, None, None])
    return Supernet.of(nn.Sequential(stem, nn.ReLU(), nn.Conv2d(channels, 2, 1)), torch.zeros(1, channels, 6, 6))


@given(ranks=st.lists(st.integers(0, 6), min_size=2, max_size=5), seed=st.integers(0, 9))
def test_hrank_finds_the_ranks_that_maps_were_made_with(ranks: list[int], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    triangles = torch.randint(3, (2, len(ranks), 6, 6), generator=generator).tril(-1) + torch.eye(6)  # of full rank
    kept = torch.arange(6) < torch.tensor(ranks)[:, None, None]
    (score,) = hrank(passing(len(ranks)), Given(triangles * kept))
    assert score.tolist() == ranks


def test_hrank_is_the_mean_over_images() -> None:
    full, one, none = torch.eye(6), torch.ones(6, 6), -torch.eye(6)  # the ReLU leaves nothing of the last
    images = torch.stack([torch.stack([full, one]), torch.stack([none, one]), torch.stack([full, none])])
    assert hrank(passing(2), Given(images))[0].tolist() == [4, 2 / 3]


@pytest.mark.parametrize(("rows", "columns"), [(5, 9), (9, 5), (6, 6), (70, 80), (80, 3)])
def test_what_each_row_adds_to_the_nuclear_norm_is_exact(rows: int, columns: int) -> None:
    matrix = torch.randn(rows, columns, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    np.testing.assert_allclose(nuclear_losses(matrix), by_definition(matrix), rtol=1e-6)


def test_orthogonal_rows_add_their_lengths_and_twins_share_theirs() -> None:
    matrix = torch.tensor([[3.0, 0, 0, 0], [0, 4, 0, 0], [0, 0, 5, 0], [0, 0, 5, 0]], dtype=torch.float64)
    np.testing.assert_allclose(nuclear_losses(matrix), [3, 4, 5 * (2**0.5 - 1), 5 * (2**0.5 - 1)])
    np.testing.assert_allclose(nuclear_losses(matrix[:, :3]), [3, 4, 5 * (2**0.5 - 1), 5 * (2**0.5 - 1)])


def test_chip_is_the_mean_over_images_of_what_a_map_adds() -> None:
    images = torch.randn(4, 5, 6, 6)
    expected = np.mean([by_definition(F.relu(image).flatten(1).double()) for image in images], axis=0)
    np.testing.assert_allclose(chip(passing(5), Given(images))[0], expected, rtol=1e-5)


def captured(net: Supernet, images: Tensor, layers: list[str]) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for layer in layers:
        net.model.get_submodule(layer).register_forward_pre_hook(lambda _, x, at=layer: found.update({at: x[0]}))
    with torch.no_grad():
        net.model(images)
    return found


def test_features_are_taken_where_they_are_read_and_averaged_over_readers() -> None:
    net, split = residual(), drawn(7)
    stem_rank, stem_chip = hrank(net, split)[0], chip(net, split)[0]
    maps = captured(net, split.images, ["inner", "down"])
    ranks = [torch.linalg.matrix_rank(each).double().mean(0).numpy() for each in maps.values()]
    gains = [np.mean([by_definition(m.flatten(1).double()) for m in each], axis=0) for each in maps.values()]
    np.testing.assert_allclose(stem_rank, np.mean(ranks, axis=0))
    np.testing.assert_allclose(stem_chip, np.mean(gains, axis=0), rtol=1e-5)


def test_a_flattened_channel_is_a_map_again() -> None:
    net, split = Supernet.of(Flatten().eval(), torch.zeros(1, 3, 8, 8)), drawn(7)
    stem, (flat,) = net.groups[0], captured(net, split.images, ["hidden"]).values()
    maps = flat.reshape(7, 8, 4, 4)
    assert stem.width == 8
    np.testing.assert_allclose(hrank(net, split)[0], torch.linalg.matrix_rank(maps).double().mean(0))
    expected = np.mean([by_definition(image.flatten(1).double()) for image in maps], axis=0)
    np.testing.assert_allclose(chip(net, split)[0], expected, rtol=1e-5)


def test_a_channel_of_a_grouped_convolution_holds_what_all_groups_read() -> None:
    net, split = Supernet.of(Grouped().eval(), torch.zeros(1, 3, 8, 8)), drawn(5)
    (maps,) = captured(net, split.images, ["grouped"]).values()  # channels 0, 2, 4, 6 live and die together
    ranks = torch.linalg.matrix_rank(maps).double().mean(0)
    np.testing.assert_allclose(hrank(net, split)[0], ranks.reshape(4, 2).mean(0))
    rows = maps.reshape(5, 4, 2, 64).transpose(1, 2).flatten(2).double()
    np.testing.assert_allclose(chip(net, split)[0], np.mean([by_definition(m) for m in rows], axis=0), rtol=1e-5)


def test_chip_sets_a_channel_against_those_that_are_frozen_too() -> None:
    class Concatenated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.other, self.head = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 3, 1), nn.Conv2d(7, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            return torch.as_tensor(self.head(torch.cat([self.stem(x), self.other(x)], 1)))

    torch.manual_seed(0)
    model, split = Concatenated(), drawn(5)
    whole, frozen = (Supernet.of(model, torch.zeros(1, 3, 8, 8), freeze=names) for names in ([], ["other"]))
    assert [len(net.groups) for net in (whole, frozen)] == [2, 1]
    np.testing.assert_allclose(chip(frozen, split)[0], chip(whole, split)[0])
    (maps,) = captured(whole, split.images, ["head"]).values()
    expected = np.mean([by_definition(image.flatten(1).double()) for image in maps], axis=0)
    np.testing.assert_allclose(np.concatenate(chip(whole, split)), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("importance", BOTH)
def test_functional_calls_are_seen_as_modules_are(importance: Importance) -> None:
    functional = Functional()
    conv, linear = nn.Conv2d(8, 6, 3), nn.Linear(6, 9, bias=False)
    conv.weight, conv.bias, linear.weight = functional.weight, functional.bias, nn.Parameter(functional.matrix.T)
    rest = (nn.ReLU(), conv, nn.AdaptiveAvgPool2d(1), nn.Flatten(), linear, nn.ReLU(), functional.head)
    modules = nn.Sequential(functional.stem, functional.norm, *rest)
    nets = [Supernet.of(model.eval(), torch.zeros(1, 3, 8, 8)) for model in (functional, modules)]
    one, other = ({len(score): score for score in importance(net, drawn(6))} for net in nets)
    assert {*one} == {*other} == {6, 8, 9}
    for width, score in one.items():
        np.testing.assert_allclose(score, other[width], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("importance", "read"), [(hrank, HRANK_IMAGES), (chip, CHIP_IMAGES)])
def test_features_read_as_many_images_as_they_say_in_batches_of_20(importance: Importance, read: int) -> None:
    split = drawn(HRANK_IMAGES + 50)
    importance(residual(), split)
    assert split.read == [20] * (read // 20)


@pytest.mark.parametrize("importance", BOTH)
def test_a_dead_channel_scores_zero(importance: Importance) -> None:
    net = residual()
    with torch.no_grad():
        net.model.get_parameter("inner_norm.weight")[3] = 0
        net.model.get_parameter("inner_norm.bias").copy_(torch.tensor([1, 1, 1, -1, 1, 1]))
    inner: FloatArray = importance(net, drawn(5))[[group.name for group in net.groups].index("inner")]
    assert abs(inner[3]) < 1e-6
    assert (np.delete(inner, 3) > 0.1).all()


@pytest.mark.parametrize("importance", BOTH)
def test_a_weight_that_forward_computes_has_no_readings(importance: Importance) -> None:
    class Halved(nn.Conv2d):
        def forward(self, x: Tensor) -> Tensor:
            return F.conv2d(x, self.weight / 2, self.bias)

    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), Halved(4, 5, 1), nn.Conv2d(5, 2, 1))
    net = Supernet.of(model, torch.zeros(1, 3, 4, 4))
    with pytest.raises(SecateurError, match="computes the weights that read it; use l2"):
        importance(net, drawn(3, (3, 4, 4)))


@pytest.mark.parametrize("importance", BOTH)
def test_features_are_the_same_on_every_device(importance: Importance, device: torch.device) -> None:
    net, split = residual(), drawn(20)
    moved = Supernet.of(deepcopy(net.model).to(device), torch.zeros(1, 3, 8, 8))
    for here, there in zip(importance(net, split), importance(moved, split), strict=True):
        np.testing.assert_allclose(there, here, rtol=0.02, atol=0.02 * here.max())


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


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
