"""Elimination by second-order error against removing and refitting by hand."""

import numpy as np
import pytest
import torch
from test_ridge import EXACT, Noise, Twins, answers, supernet, without
from torch import Tensor, nn
from toys import TOYS, Concat, Grouped, NamedOutputs, NoNorm, Shared, SqueezeExcite, Toy, Transposed, TwoOutputs, conv

from secateur.models.compensation import gram as gram_module
from secateur.models.compensation.gram import grams
from secateur.models.compensation.ridge import refit
from secateur.models.supernet import Supernet
from secateur.search.importance import second_order as obs_module
from secateur.search.importance.second_order import eliminations, fisher, obs


@pytest.fixture(autouse=True)
def _every_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gram_module, "ROWS", 10**6)


class Pooled(nn.Module):
    """A toy whose output is one row of logits an image."""

    def __init__(self, toy: type[Toy]) -> None:
        super().__init__()
        self.toy = toy()

    def forward(self, x: Tensor) -> Tensor:
        out = torch.as_tensor(self.toy(x))
        return out.flatten(2).mean(2) if out.ndim > 2 else out


def pooled(toy: type[Toy]) -> Supernet:
    return supernet(lambda: Pooled(toy))


def input_of(net: Supernet, name: str, noise: Noise) -> Tensor:
    seen: list[Tensor] = []
    handle = net.model.get_submodule(name).register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    answers(net.model, noise.images)
    handle.remove()
    return seen[0]


def error_by_hand(net: Supernet, group: int, gone: list[int], name: str, noise: Noise, slopes: Tensor) -> float:
    """Half the squared error of one layer's refitted outputs on its dense input, weighted by ``slopes``."""
    subnetwork = without(net, group, set(gone))
    (member,) = (m for m in net.groups[group].members if m.reads and m.tensor == f"{name}.weight")
    layer, x = net.model.get_submodule(name), input_of(net, name, noise)
    size = net.shapes[member.tensor][member.dim]
    stays = np.setdiff1d(np.arange(size), member.where(np.array(gone)))
    known = {member.tensor: grams(net, noise)[member.tensor]}
    refitted = refit(net, subnetwork, known, EXACT).get_submodule(name)
    parts = x.reshape(len(x), -1, size, *x.shape[2:])[:, :, torch.from_numpy(stays)].flatten(1, 2)
    with torch.no_grad():
        missing = layer(x) - refitted(parts)
    return float((missing.square().movedim(1, 0).flatten(1).mean(1) * slopes).sum()) / 2


@pytest.mark.parametrize(
    ("toy", "group", "name"),
    [(NoNorm, 1, "toy.head"), (Grouped, 1, "toy.head"), (Concat, 0, "toy.conv2"), (SqueezeExcite, 1, "toy.excite")],
)
def test_the_curve_is_the_error_left_after_removing_and_refitting(toy: type[Toy], group: int, name: str) -> None:
    net, noise = pooled(toy), Noise(200)
    known, slopes, tensor = grams(net, noise), fisher(net, noise), f"{name}.weight"
    found = eliminations(net, {tensor: known[tensor]}, slopes, EXACT)[group]
    width = net.groups[group].width
    for left in range(1, width):
        expected = error_by_hand(net, group, found.order[: width - left].tolist(), name, noise, slopes[tensor])
        assert found.curve[left] == pytest.approx(expected, rel=1e-5, abs=1e-12)


def test_the_first_to_go_is_the_one_whose_going_costs_least() -> None:
    net, noise = pooled(NoNorm), Noise(200)
    slopes = fisher(net, noise)
    name = next(m.tensor for m in net.groups[0].members if m.reads)
    found = eliminations(net, grams(net, noise), slopes, EXACT)[0]
    module = name.removesuffix(".weight")
    alone = [error_by_hand(net, 0, [c], module, noise, slopes[name]) for c in range(net.groups[0].width)]
    assert found.order[0] == np.argmin(alone)


