"""Steps of widths that pay, with made-up seconds of layers."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from chains import plain
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from secateur.errors import SecateurError
from secateur.models.costs.widths import fills_budget, fit_to_budget
from secateur.models.structure import Structure
from secateur.models.timing import steps as steps_module
from secateur.models.timing.steps import (
    CHOICES,
    STEPS,
    Steps,
    layer_macs,
    layers_of,
    measured_steps,
    sample_widths,
    smallest_that_pays,
)

WIDTHS = (16, 64, 128, 20)


class Padded:
    """A timer of a device that computes channels in blocks: each product takes as long as the next full blocks."""

    def __init__(self, block: int, net: Structure, model: nn.Module, images: Sequence[Tensor]) -> None:
        shapes = [weight.shape for weight in model.parameters() if weight.ndim > 1]
        full = [float(np.prod([-(-size // block) * block for size in shape[:2]])) for shape in shapes]
        self.layers = np.array([0.0, *net.space.costs.macs.scale * full])

    def warm_up(self) -> None:
        pass

    def whole(self) -> float:
        return float(self.layers.sum())

    def run(self) -> None:
        pass

    def seconds(self) -> Any:
        return np.tile(self.layers, (5, 1))


@pytest.mark.parametrize("block", [1, 4, 8, 16])
def test_each_group_gets_the_block_of_the_device_as_far_as_it_has_room(
    block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = plain(WIDTHS)
    monkeypatch.setattr(steps_module, "layer_timer", lambda net, model, images, *_: Padded(block, net, model, images))
    found = measured_steps(net)
    assert list(found.steps) == [group.name for group in net.groups]
    wide = [found.steps[group.name] for group in net.groups if group.width >= CHOICES * block]
    assert min(wide) >= block
    assert found.steps[net.groups[0].name] == 4  # of 16 channels: four widths are left
    assert min(found.steps[group.name] for group in net.groups if group.width >= 32) >= 8
    assert all(step * CHOICES <= group.width for step, group in zip(found.steps.values(), net.groups, strict=True))
    assert (max(found.saved.values()) > 0) == (block > 1)


def test_a_budget_is_met_to_the_last_step_of_each_group() -> None:
    net = plain(WIDTHS).in_steps(
        {group.name: step for group, step in zip(plain(WIDTHS).groups, (4, 16, 8), strict=False)}
    )
    budget = net.budget("50%")
    widths = fit_to_budget(net.space, budget, net.space.dense)
    assert fills_budget(net.space, budget, widths)
    assert (widths % net.space.steps == 0).all()
    assert sorted(set(net.space.steps.tolist())) == [1, 4, 8, 16]


@given(st.lists(st.integers(1, 700), min_size=1, max_size=6), st.sampled_from(STEPS))
def test_sampled_widths_are_multiples_of_the_step_and_of_no_coarser_one_as_far_as_there_is_room(
    dense: list[int], step: int
) -> None:
    widths = sample_widths(np.array(dense), step)
    assert ((widths >= 1) & (widths <= dense)).all()
    for width, whole in zip(widths.tolist(), dense, strict=True):
        if whole >= CHOICES * step:
            assert width % step == 0
        if whole >= 2 * CHOICES * step and step < STEPS[-1]:
            assert width % (2 * step) == step


def test_products_are_those_that_a_group_is_read_or_made_by() -> None:
    net = plain(WIDTHS)
    touched = layers_of(net.space.costs.macs)
    assert touched.sum(0).tolist() == [2] * len(net.groups)
    assert layer_macs(net.space.costs.macs, net.space.dense).sum() == net.macs(net.dense)


def test_steps_that_hardly_pay_are_not_taken() -> None:
    assert smallest_that_pays({1: 1.04, 4: 1.02, 8: 1.0}) == 1
    assert smallest_that_pays({1: 3.0, 4: 2.0, 8: 2.1}) == 4
    assert smallest_that_pays({}) == 1


def test_finer_steps_are_halves() -> None:
    assert Steps({"a": 16, "b": 1}, {}, {}).finer.steps == {"a": 8, "b": 1}
    assert Steps({"a": 16, "b": 1}, {}, {}).coarsest == 16


def test_steps_come_back_from_json() -> None:
    net = plain(WIDTHS)
    steps = Steps({g.name: 4 for g in net.groups}, {g.name: 0.25 for g in net.groups}, {"threads": 1})
    assert Steps.from_json(steps.to_json(), net) == steps


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": "secateur/steps/1", "groups": {"a": 3}}'])
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(SecateurError, match="measure them again"):
        Steps.from_json(text, plain(WIDTHS))


def test_steps_of_another_network_are_refused() -> None:
    steps = Steps({"other": 4}, {"other": 0.1}, {})
    with pytest.raises(SecateurError, match="another network"):
        Steps.from_json(steps.to_json(), plain(WIDTHS))


def test_torch_itself_is_timed() -> None:
    net = plain((8, 12))
    found = measured_steps(net)
    assert set(found.steps.values()) <= {1, 2, 4}
    assert found.conditions["threads"] == torch.get_num_threads()
