from collections.abc import Iterator
from copy import deepcopy

import numpy as np
import pytest
import torch
import torch_pruning as tp
from scored import MADE, MAKERS, Given, by_torch_pruning, residual, weight
from torch import Tensor, nn
from toys import Grouped, Multiplier, Transposed

from secateur.errors import SecateurError
from secateur.models.split import Batch
from secateur.models.supernet import Supernet
from secateur.models.tracing.atoms import FloatArray
from secateur.search.importance.magnitude import bn_scale, fpgm, l1, l2, random_scores
from secateur.search.importance.scores import Importance, lamp

UNREAD = Given(torch.zeros(0, 3, 8, 8))
SCORES: list[Importance] = [l1, l2, fpgm, bn_scale, random_scores]


class Unreadable(Given):
    def batches(self, size: int, limit: int | None = None, view: int | None = None) -> Iterator[Batch]:
        raise AssertionError("images were read")


def filters(weight: Tensor, norm: float) -> FloatArray:
    return np.array([torch.linalg.vector_norm(one, norm).item() for one in weight])


def distances(weight: Tensor) -> FloatArray:
    return np.array([sum((one - other).square().sum().sqrt().item() for other in weight) for one in weight])


def assert_made(net: Supernet, importance: Importance, of: object) -> None:
    """Each group's score is the mean of ``of(weight)`` over the layers that make its channels."""
    for group, score in zip(net.groups, importance(net, UNREAD), strict=True):
        expected = np.mean([of(weight(net, layer)) for layer in MAKERS[group.name]], axis=0)  # type: ignore[operator]
        np.testing.assert_allclose(score, expected, rtol=1e-9)


@pytest.mark.parametrize("importance", SCORES)
def test_no_image_is_read(importance: Importance) -> None:
    assert [len(score) for score in importance(residual(), Unreadable(torch.zeros(9, 3, 8, 8)))] == [8, 6, 5]


def test_l1_is_the_mean_over_the_layers_that_make_a_channel() -> None:
    assert_made(residual(), l1, lambda w: filters(w, 1))


def test_l2_is_the_mean_over_the_layers_that_make_a_channel() -> None:
    assert_made(residual(), l2, lambda w: filters(w, 2))


def test_fpgm_is_the_mean_over_the_layers_that_make_a_channel() -> None:
    assert_made(residual(), fpgm, distances)


def chain(*filters: list[float]) -> Supernet:
    """Two filters of one pixel for each number given, and a head that reads them."""
    first = nn.Conv2d(len(filters[0]), len(filters), 1, bias=False)
    with torch.no_grad():
        first.weight.copy_(torch.tensor(filters)[:, :, None, None])
    return Supernet.of(nn.Sequential(first, nn.Conv2d(len(filters), 2, 1)), torch.zeros(1, len(filters[0]), 3, 3))


def test_norms_and_distances_of_a_triangle() -> None:
    net = chain([0.0, 0.0], [3.0, 0.0], [3.0, -4.0])
    assert l1(net, UNREAD)[0].tolist() == [0, 3, 7]
    assert l2(net, UNREAD)[0].tolist() == [0, 3, 5]
    assert fpgm(net, UNREAD)[0].tolist() == [3 + 5, 3 + 4, 5 + 4]


def test_fpgm_counts_the_filters_of_other_groups_in_the_same_layer() -> None:
    model = nn.ModuleDict({"wide": nn.Conv2d(3, 6, 1), "a": nn.Conv2d(3, 4, 1), "head": nn.Conv2d(6, 2, 1)})

    class Padded(nn.Module):
        """Four channels go on into a sum, two of the wide layer's are met by zeros that can be sliced."""

        def __init__(self) -> None:
            super().__init__()
            self.layers = model
            self.register_buffer("zeros", torch.zeros(1, 2, 1, 1))

        def forward(self, x: Tensor) -> Tensor:
            short = self.layers["a"](x)
            zeros = torch.as_tensor(self.zeros).expand(len(x), -1, *x.shape[2:])
            return torch.as_tensor(self.layers["head"](self.layers["wide"](x) + torch.cat([short, zeros], 1)))

    net = Supernet.of(Padded(), torch.zeros(1, 3, 4, 4))
    widths = {group.width: score for group, score in zip(net.groups, fpgm(net, UNREAD), strict=True)}
    wide, a = (distances(weight(net, f"layers.{layer}")) for layer in ("wide", "a"))
    np.testing.assert_allclose(widths[4], (wide[:4] + a) / 2, rtol=1e-9)
    np.testing.assert_allclose(widths[2], wide[4:], rtol=1e-9)


def test_bn_scale_is_the_mean_over_the_batch_norms_of_a_channel() -> None:
    net = residual()
    with torch.no_grad():
        net.model.get_parameter("back_norm.weight")[2] *= -1
    gamma = {name: weight(net, name).abs().numpy() for name in ("norm", "back_norm", "inner_norm", "down_norm")}
    expected = {
        "stem": (gamma["norm"] + gamma["back_norm"]) / 2, "inner": gamma["inner_norm"], "down": gamma["down_norm"]
    }  # fmt: skip
    for group, score in zip(net.groups, bn_scale(net, UNREAD), strict=True):
        np.testing.assert_allclose(score, expected[group.name], rtol=1e-9)


