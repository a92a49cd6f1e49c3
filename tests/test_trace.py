from dataclasses import dataclass
from math import prod

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import secateur as sc
from secateur.errors import SecateurError
from secateur.models.tracing.groups import grouping
from secateur.models.tracing.trace import trace
from secateur.models.zoo.resnet import resnet20


class Net(nn.Module):
    """Two convolutions; subclasses say what happens before them."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm, self.head = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 5, 1)
        self.register_buffer("calls", torch.zeros(2))

    def before(self, x: Tensor) -> Tensor:
        return x

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(F.relu(self.norm(self.stem(self.before(x)))))
        return out


class Decides(Net):
    def before(self, x: Tensor) -> Tensor:
        return x * 2 if x.sum() > 0 else x - 1


class Scalar(Net):
    def before(self, x: Tensor) -> Tensor:
        return x * x.mean().item()


class Numpy(Net):
    def before(self, x: Tensor) -> Tensor:
        return x * float(x.numpy().mean())


class Counts(Net):
    """Looks at values, and writes to a buffer."""

    calls: Tensor

    def before(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x if x.sum() > 0 else -x


class Raises(Net):
    def before(self, x: Tensor) -> Tensor:
        if x.shape[-1] != 32:
            raise ValueError("images must be 32 wide")
        return x


class Asserts(Net):
    def before(self, x: Tensor) -> Tensor:
        if x.shape[-1] != 32:
            raise AssertionError
        return x


class OneBranch(nn.Module):
    """Two branches; an operation nobody understands in the first alone."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 8, 3), nn.Conv2d(3, 6, 3)
        self.after_a, self.after_b = nn.Conv2d(8, 7, 1), nn.Conv2d(6, 7, 1)
        self.head = nn.Conv2d(7, 5, 1)

    def odd(self, x: Tensor) -> Tensor:
        return x.cumsum(1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.after_a(self.odd(self.a(x))) + self.after_b(self.b(x)))
        return out


class SortBranch(OneBranch):
    def odd(self, x: Tensor) -> Tensor:
        return x.sort(1)[0]


def groups_of(model: nn.Module) -> list[tuple[str, int]]:
    return [(group.name, group.width) for group in grouping(trace(model, torch.zeros(1, 3, 8, 8))).groups]


@pytest.mark.parametrize("model", [resnet20, Net, Decides, Counts])
def test_a_traced_model_is_as_it_was(model: type[nn.Module]) -> None:
    net = model().train()
    next(m for m in net.modules() if isinstance(m, nn.BatchNorm2d)).eval()
    modes = [module.training for module in net.modules()]
    state = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    ids = [id(tensor) for tensor in (*net.parameters(), *net.buffers())]
    trace(net, torch.zeros(1, 3, 8, 8))
    assert [module.training for module in net.modules()] == modes
    assert [id(tensor) for tensor in (*net.parameters(), *net.buffers())] == ids
    assert all(torch.equal(state[name], tensor) for name, tensor in net.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in net.parameters())


def test_a_model_is_as_it_was_after_an_error_too() -> None:
    net = Net().train()
    with pytest.raises(SecateurError):
        trace(net, torch.zeros(1, 4, 8, 8))
    assert all(module.training for module in net.modules())


@pytest.mark.parametrize("model", [Decides, Scalar, Numpy, Counts])
def test_a_forward_that_looks_at_values_is_followed_like_any_other(model: type[Net]) -> None:
    assert groups_of(model()) == groups_of(Net()) == [("stem", 8)]


@pytest.mark.parametrize("model", [OneBranch, SortBranch])
def test_an_operation_nobody_understands_freezes_what_it_touches_alone(model: type[OneBranch]) -> None:
    found = grouping(trace(model(), torch.zeros(1, 3, 8, 8)))
    assert {(group.name, group.width) for group in found.groups} == {("b", 6), ("after_a", 7)}
    odd = next(group for group in found.frozen if group.name == "a")
    assert "which is not understood" in str(odd.frozen)
    assert {group.name for group in found.frozen} == {"a", "head"}


@pytest.mark.parametrize(
    ("model", "shape", "said"),
    [
        (Net, (4, 8, 8), "4x8x8 .*expected input.* to have 3 channels, but got 4"),
        (Net, (3, 2, 2), "3x2x2 .*Kernel size can't be greater"),
        (Raises, (3, 8, 8), "3x8x8 .*images must be 32 wide"),
        (Asserts, (3, 8, 8), "3x8x8 .*AssertionError"),
    ],
)
def test_a_wrong_input_shape_is_named(model: type[Net], shape: tuple[int, ...], said: str) -> None:
    with pytest.raises(SecateurError, match=f"does not run on an input of {said}.*pass an example of another shape"):
        trace(model(), torch.zeros(1, *shape))


