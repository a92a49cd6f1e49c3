"""Targets of refitted weights against what a dense network computes."""

import pytest
import torch
import torch.nn.functional as F
from test_ridge import Noise, inputs_of, supernet, without
from test_sequential import Sum, Unnormed
from torch import Tensor, nn
from toys import Concat, Shared

from secateur.models.compensation import gram as gram_module
from secateur.models.compensation.targets import Step, Steps, Target, before_norm, dense_targets, residual_target
from secateur.models.tracing.op_call import Call, aten
from secateur.models.tracing.weight_reads import BatchNorm


@pytest.fixture(autouse=True)
def _every_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gram_module, "ROWS", 10**6)


def call(operation: object, *results: object) -> Call:
    overload = getattr(operation, "default", None) or getattr(operation, "Tensor")  # noqa: B009
    return Call(overload, (), {}, list(results), [])


def test_steps_count_every_operation_and_a_write_in_place_is_made_by_the_last() -> None:
    steps, x, y = Steps(), torch.zeros(2), torch.zeros(3)
    assert steps.add(call(aten.relu, x)) == Step(0, aten.relu)
    assert steps.add(call(aten.relu, None)) == Step(1, aten.relu)
    assert steps.maker(x) == Step(0, aten.relu)
    steps.add(call(aten.relu_, x))
    assert steps.maker(x) == Step(2, aten.relu_)
    assert steps.maker(y) is None


def test_every_batch_norm_is_the_same_kind_of_step() -> None:
    steps = Steps()
    kinds = {steps.add(call(op, torch.zeros(1))).operation for op in (aten.native_batch_norm, aten.cudnn_batch_norm)}
    assert len(kinds) == 1


def target(**known: object) -> Target:
    """Two rows of three kept channels, of an output with five."""
    positions, kept = torch.tensor([0, 3]), torch.tensor([0, 2, 4])
    return Target(positions, kept, torch.ones(2, 3), **known)  # type: ignore[arg-type]


def test_what_is_left_of_a_sum_is_the_dense_sum_less_the_other_summand() -> None:
    other = torch.randn(2, 3, 1, 2)  # four rows
    rows = torch.stack([other[0, :, 0, 0], other[1, :, 0, 1]])
    total = torch.randn(2, 3)
    left = residual_target(target(total=total), other)
    assert left is not None
    assert torch.equal(left, total - rows)


def norm(**other: Tensor | None) -> BatchNorm:
    vectors = {
        "weight": torch.randn(5),
        "bias": torch.randn(5),
        "mean": torch.randn(5),
        "variance": torch.rand(5) + 0.5,
    }
    return BatchNorm(**(vectors | other), epsilon=1e-5)


def test_a_sum_cannot_be_met_without_a_summand_of_its_width_or_through_a_norm_without_weights() -> None:
    other, total = torch.randn(2, 3, 1, 2), torch.randn(2, 3)
    assert residual_target(target(total=total), None) is None
    assert residual_target(target(), other) is None
    assert residual_target(target(total=total), torch.randn(2, 4, 1, 2)) is None
    plain = norm(weight=None, bias=None)
    assert residual_target(target(total=total, norm=plain, norm_bias="bias"), other) is None
    assert residual_target(target(total=total, norm=norm()), other) is None  # its bias is no parameter
    assert residual_target(target(total=total, norm=norm(), norm_bias="bias"), other) is not None


def test_batch_norm_makes_the_target_of_what_is_found_before_it() -> None:
    torch.manual_seed(0)
    each, one = norm(), target()
    behind = torch.randn(2, 3)
    weight, bias, mean, variance = (vector[one.kept] for vector in each[:4] if isinstance(vector, Tensor))
    found = F.batch_norm(before_norm(one, each, behind), mean, variance, weight, bias, eps=each.epsilon)
    assert torch.allclose(found, behind, atol=1e-5)


def test_a_faint_batch_norm_keeps_the_dense_output() -> None:
    weight = torch.tensor([1.0, 1.0, 0.011, 1.0, 0.009])
    found = before_norm(target(), norm(weight=weight), torch.full((2, 3), 9.0))
    assert (found == 1).tolist() == [[False, False, True]] * 2


def test_dense_targets_are_outputs_of_kept_channels_and_the_sums_that_they_enter() -> None:
    net, noise = supernet(lambda: Sum(Unnormed)), Noise(10)
    found = dense_targets(net, without(net, 0, {1, 4}), noise.images)
    assert set(found) == {f"{name}.weight" for name in ("first", "second", "one", "two", "head")}
    with torch.no_grad():
        first = net.model.get_submodule("first")(noise.images).movedim(1, -1).flatten(0, 2)
    assert torch.equal(found["first.weight"].output, first[:, [0, 2, 3, 5, 6, 7]])
    assert found["first.weight"].total is None
    with torch.no_grad():
        total = torch.atanh(inputs_of(net.model, ["head"], noise.images)["head"].flatten(0, 2)).T
    one, two = found["one.weight"], found["two.weight"]
    for each in (one, two):
        assert each.total is not None
        torch.testing.assert_close(each.total, total)
    assert one.summand is not None
    assert two.summand is not None
    assert two.summand.number < one.summand.number  # the first branch runs first
    assert {one.summand.operation, two.summand.operation} == {aten.convolution}


def test_a_weight_that_is_read_twice_has_no_target() -> None:
    net, noise = supernet(Shared), Noise(10)
    assert "again.weight" not in dense_targets(net, net.dense, noise.images)
    assert "stem.weight" in dense_targets(net, net.dense, noise.images)


def test_a_target_knows_the_batch_norm_behind_it_and_the_name_of_its_bias() -> None:
    net, noise = supernet(lambda: Sum(nn.BatchNorm2d)), Noise(10)
    found = dense_targets(net, net.dense, noise.images)
    assert {name: each.norm_bias for name, each in found.items() if each.norm} == {"two.weight": "norm.bias"}
    behind = found["two.weight"].norm
    assert behind is not None
    assert behind.bias is net.model.get_parameter("norm.bias")


def test_rows_are_drawn_by_the_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gram_module, "ROWS", 1)
    net, noise = supernet(Concat), Noise(10)
    one, same, other = (dense_targets(net, net.dense, noise.images, seed)["stem.weight"] for seed in (0, 0, 1))
    assert torch.equal(one.positions, same.positions)
    assert not torch.equal(one.positions, other.positions)
