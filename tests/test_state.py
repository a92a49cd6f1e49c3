import copy
import random
from collections import OrderedDict, deque
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from stateful import KINDS, Cached, Hooked, Kept, network
from torch import Tensor, nn

import secateur as sc
from secateur.models.tracing.reach import reachable
from secateur.models.tracing.state import Snapshot, untouched

IMAGE = torch.zeros(1, 3, 8, 8)


def contents(model: nn.Module) -> dict[int, Any]:
    """Everything that a network can reach, by identity, with the identities or values of what it holds."""
    found: dict[int, Any] = {}
    for x in reachable(model):
        if isinstance(x, Tensor):
            found[id(x)] = x.detach().clone()
        elif isinstance(x, np.ndarray):
            found[id(x)] = torch.from_numpy(x.copy())
        elif isinstance(x, dict):
            found[id(x)] = [(key, id(value)) for key, value in x.items()]
        elif isinstance(x, (list, set, deque)):
            found[id(x)] = list(map(id, x))
    return found


def numpy_state() -> list[int]:
    state: Any = np.random.get_state()  # noqa: NPY002
    numbers: list[int] = state[1].tolist()
    return numbers


def assert_same(before: dict[int, Any], after: dict[int, Any]) -> None:
    assert before.keys() == after.keys()
    for key, value in before.items():
        same = torch.equal(value, after[key]) if isinstance(value, Tensor) else value == after[key]
        assert same


@settings(max_examples=25, deadline=None)
@given(
    kinds=st.lists(st.sampled_from(KINDS), min_size=1, max_size=3),
    runs=st.integers(0, 2),
    training=st.booleans(),
    check=st.booleans(),
)
def test_a_network_is_as_it_was_whatever_its_forward_writes(
    kinds: list[type[Kept]], runs: int, training: bool, check: bool
) -> None:
    torch.manual_seed(0)
    model: Any = network(kinds).train(training)
    copy.deepcopy(model)  # copyreg notes in a class which slots it has
    images = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        for _ in range(runs):
            model(images)
    before, streams = contents(model), (torch.get_rng_state(), random.getstate(), numpy_state())
    net = sc.Supernet.of(model, IMAGE, check=check)
    assert_same(before, contents(model))
    assert torch.equal(streams[0], torch.get_rng_state())
    assert streams[1:] == (random.getstate(), numpy_state())
    assert all(module.training is training for module in model.modules())
    assert net.model is model
    with torch.no_grad():
        assert model(images).isfinite().all()


@settings(max_examples=15, deadline=None)
@given(kinds=st.lists(st.sampled_from(KINDS), min_size=1, max_size=3), seed=st.integers(0, 9))
def test_a_network_answers_the_same_before_and_after(kinds: list[type[Kept]], seed: int) -> None:
    torch.manual_seed(seed)
    model = network(kinds).eval()
    images = torch.randn(2, 3, 8, 8)
    with torch.no_grad(), untouched(model):
        before = model(images).clone()
    sc.Supernet.of(model, IMAGE)
    with torch.no_grad():
        assert torch.equal(before, model(images))


@pytest.mark.parametrize("kind", KINDS)
def test_no_kind_of_state_freezes_a_group(kind: type[Kept]) -> None:
    net = sc.Supernet.of(network([kind]).eval(), IMAGE)
    assert sum(group.width for group in net.groups) == 12


def test_a_class_attribute_and_a_functions_cache_are_put_back() -> None:
    model: Any = network([Cached])
    calls = Cached.calls
    with torch.no_grad(), untouched(model):
        model(IMAGE)
        assert Cached.calls == calls + 1
    assert Cached.calls == calls
    assert Cached.write.__globals__["ramp"].cache_info().currsize == 0


def test_what_an_error_leaves_behind_is_put_back_too() -> None:
    model: Any = network([Hooked])
    with pytest.raises(RuntimeError, match="channels"), untouched(model):
        nn.Sequential(*model, model)(IMAGE)  # the second time on four channels
    assert model[1].stored == {}


def test_an_ordered_dictionary_comes_back_in_its_order() -> None:
    model: Any = nn.Module()
    model.order = OrderedDict(a=1, b=2)
    with untouched(model):
        model.order.move_to_end("a")
        model.order["c"] = 3
    assert list(model.order.items()) == [("a", 1), ("b", 2)]
    model.order.move_to_end("a")
    assert list(model.order) == ["b", "a"]


def test_a_snapshot_is_come_back_to_more_than_once() -> None:
    model: Any = nn.Module()
    model.seen = [1]
    before = Snapshot(model)
    for _ in range(2):
        with before.kept():
            model.seen.append(2)
        assert model.seen == [1]


def test_a_tensor_whose_data_were_exchanged_has_its_own_again() -> None:
    model: Any = nn.Module()
    model.scale = torch.ones(2)
    scale = model.scale
    with untouched(model):
        scale.data = torch.zeros(3)
    assert scale.tolist() == [1, 1]


def test_generators_that_a_network_holds_go_back() -> None:
    model: Any = nn.Module()
    model.ours, model.theirs, model.plain = torch.Generator(), np.random.default_rng(0), random.Random(0)

    def draw() -> tuple[float, float, float]:
        return float(torch.rand((), generator=model.ours)), float(model.theirs.random()), model.plain.random()

    with untouched(model):
        first = draw()
    assert draw() == first
