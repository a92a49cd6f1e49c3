"""A slimmed network against its reference: the dense one whose removed channels nobody reads."""

from collections.abc import Callable
from copy import deepcopy

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode
from toys import (
    FROZEN,
    PRUNABLE,
    TOYS,
    Concat,
    Flatten,
    Grouped,
    Multiplier,
    NoNorm,
    Shared,
    Slopes,
    Toy,
    Transposed,
)

from secateur.errors import SecateurError
from secateur.models.evaluate import batch_statistics
from secateur.models.subnetwork import Subnetwork
from secateur.models.supernet import Supernet
from secateur.models.surgery.slim import masked, narrow, slim
from secateur.models.zoo.mobilenetv2 import mobilenetv2
from secateur.models.zoo.resnet import resnet20, resnet56
from secateur.models.zoo.vgg import vgg11_bn

CLOSE = {torch.float32: 1e-4, torch.float64: 1e-9}  # of the largest output


def trained(model: nn.Module, seed: int, dtype: torch.dtype = torch.float64) -> nn.Module:
    """Batch norm as after training: at its start, mistakes in its vectors would not show."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._NormBase):
            for vector in (module.weight, module.bias, module.running_mean):
                if vector is not None:
                    nn.init.normal_(vector, 0.5, 0.5, generator=generator)
            if module.running_var is not None:
                nn.init.uniform_(module.running_var, 0.5, 2, generator=generator)
    return model.to(dtype)


def supernet(
    make: Callable[[], nn.Module], seed: int = 0, size: int = 8, dtype: torch.dtype = torch.float64
) -> Supernet:
    torch.manual_seed(seed)
    return Supernet.of(trained(make(), seed, dtype), torch.zeros(1, 3, size, size, dtype=dtype))


def random_subnetwork(net: Supernet, seed: int) -> Subnetwork:
    """Any channels of any number, not the first ones."""
    g = np.random.default_rng(seed)
    chosen = [g.choice(x.width, g.integers(1, x.width + 1), replace=False) for x in net.groups]
    return Subnetwork(tuple(tuple(np.sort(channels).tolist()) for channels in chosen))


def gap(slimmed: nn.Module, reference: nn.Module, x: Tensor) -> float:
    """The largest difference of the outputs, as a share of the largest output."""
    with torch.no_grad():
        pairs = list(zip(tree_leaves(slimmed(x)), tree_leaves(reference(x)), strict=True))
    assert all(a.shape == b.shape for a, b in pairs)
    return max(float((a - b).abs().max() / b.abs().max()) for a, b in pairs)


def gaps(net: Supernet, subnetwork: Subnetwork, x: Tensor) -> tuple[float, float]:
    """With running statistics and with those of the batch."""
    slimmed, reference = slim(net, subnetwork).eval(), masked(net, subnetwork).eval()
    running = gap(slimmed, reference, x)
    with batch_statistics(slimmed), batch_statistics(reference):
        return running, gap(slimmed, reference, x)


@pytest.mark.parametrize("dtype", CLOSE, ids=str)
@pytest.mark.parametrize("make", [resnet20, vgg11_bn, mobilenetv2])
def test_slim_equals_masked_with_running_and_with_batch_statistics(
    make: Callable[[], nn.Module], dtype: torch.dtype
) -> None:
    net = supernet(make, size=32, dtype=dtype)
    x = torch.randn(4, 3, 32, 32, dtype=dtype)
    for seed in range(3 if make is resnet20 else 1):
        assert max(gaps(net, random_subnetwork(net, seed), x)) < CLOSE[dtype]


def test_slim_equals_masked_on_resnet56() -> None:
    net = supernet(resnet56, size=16)
    assert max(gaps(net, random_subnetwork(net, 0), torch.randn(4, 3, 16, 16, dtype=torch.float64))) < 1e-9


def test_slim_equals_masked_on_every_device(device: torch.device) -> None:
    net = supernet(resnet20, size=16)
    moved = Supernet.of(net.model.to(device), net.examples[0].to(device))
    x = torch.randn(4, 3, 16, 16, dtype=torch.float64, device=device)
    assert max(gaps(moved, random_subnetwork(moved, 0), x)) < 1e-9


@pytest.mark.parametrize("toy", TOYS)
def test_slim_equals_masked_whatever_the_structure(toy: type[Toy]) -> None:
    net = supernet(toy)
    x = torch.randn(4, 3, 8, 8, dtype=torch.float64)
    for seed in range(5):
        assert max(gaps(net, random_subnetwork(net, seed), x)) < 1e-9


@pytest.mark.parametrize("toy", TOYS)
def test_a_mask_changes_the_outputs_so_that_equality_says_something(toy: type[Toy]) -> None:
    net = supernet(toy)
    least = Subnetwork(tuple((group.width - 1,) for group in net.groups))
    reference = masked(net, least).eval()
    assert gap(reference, net.model.eval(), torch.randn(4, 3, 8, 8, dtype=torch.float64)) > 1e-3


@pytest.mark.parametrize("toy", TOYS)
def test_a_slimmed_network_costs_what_its_widths_say(toy: type[Toy]) -> None:
    net = supernet(toy)
    for seed in range(5):
        subnetwork = random_subnetwork(net, seed)
        slimmed = slim(net, subnetwork).eval()
        with FlopCounterMode(display=False) as counter:
            slimmed(net.examples[0])
        assert counter.get_total_flops() == 2 * net.macs(subnetwork)
        assert sum(p.numel() for p in slimmed.parameters()) == net.parameters(subnetwork)


@pytest.mark.parametrize("toy", TOYS)
def test_only_what_cannot_go_is_frozen_and_it_says_why(toy: type[Toy]) -> None:
    net = supernet(toy)
    outputs = "is an output of the network"
    assert [group.width for group in net.groups] == PRUNABLE[toy]
    stay: dict[str, int] = {}
    for group in net.frozen:
        assert group.frozen is not None
        stay[group.frozen] = stay.get(group.frozen, 0) + group.width
    assert stay.pop(outputs) >= 5
    assert stay == FROZEN.get(toy, {})


@pytest.mark.parametrize("toy", [*TOYS, resnet20])
def test_nothing_removed_gives_the_same_outputs_and_the_same_class(toy: Callable[[], nn.Module]) -> None:
    net = supernet(toy)
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    model = net.model.eval()
    for same in (slim(net, net.dense), masked(net, net.dense)):
        assert type(same) is type(model)
        with torch.no_grad():
            assert all(map(torch.equal, tree_leaves(same(x)), tree_leaves(model(x))))


@pytest.mark.parametrize("build", [slim, masked])
@pytest.mark.parametrize("make", [Grouped, Multiplier, Shared, Slopes, Transposed, resnet20])
def test_the_original_stays_as_it_was(
    build: Callable[[Supernet, Subnetwork], nn.Module], make: Callable[[], nn.Module]
) -> None:
    net = supernet(make)
    before, attributes = deepcopy(net.model.state_dict()), [str(m) for m in net.model.modules()]
    built = build(net, random_subnetwork(net, 0))
    with torch.no_grad():
        for tensor in (*built.parameters(), *built.buffers()):
            tensor.fill_(7)
    assert attributes == [str(m) for m in net.model.modules()]
    after = net.model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("toy", TOYS)
def test_no_memory_is_shared_with_the_original_and_gradients_stay_behind(toy: type[Toy]) -> None:
    net = supernet(toy)
    for parameter in net.model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    model = slim(net, random_subnetwork(net, 0))
    old, new = ({x.untyped_storage().data_ptr() for x in m.state_dict().values()} for m in (net.model, model))
    assert not old & new
    assert all(parameter.grad is None for parameter in model.parameters())


def test_attributes_of_a_slimmed_resnet_say_what_its_tensors_are() -> None:
    net = supernet(resnet20)
    for seed in range(3):
        for module in slim(net, random_subnetwork(net, seed)).modules():
            if isinstance(module, nn.Conv2d):
                assert (module.out_channels, module.in_channels) == module.weight.shape[:2]
            elif isinstance(module, nn.Linear):
                assert (module.out_features, module.in_features) == module.weight.shape
            elif isinstance(module, nn.BatchNorm2d):
                assert module.running_mean is not None
                assert module.num_features == len(module.weight) == len(module.bias) == len(module.running_mean)


def attributes(module: nn.Module, *names: str) -> list[int]:
    return [getattr(module, name) for name in names]


def test_attributes_of_grouped_and_depthwise_convolutions_follow_their_groups() -> None:
    named = ("in_channels", "out_channels", "groups")
    grouped = slim(supernet(Grouped), Subnetwork(((1,), (0, 2))))
    assert attributes(grouped.get_submodule("grouped"), *named) == [4, 8, 4]
    assert attributes(grouped.get_submodule("norm2"), "num_features") == [8]
    assert attributes(grouped.get_submodule("head"), *named) == [8, 5, 1]
    depthwise = slim(supernet(Multiplier), Subnetwork(((1, 4, 6),)))
    assert attributes(depthwise.get_submodule("depthwise"), *named) == [3, 9, 3]
    one = slim(supernet(Multiplier), Subnetwork(((5,),)))
    assert attributes(one.get_submodule("depthwise"), *named) == [1, 3, 1]


def test_attributes_of_transposed_convolutions_prelus_and_linear_layers_follow() -> None:
    named = ("in_channels", "out_channels", "groups")
    transposed = slim(supernet(Transposed), Subnetwork(((1, 2), (0, 3, 5), (2,))))
    assert attributes(transposed.get_submodule("up"), *named) == [2, 3, 1]
    assert attributes(transposed.get_submodule("up3"), *named) == [3, 3, 3]
    slopes = slim(supernet(Slopes), Subnetwork(((1, 2, 7), (0,))))
    assert attributes(slopes.get_submodule("slopes"), "num_parameters") == [3]
    assert attributes(slopes.get_submodule("slope"), "num_parameters") == [1]
    flat = slim(supernet(Flatten), Subnetwork(((0, 7), (3, 4, 5))))
    assert attributes(flat.get_submodule("hidden"), "in_features", "out_features") == [2 * 16, 3]
    assert attributes(flat.get_submodule("norm1"), "num_features") == [3]


def test_kept_filters_are_the_dense_ones_in_their_order() -> None:
    net = supernet(NoNorm)
    dense, slimmed = net.model.state_dict(), slim(net, Subnetwork(((1, 4, 7), (0, 5)))).state_dict()
    assert torch.equal(slimmed["stem.weight"], dense["stem.weight"][[1, 4, 7]])
    assert torch.equal(slimmed["conv.weight"], dense["conv.weight"][[0, 5]][:, [1, 4, 7]])
    assert torch.equal(slimmed["head.weight"], dense["head.weight"][:, [0, 5]])


def test_a_flattened_channel_takes_all_its_pixels_along() -> None:
    net = supernet(Flatten)
    slimmed = slim(net, Subnetwork(((2, 5), tuple(range(7))))).state_dict()
    places = [*range(2 * 16, 3 * 16), *range(5 * 16, 6 * 16)]
    assert torch.equal(slimmed["hidden.weight"], net.model.state_dict()["hidden.weight"][:, places])


def test_modules_that_share_a_weight_still_share_it() -> None:
    slimmed = slim(supernet(Shared), Subnetwork(((0, 2, 3),)))
    assert slimmed.get_submodule("again").weight is slimmed.get_submodule("other").weight


def test_narrowing_in_place_gives_the_tensors_of_the_smaller_network_and_drops_gradients() -> None:
    net = supernet(NoNorm)
    now, then = Subnetwork(((0, 1, 4, 7), (0, 2, 5))), Subnetwork(((1, 7), (0, 5)))
    model = slim(net, now)
    ids = [id(parameter) for parameter in model.parameters()]
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    narrow(net, model, now, then)
    for (name, got), expected in zip(model.state_dict().items(), slim(net, then).state_dict().values(), strict=True):
        assert torch.equal(got, expected), name
    assert [id(parameter) for parameter in model.parameters()] == ids
    assert all(model.get_parameter(name).grad is None for name in ("stem.weight", "conv.weight", "head.weight"))


def test_hooks_of_a_slimmed_network_are_its_own() -> None:
    net = supernet(NoNorm)
    net.model.get_submodule("conv").register_forward_hook(lambda *_: None)
    slimmed = slim(net, net.dense)
    slimmed.get_submodule("conv").register_forward_hook(lambda *_: None)
    hooks = [len(model.get_submodule("conv")._forward_hooks) for model in (net.model, slimmed)]
    assert hooks == [1, 2]


@pytest.mark.parametrize("make", [Grouped, Shared, resnet20])
def test_the_state_of_a_slimmed_network_loads_into_another_of_the_same_subnetwork(
    make: Callable[[], nn.Module],
) -> None:
    net = supernet(make)
    subnetwork = random_subnetwork(net, 1)
    first, second = slim(net, subnetwork), slim(net, subnetwork)
    trained(first, seed=5)
    second.load_state_dict(first.state_dict(), strict=True)
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    assert gap(first.eval(), second.eval(), x) == 0


def large(gradient: Tensor | None) -> bool:
    """More than what rounding leaves of a bias that batch norm takes out."""
    return gradient is not None and float(gradient.abs().max()) > 1e-9


@pytest.mark.parametrize("make", [Concat, Multiplier, Shared, Slopes, resnet20])
def test_a_slimmed_network_trains(make: Callable[[], nn.Module]) -> None:
    net = supernet(make)
    model = slim(net, random_subnetwork(net, 2)).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    before = deepcopy(model.state_dict())
    loss = model(torch.randn(4, 3, 8, 8, dtype=torch.float64)).square().mean()
    loss.backward()
    assert all(p.grad is not None and p.grad.shape == p.shape for p in model.parameters())
    optimizer.step()
    assert all(not torch.equal(before[name], p) for name, p in model.named_parameters() if large(p.grad))
    assert all(p.grad is None for p in net.model.parameters())


def test_what_was_not_trainable_stays_so() -> None:
    model = trained(NoNorm(), 0)
    model.get_submodule("stem").requires_grad_(False)
    net = Supernet.of(model, torch.zeros(1, 3, 8, 8, dtype=torch.float64))
    slimmed = slim(net, random_subnetwork(net, 0))
    trains = {name: p.requires_grad for name, p in slimmed.named_parameters()}
    assert trains == {name: p.requires_grad for name, p in model.named_parameters()}
    assert not trains["stem.weight"]


def test_a_slimmed_network_can_be_slimmed_again() -> None:
    net = supernet(Multiplier)
    once = Supernet.of(slim(net, Subnetwork(((1, 3, 4, 6),))), net.examples[0])
    twice, direct = slim(once, Subnetwork(((0, 2),))), slim(net, Subnetwork(((1, 4),)))
    assert str(twice) == str(direct)
    assert all(torch.equal(a, b) for a, b in zip(twice.parameters(), direct.parameters(), strict=True))


@pytest.mark.parametrize("build", [slim, masked])
def test_a_subnetwork_of_another_network_is_refused(build: Callable[[Supernet, Subnetwork], nn.Module]) -> None:
    net = supernet(NoNorm)
    with pytest.raises(SecateurError, match="a subnetwork of 1 channel groups is not for this network, which has 2"):
        build(net, Subnetwork(((0,),)))
    with pytest.raises(SecateurError, match="channel 8 is kept of group stem, which has 8 channels"):
        build(net, Subnetwork(((0, 8), (0,))))


@pytest.mark.parametrize("dim", [0, 1])
def test_a_mask_of_weights_that_forward_divides_by_their_norm_is_finite(dim: int) -> None:
    layers = [nn.Conv2d(3, 6, 3), nn.ReLU(), nn.utils.parametrizations.weight_norm(nn.Conv2d(6, 4, 3), dim=dim)]
    net = Supernet.of(nn.Sequential(*layers, nn.ReLU(), nn.Conv2d(4, 2, 1)), torch.zeros(1, 3, 8, 8))
    subnetwork = Subnetwork(((0, 2), (0, 1, 2, 3)))
    image = torch.randn(2, 3, 8, 8)
    made = masked(net, subnetwork)(image)
    assert made.isfinite().all()
    if dim == 1:  # the norm is of each channel that is read, so that those that stay keep theirs
        torch.testing.assert_close(made, slim(net, subnetwork)(image))
