"""How active channels are where they are read."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from lessons import Pupil, pupil
from torch import Tensor, nn

from secateur.errors import SecateurError
from secateur.models.subnetwork import Subnetwork
from secateur.models.supernet import Supernet
from secateur.transfer.joint.activation_penalty import ALIVE, MAPS, ActivationPenalty, reading_modules
from secateur.transfer.joint.shrinking_student import ShrinkingStudent


def listened(
    net: Supernet, strength: float = 1.0, maps: Sequence[int] = ()
) -> tuple[ShrinkingStudent, ActivationPenalty]:
    groups = {g: reading_modules(net, group) for g, group in enumerate(net.groups)}
    student = ShrinkingStudent(net, sorted({name for found in groups.values() for name in found})).eval()
    return student, ActivationPenalty(student, groups, strength, maps)


def test_the_penalty_is_l1_of_what_is_read_a_mean_over_images_places_and_readers() -> None:
    net = pupil()
    student, activity = listened(net, 0.5)
    x = torch.randn(5, 3, 8, 8)
    student(x)
    model = net.model
    assert isinstance(model, Pupil)
    stem = F.relu(model.norm(model.stem(x)))
    inner = F.relu(model.norm2(model.conv(stem)))
    joined = F.relu(stem + model.norm3(model.back(inner))).mean((2, 3))
    neurons = F.relu(model.hidden(joined))
    expected = (stem.mean((0, 2, 3)).sum() + joined.mean(0).sum()) / 2 + inner.mean((0, 2, 3)).sum()
    expected = expected + neurons.mean(0).sum()
    torch.testing.assert_close(activity(), 0.5 * expected)
    torch.testing.assert_close(activity.total[-16:], neurons.mean(0).detach())


def test_no_scale_of_feature_maps_makes_their_penalty_smaller_but_idle_channels_do() -> None:
    net = pupil()
    student, activity = listened(net, maps=[0, 1])
    x = torch.randn(5, 3, 8, 8)
    tensors = dict(student.student.model.named_parameters())
    found = []
    for scale in (torch.ones(10), torch.full((10,), 0.1), torch.ones(10).index_fill(0, torch.arange(9), 1e-3)):
        with torch.no_grad():
            tensors["norm2.weight"].copy_(scale)
            tensors["norm2.bias"].zero_()
            student(x)
            activity.reset()
            whole = activity()
        found.append(float(whole - activity.total[18:].sum()))  # without the hidden neurons
    assert found[1] == pytest.approx(found[0], rel=0.05)  # what lies behind it sees a change
    assert found[2] < 0.9 * found[0]


def test_feature_maps_are_penalised_in_root_mean_squares() -> None:
    net = pupil()
    student, activity = listened(net, 0.5, maps=[0, 1])
    student(torch.randn(5, 3, 8, 8))
    whole = activity()
    parts = torch.split(activity.total, [8, 10, 16])
    relative = [part.sum() / part[part > 0].square().mean().sqrt() for part in parts[:2]]
    torch.testing.assert_close(whole, 0.5 * (MAPS / 2 * sum(relative, torch.zeros(())) + parts[2].sum()))


def test_what_was_taken_is_no_longer_counted_and_all_else_is_as_before() -> None:
    net = pupil()
    student, activity = listened(net)
    x = torch.randn(5, 3, 8, 8)
    student(x)
    activity()
    before = activity.total.clone()
    activity.reset()
    left = Subnetwork((*net.dense.kept[:2], (0, 5, 15)))
    student.prune_to(left)
    student(x)
    activity()
    expected = before.clone()
    expected[18:] = 0
    expected[[18, 23, 33]] = before[[18, 23, 33]]
    torch.testing.assert_close(activity.total, expected)
    assert np.isneginf(activity.scores()[2]).sum() == 13


def test_a_channel_scores_below_zero_where_it_is_idle_beside_its_layer() -> None:
    net = pupil()
    _, activity = listened(net)
    activity.total[:] = 1.0
    activity.total[18:] = torch.tensor([1.0] * 14 + [ALIVE * 0.8, ALIVE * 1.2]) * 100
    assert (activity.scores()[2] > 0).tolist() == [True] * 14 + [False, True]
    assert all((score > 0).all() for score in activity.scores()[:2])


class Columns(nn.Module):
    """A channel fills nine columns of a linear layer; another reader has groups and is not listened to."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.grouped = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 6, 1, groups=3)
        self.head, self.other = nn.Linear(54, 4), nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.conv(x))
        out: Tensor = self.head(x.flatten(1)) + self.other(F.relu(self.grouped(x)).mean((2, 3)))
        return out


def test_a_channel_that_fills_many_columns_is_their_sum() -> None:
    torch.manual_seed(0)
    net = Supernet.of(Columns().eval(), torch.zeros(1, 3, 5, 5))
    (g,) = [g for g, group in enumerate(net.groups) if group.name == "conv"]
    assert list(reading_modules(net, net.groups[g])) == ["head"]
    student, activity = listened(net)
    x = torch.randn(5, 3, 5, 5)
    student(x)
    activity()
    maps = F.relu(net.model.get_submodule("conv")(x))
    start = sum(group.width for group in net.groups[:g])
    found = activity.total[start : start + net.groups[g].width]
    torch.testing.assert_close(found.sum(), maps.mean(0).sum().detach())


def test_a_module_that_is_called_twice_counts_the_mean_of_both() -> None:
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))

    class Halves(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = layers

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.layers(x[:, :6]) + self.layers(x[:, 6:])
            return out

    net = Supernet.of(Halves().eval(), torch.zeros(1, 12))
    student, activity = listened(net)
    x = torch.randn(7, 12)
    student(x)
    activity()
    halves = [F.relu(layers[0](half)).mean(0) for half in (x[:, :6], x[:, 6:])]
    torch.testing.assert_close(activity.total, torch.stack(halves).mean(0).detach())


class Functional(Columns):
    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = F.linear(F.relu(self.conv(x)).flatten(1), self.head.weight)
        return out


def test_a_reader_that_is_never_called_is_named() -> None:
    net = Supernet.of(Functional().eval(), torch.zeros(1, 3, 5, 5))
    student, activity = listened(net)
    student(torch.randn(2, 3, 5, 5))
    with pytest.raises(SecateurError, match="head was not called as a module"):
        activity()
