import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scored import MAKERS, READERS, residual
from torch import nn
from toys import TOYS, ChannelsLast, FixedKernel, Functional, Multiplier, Toy, Transposed

from secateur.models.supernet import Supernet
from secateur.models.tracing.atoms import FloatArray
from secateur.models.tracing.groups import Member
from secateur.search.importance.scores import average, lamp, makers, per_group, per_place, readers, sums

positive = st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=20).map(np.array)


def traced(toy: type[Toy]) -> Supernet:
    return Supernet.of(toy(), torch.zeros(1, 3, 8, 8), check=False)


def tensors(members: list[list[Member]]) -> list[list[str]]:
    return [[member.tensor for member in those] for those in members]


@pytest.mark.parametrize("toy", TOYS)
def test_every_group_has_a_maker_and_a_reader(toy: type[Toy]) -> None:
    net = traced(toy)
    assert all(makers(net))
    assert all(readers(net))


def test_makers_and_readers_of_a_residual_network() -> None:
    net = residual()
    names = [group.name for group in net.groups]
    assert tensors(makers(net)) == [[f"{layer}.weight" for layer in MAKERS[name]] for name in names]
    assert tensors(readers(net)) == [[f"{layer}.weight" for layer in READERS[name]] for name in names]


@pytest.mark.parametrize(
    ("toy", "made"),
    [
        (ChannelsLast, [["stem.weight", "narrow.weight"], ["widen.weight"]]),  # a scale of four dimensions is no filter
        (FixedKernel, [["stem.weight"], ["kernel"]]),  # a buffer can make channels
        (Multiplier, [["stem.weight", "depthwise.weight"]]),
        (Functional, [["stem.weight"], ["weight"], ["matrix"]]),
        (Transposed, [["stem.weight"], ["up.weight"], ["up3.weight"]]),
    ],
)
def test_makers_are_the_weights_with_filters(toy: type[Toy], made: list[list[str]]) -> None:
    net = traced(toy)
    assert sorted(map(sorted, tensors(makers(net)))) == sorted(map(sorted, made))


def test_a_group_gains_nothing_by_the_number_of_its_members() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), *(nn.Conv2d(4, 4, 3, groups=4, padding=1) for _ in range(5)))
    net = Supernet.of(nn.Sequential(model, nn.Conv2d(4, 2, 1)), torch.zeros(1, 3, 3, 3))
    assert len(makers(net)[0]) == 6
    (score,) = average(net, makers(net), lambda member, width: np.arange(width, dtype=np.float64))
    assert score.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("dim", [0, 1, 2])
def test_the_sum_at_each_place_is_over_all_other_dimensions(dim: int) -> None:
    tensor = torch.randn(2, 3, 4)
    others = [d for d in range(3) if d != dim]
    np.testing.assert_allclose(sums(tensor, dim), tensor.double().sum(others).numpy())
    assert per_place(tensor, dim).shape == (tensor.shape[dim], 24 // tensor.shape[dim])
    assert sums(torch.arange(3.0), 0).tolist() == [0, 1, 2]


def test_normalised_scores_have_mean_one_and_keep_their_order() -> None:
    scores = [np.array([1.0, 3.0, 2.0]), np.array([1e6, 3e6])]
    assert [each.tolist() for each in per_group(scores)] == [[0.5, 1.5, 1.0], [0.5, 1.5]]


def test_normalising_a_group_without_any_score_stays_finite() -> None:
    assert per_group([np.zeros(3)])[0].tolist() == [0, 0, 0]
    assert lamp([np.zeros(3)])[0].tolist() == [0, 0, 0]


def test_lamp_is_the_square_over_those_that_are_no_weaker() -> None:
    (score,) = lamp([np.array([2.0, 1.0, 3.0])])
    np.testing.assert_allclose(score, [4 / (4 + 9), 1 / (4 + 1 + 9), 9 / 9])


def test_lamp_gives_equal_channels_equal_scores() -> None:
    np.testing.assert_allclose(lamp([np.array([2.0, 1.0, 1.0, 2.0])])[0], [1 / 2, 1 / 10, 1 / 10, 1 / 2])


@given(score=positive, scale=st.sampled_from([1e-12, 1.0, 1e12]))
def test_lamp_is_its_formula_at_any_scale(score: FloatArray, scale: float) -> None:
    expected = [s**2 / sum(j**2 for j in score if j >= s) for s in score]
    np.testing.assert_allclose(lamp([score * scale])[0], expected, rtol=1e-9)


@given(score=positive)
def test_lamp_keeps_the_order_and_gives_a_lone_strongest_channel_one(score: FloatArray) -> None:
    (found,) = lamp([score])
    assert (np.diff(found[np.argsort(score, kind="stable")]) >= -1e-12).all()
    assert found.max() == pytest.approx(1 / (score == score.max()).sum())
