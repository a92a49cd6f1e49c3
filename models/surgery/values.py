"""The values of slimmed networks: whether they are those of the dense one with the removed channels unread."""

from collections.abc import Callable, Sequence
from typing import TypeAlias

import torch
from torch import Tensor, nn

from ...errors import SecateurError
from ..structure import Structure
from ..subnetwork import Subnetwork
from ..tracing.modules import evaluating, own_tensors, tensors_in, with_tensors
from ..tracing.state import random_streams, untouched
from ..tracing.trace import ERRORS, first_line
from .check_inputs import check_inputs, nudged
from .evidence import Evidence, ProductRecorder, agree, contradicts
from .expectation import Expectation
from .reference import reference
from .slim import slim

Run: TypeAlias = Callable[[Sequence[Tensor]], list[Tensor]]  # inputs → outputs
Make: TypeAlias = Callable[[], Run]  # a fresh network, since a run may change its state

NUDGES = 3


class Values:
    """Compares slimmed networks with their references, on inputs that the dense network runs on."""

    def __init__(self, net: Structure) -> None:
        self.net = net
        self._inputs = list(check_inputs(net.examples))

    def attempt(self, subnetwork: Subnetwork) -> str | None:
        """Why a slimmed network's outputs are not the reference's, if so. Without inputs that run, shapes must do."""
        while self._inputs:
            try:
                return self._fault(subnetwork, self._inputs[0])
            except ERRORS as error:  # of the reference
                if self._runs(self._inputs[0]):
                    return written_down(error)
                self._inputs.pop(0)
        return None

    def require_faithful(self) -> None:
        """Raise SecateurError where a copy of the network does not answer as the network itself."""
        images = next(filter(self._runs, self._inputs[1:]), None)
        if images is None:
            return
        expected = self._observed(self._itself, images)
        if self._contradict(lambda: self._slimmed(self.net.dense), lambda: self._itself, images, expected):
            raise SecateurError(
                "a copy of the network answers otherwise than the network, to which a hook or helper of it still leads; "
                "let hooks write to attributes of the network alone"
            )

    def _fault(self, subnetwork: Subnetwork, images: Sequence[Tensor]) -> str | None:
        def expect() -> Run:
            return lambda inputs: reference(self.net, subnetwork, *inputs)

        expected = self._observed(expect(), images)
        try:
            wrong = self._contradict(lambda: self._slimmed(subnetwork), expect, images, expected)
        except ERRORS as error:
            return written_down(error)
        return "gives other outputs when it is narrowed than without the removed channels" if wrong else None

    def _contradict(self, make: Make, expect: Make, images: Sequence[Tensor], expected: Evidence) -> bool:
        """Whether a network's answers are not those expected; a second look if so, beside answers to nudged inputs."""
        if agree(self._observed(make(), images).outputs, expected.outputs):
            return False
        made, expected = (self._observed(each(), images, layers=True) for each in (make, expect))
        others = [self._observed(expect(), nudged(images, seed), layers=True) for seed in range(NUDGES)]
        return contradicts(made, expected, others)

    def _observed(self, run: Run, images: Sequence[Tensor], layers: bool = False) -> Evidence:
        """The outputs of a run, and of its layers if asked for; without chance, and nothing is left behind."""
        model, recorder = self.net.model, ProductRecorder()
        with untouched(model), evaluating(model), random_streams(seed=0), torch.no_grad(), Expectation():
            if not layers:
                return Evidence([each.clone() for each in run(images)], [])
            with recorder:
                return Evidence([each.clone() for each in run(images)], recorder.products)

    def _slimmed(self, subnetwork: Subnetwork) -> Run:
        model = slim(self.net, subnetwork).eval()
        return lambda images: self._outputs(model, images)

    def _itself(self, images: Sequence[Tensor]) -> list[Tensor]:
        own = own_tensors(self.net.model)
        spare = {**own.parameters, **{name: tensor.clone() for name, tensor in own.buffers.items()}}
        with with_tensors(self.net.model, own, spare):
            return self._outputs(self.net.model, images)

    def _outputs(self, model: nn.Module, images: Sequence[Tensor]) -> list[Tensor]:
        with torch.compiler.set_stance("force_eager"):
            return tensors_in(self.net.run(model, images))

    def _runs(self, images: Sequence[Tensor]) -> bool:
        try:
            self._observed(self._itself, images)
        except ERRORS:
            return False
        return True


def written_down(error: Exception) -> str:
    """The reason of a group whose narrowing makes forward fail."""
    return f"has a width written down in forward ({first_line(error)[:100]})"
