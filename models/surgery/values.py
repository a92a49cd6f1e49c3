"""The values of slimmed networks: whether they are those of the dense one with the removed channels unread."""

import types
import weakref
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from ...errors import SecateurError
from ...seeds import random_streams
from ..structure import Structure
from ..subnetwork import Subnetwork
from ..tracing.eager import uncompiled
from ..tracing.modules import evaluating, own_tensors, tensors_in, with_tensors
from ..tracing.reach import contents, is_foreign, walk
from ..tracing.state import Snapshot
from ..tracing.trace import ERRORS, first_line
from .check_inputs import check_inputs, nudged
from .expectation import Expectation
from .observed import Observed, ProductRecorder, agree, contradicts
from .reference import reference
from .slim import slim

Run: TypeAlias = Callable[[Sequence[Tensor]], list[Tensor]]  # inputs → outputs
Make: TypeAlias = Callable[[], Run]  # a fresh network, since a run may change its state

NUDGES = 3
FUNCTIONS = (types.FunctionType, types.MethodType, weakref.ref)


class Values:
    """Compares slimmed networks with their references, on inputs that the dense network runs on."""

    def __init__(self, net: Structure) -> None:
        self.net = net
        self._inputs = list(check_inputs(net.examples))
        self._before = Snapshot(net.model)

    @property
    def runs(self) -> bool:
        """Whether inputs are left that the dense network runs on."""
        return bool(self._inputs)

    def attempt(self, subnetwork: Subnetwork) -> str | None:
        """Why a slimmed network's outputs are not the reference's, if so. Without inputs that run, shapes must do."""
        while self._inputs:
            if isinstance(expected := self._tried(self._reference(subnetwork), self._inputs[0]), Observed):
                return self._fault(subnetwork, self._inputs[0], expected)
            if isinstance(self._tried(self._itself, self._inputs[0]), Observed):
                return written_down(expected)
            self._inputs.pop(0)
        return None

    def require_faithful(self) -> None:
        """Raise SecateurError where a copy of the network does not answer as the network itself.

        That takes functions, hooks for example, that may lead to the network from its copies; without any, it does.
        """
        if not any(isinstance(x, FUNCTIONS) and not is_foreign(x) for x in walk(self.net.model, contents)):
            return
        for images in self._inputs[1:]:
            if isinstance(expected := self._tried(self._itself, images), Observed):
                if self._contradict(lambda: self._slimmed(self.net.dense), lambda: self._itself, images, expected):
                    raise SecateurError(
                        "a copy of the network answers otherwise than the network itself, to which a hook or helper "
                        "still leads; let hooks write to attributes of the network alone"
                    )
                return

    def _fault(self, subnetwork: Subnetwork, images: Sequence[Tensor], expected: Observed) -> str | None:
        try:
            wrong = self._contradict(
                lambda: self._slimmed(subnetwork), lambda: self._reference(subnetwork), images, expected
            )
        except ERRORS as error:
            return written_down(error)
        return "gives other outputs when it is narrowed than without the removed channels" if wrong else None

    def _contradict(self, make: Make, expect: Make, images: Sequence[Tensor], expected: Observed) -> bool:
        """Whether a network's answers are not those expected; a second look if so, beside answers to nudged inputs."""
        if agree(self._observed(make(), images).outputs, expected.outputs):
            return False
        made, expected = (self._observed(each(), images, layers=True) for each in (make, expect))
        others: list[Observed] = []
        while contradicts(made, expected, others):
            if len(others) == NUDGES:
                return True
            others.append(self._observed(expect(), nudged(images, len(others)), layers=True))
        return False

    def _observed(self, run: Run, images: Sequence[Tensor], layers: bool = False) -> Observed:
        """The outputs of a run, and of its layers if asked for; without chance, and nothing is left behind."""
        recorder = ProductRecorder()
        with (
            self._before.kept(),
            evaluating(self.net.model),
            random_streams(seed=0),
            uncompiled(),
            torch.no_grad(),
            sdpa_kernel(SDPBackend.MATH),  # other kernels draw dropout within, and count as random without any
            Expectation(),  # type: ignore[no-untyped-call]
            recorder if layers else nullcontext(),
        ):
            return Observed([each.clone() for each in run(images)], recorder.products)

    def _reference(self, subnetwork: Subnetwork) -> Run:
        return lambda images: reference(self.net, subnetwork, *images)

    def _slimmed(self, subnetwork: Subnetwork) -> Run:
        model = slim(self.net, subnetwork).eval()
        return lambda images: self._outputs(model, images)

    def _itself(self, images: Sequence[Tensor]) -> list[Tensor]:
        own = own_tensors(self.net.model)
        spare = {**own.parameters, **{name: tensor.clone() for name, tensor in own.buffers.items()}}
        with with_tensors(self.net.model, own, spare):
            return self._outputs(self.net.model, images)

    def _outputs(self, model: nn.Module, images: Sequence[Tensor]) -> list[Tensor]:
        return tensors_in(self.net.run(model, images))

    def _tried(self, run: Run, images: Sequence[Tensor]) -> Observed | Exception:
        try:
            return self._observed(run, images)
        except ERRORS as error:
            return error


def written_down(error: Exception) -> str:
    """The reason of a group whose narrowing makes forward fail."""
    return f"has a width written down in forward ({first_line(error)[:100]})"
