"""Layers refitted to what they read in the slimmed network."""

import pytest
import torch
import torch.nn.functional as F
from test_ridge import (
    EXACT,
    Noise,
    answers,
    inputs_of,
    least_squares,
    random_subnetwork,
    supernet,
    without,
)
from torch import Tensor, nn
from toys import ChannelsLast, Concat, Functional, NoNorm, Shared, Toy, TwoOutputs, conv

from secateur.models.compensation import gram as gram_module
from secateur.models.compensation import sequential as sequence_module
from secateur.models.compensation.gram import grams
from secateur.models.compensation.ridge import refit
from secateur.models.compensation.sequential import batch_sizes, refit_sequentially
from secateur.models.evaluate import batch_statistics
from secateur.models.surgery.slim import slim


@pytest.fixture(autouse=True)
def _every_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gram_module, "ROWS", 10**6)


@pytest.mark.parametrize("toy", [NoNorm, Functional, ChannelsLast, TwoOutputs])
def test_both_forms_agree_on_a_layer_whose_input_is_undisturbed(toy: type[Toy]) -> None:
    model, noise = toy(), Noise(300)
    model.norm = nn.Identity()  # batch statistics would disturb the input
    net = supernet(lambda: model)
    known = grams(net, noise)
    first = next(m.tensor for m in net.groups[0].members if m.reads)
    subnetwork = without(net, 0, {1, 4, 6})
    alone = refit(net, subnetwork, known)
    in_sequence = refit_sequentially(net, subnetwork, {first: known[first]}, noise)
    assert not torch.equal(alone.get_parameter(first), slim(net, subnetwork).get_parameter(first))
    assert torch.allclose(in_sequence.get_parameter(first), alone.get_parameter(first), rtol=0, atol=1e-5)


def test_in_sequence_the_last_layer_solves_least_squares_on_what_it_really_reads() -> None:
    net, noise = supernet(Concat), Noise(300)
    subnetwork = random_subnetwork(net, 1)
    model = refit_sequentially(net, subnetwork, grams(net, noise), noise, ridges=[EXACT])
    with batch_statistics(model):
        rows = inputs_of(model, ["head"], noise.images)["head"][0].flatten(0, 1)
    dense = answers(net.model, noise.images)[0].movedim(1, 0).flatten(1)
    expected = least_squares(rows, dense, constant=True)
    assert torch.allclose(model.get_parameter("head.weight").flatten(1), expected, atol=1e-6)


def test_a_weight_read_twice_keeps_its_first_refit() -> None:
    net, noise = supernet(Shared), Noise(50)
    subnetwork, known = without(net, 0, {1, 2}), grams(net, noise)
    alone, after = refit(net, subnetwork, known), refit_sequentially(net, subnetwork, known, noise)
    assert torch.equal(after.get_parameter("again.weight"), alone.get_parameter("again.weight"))
    assert not torch.equal(after.get_parameter("head.weight"), alone.get_parameter("head.weight"))


