"""What holds of every score, whatever it measures."""

from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch
from scored import Given, drawn, noise, residual
from torch import nn
from toys import TOYS, NamedOutputs, Toy, TwoOutputs

from secateur.models.supernet import Supernet
from secateur.search.importance import registry as catalogue
from secateur.search.importance.registry import SCORES
from secateur.search.importance.scores import Importance, Normalisation, lamp, per_group

NAMED = pytest.mark.parametrize("importance", SCORES.values(), ids=list(SCORES))


def test_scores_go_by_the_names_of_their_functions() -> None:
    functions = {**{name: name for name in SCORES}, "random": "random_scores"}  # the module of that name is Python's
    assert {name: score.__name__ for name, score in SCORES.items()} == functions
    assert {"l1", "l2", "fpgm", "bn_scale", "taylor", "taylor_weight", "obs", "hrank", "chip", "random"} <= {*SCORES}


@NAMED
@pytest.mark.parametrize("toy", [toy for toy in TOYS if toy not in (TwoOutputs, NamedOutputs)])  # no one loss of two
def test_every_channel_of_every_structure_gets_a_finite_score(toy: type[Toy], importance: Importance) -> None:
    torch.manual_seed(0)
    trunk = toy()
    norm = nn.BatchNorm1d(6)  # so that at least one group has a batch norm
    model = nn.Sequential(trunk, nn.Flatten(), nn.LazyLinear(6), norm, nn.ReLU(), nn.Linear(6, 4)).eval()
    model(torch.zeros(2, 3, 8, 8))
    net = Supernet.of(model, torch.zeros(1, 3, 8, 8), check=False)
    scores = importance(net, drawn(6))
    assert [score.shape for score in scores] == [(group.width,) for group in net.groups]
    assert all(np.isfinite(score).all() and (score >= -1e-9).all() and score.dtype == np.float64 for score in scores)


@NAMED
@pytest.mark.parametrize("training", [True, False])
def test_scoring_leaves_the_model_as_it_was(importance: Importance, training: bool) -> None:
    net = residual()
    net.model.train(training)
    net.model.get_submodule("inner").train(not training)
    net.model.get_parameter("down.weight").requires_grad_(False)
    head = net.model.get_parameter("head.weight")
    head.grad = torch.ones(4, 20)
    before = deepcopy(net.model)
    importance(net, noise(100))
    assert all(torch.equal(before.state_dict()[name], tensor) for name, tensor in net.model.state_dict().items())
    assert [m.training for m in net.model.modules()] == [m.training for m in before.modules()]
    for left, right in zip(before.parameters(), net.model.parameters(), strict=True):
        assert left.requires_grad == right.requires_grad
        assert (right.grad is None) == (right is not head)
    assert torch.equal(torch.as_tensor(head.grad), torch.ones(4, 20))


@NAMED
def test_a_score_does_not_depend_on_the_mode_of_the_model(importance: Importance) -> None:
    net, split = residual(), noise(100)
    expected = importance(net, split)
    net.model.train()
    assert all(map(np.array_equal, importance(net, split), expected))


@pytest.mark.parametrize("name", [name for name in SCORES if name != "random"])
def test_a_score_belongs_to_its_channel_wherever_it_stands(name: str) -> None:
    net, split = residual(), noise(60)
    model, order = deepcopy(net.model), torch.tensor([3, 0, 5, 1, 4, 2])
    state = model.state_dict()
    for key, dim in {"inner.weight": 0, "inner.bias": 0, "back.weight": 1}.items():
        state[key] = state[key].index_select(dim, order)
    for key in ("weight", "bias", "running_mean", "running_var"):
        state[f"inner_norm.{key}"] = state[f"inner_norm.{key}"][order]
    model.load_state_dict(state)
    at = [group.name for group in net.groups].index("inner")
    before, after = SCORES[name](net, split)[at], SCORES[name](replace(net, model=model), split)[at]
    np.testing.assert_allclose(after, before[order.numpy()], rtol=1e-3, atol=1e-3 * before.max())
    assert np.ptp(before) > 0


@pytest.mark.parametrize("name", ["l1", "l2", "fpgm", "bn_scale", "random"])
def test_data_free_scores_read_nothing(name: str) -> None:
    split = Given(torch.zeros(9, 3, 8, 8))
    SCORES[name](residual(), split)
    assert split.read == []


@pytest.mark.parametrize("name", ["taylor", "taylor_weight", "obs", "hrank", "chip"])
def test_the_catalogue_says_how_many_images_a_score_reads(name: str) -> None:
    split, said = drawn(2100), " ".join(str(catalogue.__doc__).split())
    SCORES[name](residual(), split)
    images, batches = sum(split.read), len(split.read)
    words = {
        "taylor": ("2,000 images in 8 batches", 2000, 8),
        "obs": ("1,000 in 2 for Grams and the same in 4 for gradients", 2000, 6),
        "hrank": ("100 in 5", 100, 5),
        "chip": ("20 in one", 20, 1),
    }[name.partition("_")[0]]
    assert words[0] in said
    assert (images, batches) == words[1:]


@NAMED
@pytest.mark.parametrize("normalise", [per_group, lamp])
def test_normalising_keeps_the_order_of_the_channels(normalise: Normalisation, importance: Importance) -> None:
    scores = importance(residual(), noise(40))
    for score, normalised in zip(scores, normalise(scores), strict=True):
        assert (np.argsort(-score, kind="stable") == np.argsort(-normalised, kind="stable")).all()
