from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from secateur.models.tracing.atoms import Activation
from secateur.models.tracing.liveness import Lifetimes
from secateur.models.tracing.trace import trace
from secateur.models.tracing.tracer_ledger import TracerLedger


def spans(activations: Sequence[Activation]) -> list[tuple[int, int, int]]:
    return [(a.scale, a.born, a.last) for a in activations]


def test_a_tensor_lives_from_the_operation_that_makes_it_to_the_last_that_reads_it() -> None:
    image, hidden, late = torch.zeros(2), torch.zeros(3), torch.zeros(5)
    lives = Lifetimes([])
    lives.step(TracerLedger(), [], [image])
    lives.step(TracerLedger(), [image], [hidden])
    lives.step(TracerLedger(), [hidden], [late])
    lives.step(TracerLedger(), [image, late], [])
    assert spans(lives.all()) == [(8, 0, 3), (12, 1, 2), (20, 2, 3)]


def test_views_and_writes_in_place_are_no_tensors_of_their_own() -> None:
    base = torch.zeros(6)
    lives = Lifetimes([])
    lives.step(TracerLedger(), [], [base])
    lives.step(TracerLedger(), [base], [base[:2]])
    lives.step(TracerLedger(), [base.view(2, 3)], [base])
    assert spans(lives.all()) == [(24, 0, 2)]


def test_weights_are_no_activations() -> None:
    weight, image = torch.zeros(4), torch.zeros(2)
    lives = Lifetimes([weight])
    lives.step(TracerLedger(), [weight.view(2, 2), image], [])
    assert spans(lives.all()) == [(8, 0, 0)]


def test_only_a_tensor_that_fills_its_storage_is_known_to_shrink() -> None:
    ledger, whole = TracerLedger(), torch.zeros(4, 3)
    labels = np.array([[1], [2], [3], [4]])
    part = whole[:2]
    ledger.put(whole, [labels])
    ledger.put(part, [labels[:2]])
    one, other = Lifetimes([]), Lifetimes([])
    one.step(ledger, [], [whole])
    other.step(ledger, [], [part])
    assert [(a.scale, [line.tolist() for line in a.lines]) for a in one.all()] == [(12, [[1, 2, 3, 4]])]
    assert [(a.scale, a.lines) for a in other.all()] == [(48, ())]


def test_a_pass_through_a_network_keeps_a_shortcut_alive_until_the_sum() -> None:
    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.conv = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.stem(x)
            total: torch.Tensor = x + self.conv(x)
            return total

    found = trace(Residual(), torch.zeros(1, 3, 2, 2))
    assert [(a.born, a.last) for a in found.activations] == [(0, 1), (1, 3), (2, 3), (3, 4)]