class Sum(nn.Module):
    """Two branches that are summed: the first reads a group that will be narrowed, the second one that stays."""

    def __init__(self, norm: type[nn.Module]) -> None:
        super().__init__()
        self.first, self.second = conv(3, 8), conv(3, 6)
        self.one, self.two, self.norm, self.head = conv(8, 5), conv(6, 5), norm(5), nn.Conv2d(5, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        one = self.one(F.relu(self.first(x)))
        out: Tensor = self.head(torch.tanh(one + self.norm(self.two(F.relu(self.second(x))))))
        return out


class Unnormed(nn.Identity):
    def __init__(self, width: int) -> None:
        super().__init__()


def sums(model: nn.Module, noise: Noise) -> Tensor:
    """What the two branches add up to, with batch statistics. Shape: → (made, n)"""
    seen: list[Tensor] = []
    head = model.get_submodule("head")
    handle = head.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    with batch_statistics(model):
        answers(model, noise.images)
    handle.remove()
    return torch.atanh(seen[0]).movedim(1, 0).flatten(1)


def test_the_last_summand_makes_up_for_what_the_other_one_lost() -> None:
    net, noise = supernet(lambda: Sum(Unnormed)), Noise(200)
    subnetwork = without(net, 0, {0, 1, 2, 3, 4})
    model = refit_sequentially(net, subnetwork, grams(net, noise), noise, ridges=[EXACT])
    lost = sums(net.model, noise) - sums(model, noise)
    rows = inputs_of(model, ["two"], noise.images)["two"].flatten(0, 2)
    assert (lost @ rows.T).abs().max() < 1e-6 * lost.abs().sum()  # nothing is left that it could make up for
    assert torch.allclose(lost.mean(1), torch.zeros(5, dtype=torch.float64), atol=1e-9)


class Fork(nn.Module):
    """One branch that is a summand twice; it reads a group that will be narrowed, its partners one that stays."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = conv(3, 8), conv(3, 6)
        self.shared, self.one, self.two, self.head = conv(8, 5), conv(6, 5), conv(6, 5), nn.Conv2d(10, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        shared, read = self.shared(F.relu(self.first(x))), F.relu(self.second(x))
        out: Tensor = self.head(torch.tanh(torch.cat([shared + self.one(read), shared + self.two(read)], 1)))
        return out


def test_two_summands_make_up_for_what_they_share() -> None:
    net, noise = supernet(Fork), Noise(200)
    model = refit_sequentially(net, without(net, 0, {0, 1, 2, 3, 4}), grams(net, noise), noise, ridges=[EXACT])
    lost = sums(net.model, noise) - sums(model, noise)
    rows = inputs_of(model, ["two"], noise.images)["two"].flatten(0, 2)
    assert lost.abs().max() > 1e-3
    assert (lost @ rows.T).abs().max() < 1e-6 * lost.abs().sum()


def test_the_last_summand_makes_up_for_it_through_batch_norm() -> None:
    net, noise = supernet(lambda: Sum(nn.BatchNorm2d)), Noise(200)
    subnetwork, known = without(net, 0, {0, 1, 2, 3, 4}), grams(net, noise)
    with torch.no_grad():
        wanted = torch.atanh(inputs_of(net.model, ["head"], noise.images)["head"].flatten(0, 2))
    alone, after = refit(net, subnetwork, known), refit_sequentially(net, subnetwork, known, noise)
    lost_alone, lost = wanted - sums(alone, noise), wanted - sums(after, noise)
    assert lost.square().mean() < lost_alone.square().mean()
    assert torch.allclose(lost.mean(1), torch.zeros(5, dtype=torch.float64), atol=1e-9)  # batch norm's bias takes it
    assert lost_alone.mean(1).abs().max() > 1e-3


def test_what_no_pixel_disturbed_stays() -> None:
    net, noise = supernet(NoNorm), Noise(50)
    model = refit_sequentially(net, without(net, 1, {0, 3}), grams(net, noise), noise)
    assert torch.allclose(model.get_parameter("stem.weight"), net.model.get_parameter("stem.weight"))


def test_batches_are_even_and_no_larger_than_their_pixels_allow(monkeypatch: pytest.MonkeyPatch) -> None:
    net, noise = supernet(NoNorm), Noise(50)
    assert batch_sizes(net, noise, 1000) == [50]
    monkeypatch.setattr(sequence_module, "PIXELS", 20 * 64 + 63)
    assert batch_sizes(net, noise, 1000) == [17, 17, 16]
    assert batch_sizes(net, noise, 10) == [10]


def test_several_batches_fit_the_first_weight_to_all_images(monkeypatch: pytest.MonkeyPatch) -> None:
    net, noise = supernet(NoNorm), Noise(60)
    subnetwork = without(net, 0, {0, 3})
    whole, fewer = (refit_sequentially(net, subnetwork, {}, noise, images=n, ridges=[1e-3]) for n in (60, 20))
    monkeypatch.setattr(sequence_module, "PIXELS", 20 * 64)
    parts = refit_sequentially(net, subnetwork, {}, noise, ridges=[1e-3])
    name = next(m.tensor for m in net.groups[0].members if m.reads)
    assert torch.allclose(parts.get_parameter(name), whole.get_parameter(name), rtol=0, atol=1e-12)
    assert not torch.allclose(fewer.get_parameter(name), whole.get_parameter(name), rtol=0, atol=1e-6)


class Wide(nn.Module):
    """Many channels, read once for each image."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.head = conv(3, 64), nn.Linear(64, 5)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(F.relu(self.first(x)).mean((2, 3)))
        return out


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("count", [2, 12, 40])
def test_few_images_and_many_columns_make_no_output_of_new_images_worse(seed: int, count: int) -> None:
    net, few, new = supernet(Wide, seed), Noise(count), Noise(400).images[count:]
    subnetwork = without(net, 0, set(range(0, 64, 2)))
    known = grams(net, few)
    inherited, by_grams = slim(net, subnetwork), refit(net, subnetwork, known)
    in_sequence = refit_sequentially(net, subnetwork, known, few)
    wanted = answers(net.model, new)[0]
    errors = [float((answers(model, new)[0] - wanted).square().mean()) for model in (inherited, by_grams, in_sequence)]
    assert errors[2] <= min(errors[:2]) * 1.05


def test_a_single_image_proves_nothing() -> None:
    net, one = supernet(NoNorm), Noise(1)
    subnetwork, known = without(net, 0, {0, 3}), grams(net, one)
    alone, after = refit(net, subnetwork, known), refit_sequentially(net, subnetwork, known, one)
    for name, weight in alone.named_parameters():
        assert torch.allclose(after.get_parameter(name), weight, rtol=0, atol=1e-12)
