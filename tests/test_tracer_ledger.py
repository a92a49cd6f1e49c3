import torch
from torch import Tensor

from secateur.models.tracing.atoms import Labels
from secateur.models.tracing.ledger import Ledger
from secateur.models.tracing.op_call import Call, aten
from secateur.models.tracing.pointwise_rules import pointwise
from secateur.models.tracing.tracer_ledger import TracerLedger


def follow(ledger: TracerLedger, operation: object, *args: Tensor) -> Tensor:
    """The sum of two tensors, followed by ``ledger``."""
    result = args[0] + args[1]
    for labels in ledger.follow(pointwise, Call.of(operation, args, {}, result)):
        ledger.put(result, labels)
    return result


def entered() -> tuple[TracerLedger, Tensor, Tensor]:
    """Two weights of 2 filters that read 3 channels."""
    ledger, one, two = TracerLedger(), torch.zeros(2, 3), torch.zeros(2, 3)
    ledger.enter("one", one, is_parameter=True)
    ledger.enter("two", two, is_parameter=True)
    return ledger, one, two


def test_what_comes_of_weights_alone_is_a_weight_and_no_parameter() -> None:
    ledger, one, two = entered()
    computed = follow(ledger, aten.add.Tensor, one, two)
    assert ledger.is_weight(computed)
    assert not ledger.is_parameter(computed)


def test_what_comes_of_a_weight_and_an_activation_is_none() -> None:
    ledger, one, _ = entered()
    assert not ledger.is_weight(follow(ledger, aten.add.Tensor, one, torch.zeros(2, 3)))


def test_a_number_beside_a_weight_leaves_it_a_weight() -> None:
    ledger, one, _ = entered()
    assert ledger.is_weight(follow(ledger, aten.add.Tensor, one, torch.zeros(())))


def test_places_that_a_computed_weight_reads_are_read_of_all_that_it_is_computed_of() -> None:
    ledger, one, two = entered()
    computed = follow(ledger, aten.add.Tensor, one, two)
    reads = ledger.along(computed, 1)
    assert reads is not None
    ledger.read(reads)
    found = ledger.close()
    read = {int(atom) for each in found.read for atom in each}
    assert read == {int(atom) for name in ("one", "two") for atom in found.tensors[name][1]}


def test_a_rule_is_followed_with_the_ledger_that_it_writes_to() -> None:
    seen: list[Ledger] = []

    def rule(ledger: Ledger, call: Call) -> list[Labels]:
        seen.append(ledger)
        return [[]]

    ledger, one, two = entered()
    assert ledger.follow(rule, Call.of(aten.add.Tensor, (one, two), {}, one + two)) == [[]]
    assert seen == [ledger]
