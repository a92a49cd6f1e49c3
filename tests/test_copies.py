import functools
import threading
import types
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import secateur as sc
from secateur.errors import SecateurError
from secateur.models.surgery.copies import copied
from secateur.models.surgery.slim import slim

IMAGE = torch.zeros(1, 3, 8, 8)


class Tapped(nn.Module):
    """Forward adds what a hook stored on the way; subclasses say how it is stored."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 8, 3, padding=1)
        self.third, self.head = nn.Conv2d(14, 8, 1), nn.Linear(8, 5)
        self.stored: dict[str, Tensor] = {}
        self.hook()

    def hook(self) -> None:
        self.first.register_forward_hook(lambda module, inputs, output: self.stored.update(x=output))

    def tapped(self) -> Tensor:
        return self.stored["x"]

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.second(F.relu(self.first(x))))
        out: Tensor = self.head(F.relu(self.third(torch.cat([x, self.tapped()], 1))).mean((2, 3)))
        return out


class ByContainer(Tapped):
    def hook(self) -> None:
        stored = self.stored
        self.first.register_forward_hook(lambda module, inputs, output: stored.update(x=output))


class ByDefault(Tapped):
    def hook(self) -> None:
        def keep(module: nn.Module, inputs: Any, output: Tensor, to: dict[str, Tensor] = self.stored) -> None:
            to["x"] = output

        self.first.register_forward_hook(keep)


class ByKeyword(Tapped):
    def hook(self) -> None:
        def keep(module: nn.Module, inputs: Any, output: Tensor, *, to: dict[str, Tensor] = self.stored) -> None:
            to["x"] = output

        self.first.register_forward_hook(keep)


class ByPartial(Tapped):
    def hook(self) -> None:
        def keep(name: str, module: nn.Module, inputs: Any, output: Tensor) -> None:
            self.stored[name] = output

        self.first.register_forward_hook(functools.partial(keep, "x"))


class ByMethod(Tapped):
    def hook(self) -> None:
        self.first.register_forward_hook(self.keep)

    def keep(self, module: nn.Module, inputs: Any, output: Tensor) -> None:
        self.stored["x"] = output


class ByHelper(Tapped):
    class Tap:
        def __init__(self, net: "Tapped") -> None:
            self.net = net

        def keep(self, module: nn.Module, inputs: Any, output: Tensor) -> None:
            self.net.stored["x"] = output

    def hook(self) -> None:
        tap = self.Tap(self)
        self.first.register_forward_hook(lambda *seen: tap.keep(*seen))


class ByNestedFunction(Tapped):
    def hook(self) -> None:
        def store(output: Tensor) -> None:
            self.stored["x"] = output

        def keep(module: nn.Module, inputs: Any, output: Tensor) -> None:
            store(output)

        self.first.register_forward_hook(keep)


class ByWeakReference(Tapped):
    def hook(self) -> None:
        net: Any = weakref.ref(self)
        self.first.register_forward_hook(lambda module, inputs, output: net().stored.update(x=output))


class ByOutsideContainer(Tapped):
    """The store belongs to nobody: hook and forward both name it."""

    read: Callable[[], Tensor]

    def hook(self) -> None:
        stored: dict[str, Tensor] = {}
        self.first.register_forward_hook(lambda module, inputs, output: stored.update(x=output))
        self.read = lambda: stored["x"]

    def tapped(self) -> Tensor:
        return self.read()


class ByAttribute(Tapped):
    """Forward runs functions that lie in a tuple."""

    def hook(self) -> None:
        self.steps = (lambda x: self.stored.update(x=x),)
        self.first.register_forward_hook(lambda module, inputs, output: self.steps[0](output))


class ByOwnForward(Tapped):
    """Forward was replaced on the object."""

    def hook(self) -> None:
        before = self.first.forward

        def forward(module: nn.Module, x: Tensor) -> Tensor:
            self.stored["x"] = before(x)
            return self.stored["x"]

        self.first.forward = types.MethodType(forward, self.first)  # type: ignore[method-assign]


TAPS = [
    Tapped, ByContainer, ByDefault, ByKeyword, ByPartial, ByMethod, ByHelper, ByNestedFunction, ByWeakReference,
    ByOutsideContainer, ByAttribute, ByOwnForward,
]  # fmt: skip


@pytest.mark.parametrize("tap", TAPS)
def test_a_hook_of_a_copy_leads_to_the_copy(tap: type[Tapped]) -> None:
    torch.manual_seed(0)
    model, (one, other) = tap().eval(), torch.randn(2, 1, 3, 8, 8)
    with torch.no_grad():
        model(one)
        made = copied(model, {}).eval()
        expected = model(other)
        model(one)
        assert torch.equal(made(other), expected)


@pytest.mark.parametrize("tap", TAPS)
def test_slimmed_networks_answer_with_their_own_features(tap: type[Tapped]) -> None:
    torch.manual_seed(0)
    model, images = tap().eval(), torch.randn(4, 3, 8, 8)
    with torch.no_grad():
        model(torch.randn(1, 3, 8, 8))
        net = sc.Supernet.of(model, IMAGE)
        dense, expected = slim(net, net.dense).eval(), model(images)
        model(torch.randn(4, 3, 8, 8))
        assert torch.allclose(dense(images), expected, atol=1e-6)
    assert [group.name for group in net.groups] == ["first", "second", "third"]


class Forgetful(dict[str, Any]):
    """A dictionary that answers for attributes, and raises KeyError for those it lacks."""

    __getattr__ = dict.__getitem__


class Plain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.head = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(F.relu(self.first(x)))
        return out


def with_attribute(value: Callable[[Plain], Any]) -> Any:
    model: Any = Plain().eval()
    model.extra = value(model)
    return model


@pytest.mark.parametrize(
    "value",
    [
        lambda model: threading.Lock(),
        lambda model: [threading.RLock()],
        lambda model: Forgetful(depth=3, nested=Forgetful(lock=threading.Lock())),
        lambda model: model(torch.ones(1, 3, 8, 8)),
        lambda model: weakref.ref(model.first),
    ],
    ids=["lock", "locks", "dictionary", "result", "weak reference"],
)
def test_what_deepcopy_refuses_is_made_anew(value: Callable[[Plain], Any]) -> None:
    model = with_attribute(value)
    made: Any = copied(model, {})
    assert type(made.extra) is type(model.extra)
    assert made.extra is not model.extra
    images = torch.randn(2, 3, 8, 8)
    assert torch.equal(made(images), model(images))
    assert [group.name for group in sc.Supernet.of(model, IMAGE).groups] == ["first"]


def test_a_copied_dictionary_and_weak_reference_hold_the_copies() -> None:
    made: Any = copied(with_attribute(lambda model: Forgetful(layer=model.first, lock=threading.Lock())), {})
    assert made.extra.layer is made.first
    made = copied(with_attribute(lambda model: weakref.ref(model.first)), {})
    assert made.extra() is made.first


def numbers() -> Iterator[int]:
    yield 1


def test_what_cannot_be_copied_is_refused_in_a_line() -> None:
    said = "can't be copied: extra is a generator .*delete it before pruning"
    with pytest.raises(SecateurError, match=said) as error:
        sc.Supernet.of(with_attribute(lambda model: numbers()), IMAGE)
    assert "\n" not in str(error.value)


def test_a_stored_view_of_a_weight_that_forward_does_not_read_is_copied_as_a_constant() -> None:
    model: Any = with_attribute(lambda model: model.first.weight[0])
    net = sc.Supernet.of(model, IMAGE)
    made: Any = sc.slim(net, net.dense)
    assert torch.equal(made.extra, model.extra)
    made.first.weight.data.zero_()
    assert made.extra.any()


def test_a_stored_view_of_a_weight_that_forward_reads_is_refused_in_a_line() -> None:
    class Reading(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.head = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 2, 1)
            self.view = self.conv.weight[:, :1]

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.head(self.conv(x) * self.view.mean())
            return out

    said = "forward reads 0.view, a view of 0.conv.weight, which a copy would not follow; take the view in forward"
    with pytest.raises(SecateurError, match=said) as error:
        sc.Supernet.of(nn.Sequential(Reading()), IMAGE)
    assert "\n" not in str(error.value)


def test_tensors_stand_in_and_shared_ones_stay_shared() -> None:
    model: Any = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    model[1].weight = model[0].weight
    other = nn.Parameter(torch.zeros(4, 4))
    made: Any = copied(model, {id(model[0].weight): other})
    assert made[0].weight is other
    assert made[1].weight is other
    assert made[0].bias is not model[0].bias


def test_functions_of_a_network_that_lead_nowhere_stay_the_same_objects() -> None:
    model = with_attribute(lambda model: [torch.relu, len, lambda x: x])
    made: Any = copied(model, {})
    assert all(one is other for one, other in zip(made.extra, model.extra, strict=True))