def test_a_group_pays_for_all_the_layers_that_read_it() -> None:
    net, noise = pooled(Concat), Noise(100)
    known, slopes = grams(net, noise), fisher(net, noise)
    readers = [m.tensor for m in net.groups[0].members if m.reads]
    together = eliminations(net, known, slopes)[0].curve[0]
    alone = [eliminations(net, {name: known[name]}, slopes)[0].curve[0] for name in readers]
    assert len(readers) > 1
    assert together == pytest.approx(sum(alone))


def test_of_two_equal_channels_one_goes_free_and_the_other_does_not() -> None:
    class Net(Twins):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x).mean((2, 3))

    net, noise = supernet(lambda: Net(lambda: conv(8, 5))), Noise(200)
    found = eliminations(net, grams(net, noise), fisher(net, noise), 1e-9)[0]
    assert found.order[0] in (0, 1)
    assert found.curve[7] < 1e-6 * found.curve[6]


@pytest.mark.parametrize("toy", [toy for toy in TOYS if toy not in (TwoOutputs, NamedOutputs)])
def test_every_structure_has_curves_that_fall_with_the_width(toy: type[Toy]) -> None:
    net, noise = pooled(toy), Noise(20)
    found = eliminations(net, grams(net, noise), fisher(net, noise))
    for group, each in zip(net.groups, found, strict=True):
        assert sorted(each.order) == list(range(group.width))
        assert each.curve.shape == (group.width + 1,)
        assert each.curve[-1] == 0
        assert np.isfinite(each.curve).all()
        assert (np.diff(each.curve) <= 1e-9 * each.curve[0]).all()


@pytest.mark.parametrize("toy", [NoNorm, Shared, Grouped])
def test_the_score_keeps_the_channels_that_go_last(toy: type[Toy]) -> None:
    net, noise = pooled(toy), Noise(50)
    found = eliminations(net, grams(net, noise), fisher(net, noise))
    for score, each in zip(obs(net, noise), found, strict=True):
        assert np.array_equal(np.argsort(score, kind="stable"), each.order)


def test_several_channels_a_step_end_at_the_same_error(monkeypatch: pytest.MonkeyPatch) -> None:
    net, noise = pooled(NoNorm), Noise(100)
    known, slopes = grams(net, noise), fisher(net, noise)
    one = eliminations(net, known, slopes)[0].curve
    monkeypatch.setattr(obs_module, "STEPS", 3)
    some = eliminations(net, known, slopes)[0].curve
    assert some[0] == pytest.approx(one[0])
    assert (np.diff(some) <= 0).all()


def test_layers_that_cannot_be_counted_are_named() -> None:
    net, noise = pooled(Transposed), Noise(20)
    found = eliminations(net, grams(net, noise), fisher(net, noise))
    assert [each.left_out for each in found] == [("toy.up.weight",), (), ()]


def test_fisher_is_the_mean_of_each_images_gradient_squared() -> None:
    net, noise = pooled(NoNorm), Noise(10)
    found = fisher(net, noise)
    head = net.model.get_submodule("toy.head")
    assert isinstance(head, nn.Conv2d)
    expected = torch.zeros(5, dtype=torch.float64)
    for batch in noise.batches(1):
        logits = net.model(batch.images)[0].detach()
        slope = logits.softmax(0) - torch.eye(5, dtype=torch.float64)[batch.labels[0]]
        expected += slope.square() / 10  # each of 6x6 places makes a 36th of the logit
    assert torch.allclose(found["toy.head.weight"], expected)


def test_frozen_weights_have_a_fisher_too_and_nothing_is_left_behind() -> None:
    net, noise = pooled(NoNorm), Noise(10)
    expected = fisher(net, noise)
    net.model.requires_grad_(False)
    found = fisher(net, noise)
    assert expected.keys() == found.keys()
    assert all(torch.allclose(expected[name], found[name]) for name in expected)
    assert all(p.grad is None for p in net.model.parameters())