def test_an_example_without_a_batch_dimension_is_refused() -> None:
    with pytest.raises(SecateurError, match="expected 4D input"):
        trace(Net(), torch.zeros(3, 8, 8))


class TwoInputs(nn.Module):
    """An image, and a mask that meets its features."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.mask, self.head = nn.Conv2d(3, 8, 3), nn.Conv2d(1, 8, 3), nn.Conv2d(8, 5, 1)

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        out: Tensor = self.head(self.stem(image) * torch.sigmoid(self.mask(mask)))
        return out


def test_a_network_of_several_inputs_is_followed_from_all_of_them() -> None:
    found = grouping(trace(TwoInputs(), torch.zeros(1, 3, 8, 8), torch.zeros(1, 1, 8, 8)))
    (group,) = found.groups
    assert {member.tensor for member in group.members} >= {"stem.weight", "mask.weight", "head.weight"}
    with pytest.raises(SecateurError, match="does not run on an input of 3x8x8 and 1x8x9"):
        trace(TwoInputs(), torch.zeros(1, 3, 8, 8), torch.zeros(1, 1, 8, 9))


@dataclass
class Prediction:
    logits: Tensor
    features: list[Tensor]


class ReturnsAnObject(Net):
    def forward(self, x: Tensor) -> Prediction:  # type: ignore[override]
        x = self.stem(x)
        return Prediction(self.head(x), [x])


def test_what_an_object_returns_is_an_output_too() -> None:
    found = grouping(trace(ReturnsAnObject(), torch.zeros(1, 3, 8, 8)))
    assert {group.name: group.frozen for group in found.frozen} == {
        "stem": "is an output of the network",
        "head": "is an output of the network",
    }


def test_what_costs_leave_out_is_listed_and_moves_are_not() -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(72, 5)
    )
    assert trace(net, torch.zeros(1, 3, 8, 8)).uncounted == {
        "aten.native_batch_norm": 1,
        "aten.relu": 1,
        "aten.max_pool2d_with_indices": 1,
    }


class Tutored(nn.Module):
    """A second head that only training runs, on a sum that only training makes."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.trunk, self.beside = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 6, 3, padding=1), nn.Conv2d(8, 6, 1)
        self.head, self.second = nn.Linear(6, 4), nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        stem = self.stem(x)
        trunk = self.trunk(stem)
        logits: Tensor = self.head(trunk.mean((2, 3)))
        return (logits, self.second((trunk + self.beside(stem)).mean((2, 3)))) if self.training else logits


def test_ties_of_a_training_pass_are_found() -> None:
    net = sc.Supernet.of(Tutored(), torch.zeros(1, 3, 8, 8))
    (summed,) = (group for group in net.groups if group.name == "trunk")
    assert {m.tensor for m in summed.members if m.reads} == {"head.weight", "second.weight"}
    assert {m.tensor for m in summed.members if not m.reads} == {
        "trunk.weight", "trunk.bias", "beside.weight", "beside.bias",
    }  # fmt: skip
    assert {group.name for group in net.frozen} == {"head", "second"}


class TutoredBehindPooling(Tutored):
    """Batch norm of one number an image, which training can't take over one image."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(6)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        stem = self.stem(x)
        pooled = self.trunk(stem).mean((2, 3))
        logits: Tensor = self.head(pooled)
        return (logits, self.second(self.norm(self.beside(stem).mean((2, 3))))) if self.training else logits


def test_a_training_pass_has_images_enough_for_batch_norm() -> None:
    net = sc.Supernet.of(TutoredBehindPooling(), torch.zeros(1, 3, 8, 8))
    (beside,) = (group for group in net.groups if group.name == "beside")
    assert {m.tensor for m in beside.members if m.reads} == {"second.weight"}


def test_costs_are_those_of_one_image_in_evaluation() -> None:
    net = sc.Supernet.of(Tutored(), torch.zeros(1, 3, 8, 8))
    (macs,) = net.space.costs.macs(np.array([net.space.dense]))
    assert macs == 64 * (3 * 8 + 9 * 8 * 6) + 6 * 4
    assert net.trace.uncounted == {"aten.mean": 1}
    dense = [activation.scale * prod(map(len, activation.lines)) for activation in net.trace.activations]
    assert dense == [4 * n for n in (3 * 64, 8 * 64, 6 * 64, 6, 4)]  # the image, stem, trunk, mean and head