def test_channels_without_a_batch_norm_count_as_unscaled() -> None:
    norm = nn.BatchNorm2d(4)
    model = nn.Sequential(nn.Conv2d(3, 4, 1), norm, nn.Conv2d(4, 6, 1), nn.ReLU(), nn.Conv2d(6, 2, 1))
    nn.init.uniform_(norm.weight)
    with_norm, without = bn_scale(Supernet.of(model, torch.zeros(1, 3, 3, 3)), UNREAD)
    np.testing.assert_allclose(with_norm, norm.weight.detach().numpy())
    assert without.tolist() == [1] * 6


def test_bn_scale_without_any_batch_norm_says_what_to_use() -> None:
    with pytest.raises(SecateurError, match="this network has none; use l2"):
        bn_scale(chain([1.0], [2.0]), UNREAD)


def test_a_channel_of_a_grouped_convolution_has_a_filter_in_each_group() -> None:
    net = Supernet.of(Grouped(), torch.zeros(1, 3, 8, 8))
    grouped, stem = weight(net, "grouped").reshape(4, 3, 2, 3, 3), weight(net, "stem").reshape(4, 2, 3, 3, 3)
    stem_l2, grouped_l2 = l2(net, UNREAD)
    np.testing.assert_allclose(stem_l2, filters(stem.transpose(0, 1), 2))
    np.testing.assert_allclose(grouped_l2, filters(grouped.transpose(0, 1), 2))
    np.testing.assert_allclose(l1(net, UNREAD)[1], filters(grouped.transpose(0, 1), 1))
    np.testing.assert_allclose(fpgm(net, UNREAD)[1], distances(weight(net, "grouped")).reshape(4, 3).sum(0))
    gamma = torch.arange(12.0) - 6
    with torch.no_grad():
        net.model.get_parameter("norm2.weight").copy_(gamma)
    np.testing.assert_allclose(bn_scale(net, UNREAD)[1], gamma.abs().reshape(4, 3).mean(0))


def test_a_depthwise_layer_is_among_the_makers() -> None:
    net = Supernet.of(Multiplier(), torch.zeros(1, 3, 8, 8))
    depthwise = weight(net, "depthwise").reshape(8, 3, 9)  # three filters of each channel
    (score,) = l1(net, UNREAD)
    np.testing.assert_allclose(score, (filters(weight(net, "stem"), 1) + filters(depthwise, 1)) / 2)


def test_filters_of_a_transposed_convolution_lie_in_its_second_dimension() -> None:
    net = Supernet.of(Transposed(), torch.zeros(1, 3, 8, 8))
    at = [group.name for group in net.groups].index("up")
    up = weight(net, "up").transpose(0, 1)
    np.testing.assert_allclose(l2(net, UNREAD)[at], filters(up, 2))
    np.testing.assert_allclose(fpgm(net, UNREAD)[at], distances(up))


def test_random_scores_differ_by_seed_alone() -> None:
    net = residual()
    first, again, other = (random_scores(net, UNREAD, seed=seed) for seed in (0, 0, 1))
    assert all(map(np.array_equal, first, again))
    assert not any(map(np.array_equal, first, other))


def assert_as_peer(net: Supernet, scores: list[FloatArray], peer: tp.importance.Importance, pruned: object) -> None:
    for group, score in zip(net.groups, scores, strict=True):
        expected = by_torch_pruning(net, group.name, peer, {*pruned})  # type: ignore[misc]
        np.testing.assert_allclose(score, expected, rtol=1e-5)


def test_l1_is_what_torch_pruning_gives_for_the_same_layers() -> None:
    net = residual()
    assert_as_peer(net, l1(net, UNREAD), tp.importance.MagnitudeImportance(p=1, normalizer=None), MADE)


def test_bn_scale_is_what_torch_pruning_gives() -> None:
    net = residual()
    norms = {tp.prune_batchnorm_out_channels}
    assert_as_peer(net, bn_scale(net, UNREAD), tp.importance.BNScaleImportance(normalizer=None), norms)


def single() -> Supernet:
    """One layer makes each group, so that a root can be taken before or after the mean."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 7, 3), nn.BatchNorm2d(7), nn.ReLU(), nn.Conv2d(7, 5, 3), nn.ReLU(), nn.Conv2d(5, 4, 1)]
    return Supernet.of(nn.Sequential(*layers), torch.zeros(1, 3, 8, 8))


def test_l2_is_the_root_of_what_torch_pruning_gives() -> None:
    net = single()
    squares = [score**2 for score in l2(net, UNREAD)]
    assert_as_peer(net, squares, tp.importance.MagnitudeImportance(p=2, normalizer=None), MADE)


def test_lamp_of_l2_is_what_torch_pruning_gives() -> None:
    net = single()
    assert_as_peer(net, lamp(l2(net, UNREAD)), tp.importance.LAMPImportance(), MADE)


def test_fpgm_is_what_torch_pruning_gives_where_no_weight_is_negative() -> None:
    net = residual()  # torch-pruning measures distances between absolute values
    positive = Supernet.of(deepcopy(net.model), torch.zeros(1, 3, 8, 8))
    with torch.no_grad():
        for parameter in positive.model.parameters():
            parameter.abs_()
    assert_as_peer(positive, fpgm(positive, UNREAD), tp.importance.FPGMImportance(p=1, normalizer=None), MADE)
