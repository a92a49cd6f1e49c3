"""Networks of all kinds: what of each can be pruned, and that pruning gives what was promised."""

from collections.abc import Callable
from typing import TypeAlias

import pytest
import torch
from equality import CLOSE, assert_costs, assert_slims, gap, gaps, images, in_double, random_subnetwork, randomised, run
from structures import STRUCTURES, AuxiliaryHead, OtherLayers, SameLayers, Structure
from torch import Tensor, nn

from secateur.errors import SecateurError
from secateur.models.subnetwork import Subnetwork
from secateur.models.supernet import Supernet
from secateur.models.surgery.reference import reference
from secateur.models.surgery.slim import slim
from secateur.models.tracing.modules import evaluating

Case: TypeAlias = tuple[Structure, Supernet]


def supernet(make: Callable[[], nn.Module], *examples: Tensor) -> Supernet:
    torch.manual_seed(0)
    return Supernet.of(randomised(make(), *examples), examples)


@pytest.fixture(scope="module", params=STRUCTURES, ids=lambda structure: structure.make.__name__)
def case(request: pytest.FixtureRequest) -> Case:
    structure: Structure = request.param
    return structure, supernet(structure.make, *(torch.zeros(shape) for shape in structure.inputs))


def test_groups_and_reasons_follow_from_the_structure(case: Case) -> None:
    structure, net = case
    reasons = {group.name.partition("#")[0]: str(group.frozen) for group in net.frozen}
    assert {group.name: group.width for group in net.groups} == structure.prunable
    assert {name for name, why in reasons.items() if why == "is an output of the network"} == set(structure.outputs)
    assert reasons.keys() - structure.outputs == structure.frozen.keys()
    assert all(reasons[name].startswith(why) for name, why in structure.frozen.items())


def test_slimmed_networks_give_the_promised_outputs_at_the_promised_costs(case: Case) -> None:
    assert_slims(case[1])


def test_every_group_shows_in_the_outputs(case: Case) -> None:
    """Else the comparison of outputs would prove nothing."""
    net = in_double(case[1])
    inputs, dense = images(net, 4), net.dense.kept
    with evaluating(net.model):
        before = reference(net, net.dense, *inputs)
        for g, group in enumerate(net.groups):
            narrow = Subnetwork(tuple(kept[:1] if i == g else kept for i, kept in enumerate(dense)))
            assert gap(reference(net, narrow, *inputs), before) > 1e-6, group.name


@pytest.mark.parametrize("traced_on", [1.0, -1.0])
def test_values_that_choose_between_activations_leave_every_layer_prunable(traced_on: float) -> None:
    net = supernet(SameLayers, torch.full((1, 3, 8, 8), traced_on))
    assert {group.name: group.width for group in net.groups} == {"stem.0": 8, "conv": 6}
    assert_slims(net, device="cpu")
    for shift in (3, -3):
        inputs = tuple(x + shift for x in images(net, 4))
        assert max(gaps(net, random_subnetwork(net, 0), inputs)) < CLOSE[torch.float32]


@pytest.mark.parametrize("traced_on", [1.0, -1.0])
def test_values_that_choose_between_layers_give_an_error_or_a_network_that_is_right_on_both_sides(
    traced_on: float,
) -> None:
    try:
        net = supernet(OtherLayers, torch.full((1, 3, 8, 8), traced_on))
    except SecateurError:
        return
    subnetwork = Subnetwork(tuple((0,) for _ in net.groups))
    assert_costs(net, subnetwork, "cpu")
    for shift in (3, -3):
        inputs = tuple(x + shift for x in images(net, 4))
        assert max(gaps(net, subnetwork, inputs)) < CLOSE[torch.float32]


def test_layers_that_only_training_runs_still_run_in_a_slimmed_network() -> None:
    net = supernet(AuxiliaryHead, torch.zeros(1, 3, 8, 8))
    made = run(slim(net, random_subnetwork(net, 0)).train(), images(net, 4))
    assert [tuple(x.shape) for x in made] == [(4, 5), (4, 5)]


def test_torch_s_default_device_changes_nothing() -> None:
    structure = STRUCTURES[0]
    dense, example = structure.make(), torch.zeros(structure.inputs[0])
    with torch.device("meta"):
        net = Supernet.of(dense, example)
    assert {group.name: group.width for group in net.groups} == structure.prunable
