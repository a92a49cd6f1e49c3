import numpy as np
import pytest
import torch

from secateur.models.tracing.atoms import NOTHING
from secateur.models.tracing.tracer_ledger import TracerLedger


def entered() -> tuple[TracerLedger, torch.Tensor, torch.Tensor]:
    """A weight of 2 filters that read 3 channels, and a vector of 3."""
    ledger, weight, vector = TracerLedger(), torch.zeros(2, 3, 1, 1), torch.zeros(3)
    ledger.enter("a.weight", weight, is_parameter=True)
    ledger.enter("b.mean", vector, is_parameter=False)
    return ledger, weight, vector


def test_every_place_of_every_dimension_gets_an_atom_of_its_own() -> None:
    ledger, *_ = entered()
    assert [along.tolist() for along in ledger.close().tensors["a.weight"]] == [[1, 2], [3, 4, 5], [6], [7]]
    assert [along.tolist() for along in ledger.close().tensors["b.mean"]] == [[8, 9, 10]]
    assert ledger.close().count == 11
    assert ledger.close().parameters == {"a.weight"}


@pytest.mark.parametrize(("atom", "owner"), [(1, "a.weight"), (7, "a.weight"), (8, "b.mean"), (10, "b.mean")])
def test_an_atom_lies_in_the_tensor_that_it_was_entered_with(atom: int, owner: str) -> None:
    assert entered()[0].owner(atom) == owner


def test_dimensions_of_size_one_carry_no_labels() -> None:
    ledger, weight, _ = entered()
    assert [tuple(labels.shape) for labels in ledger.labels(weight)] == [(2, 1, 1, 1), (1, 3, 1, 1)]
    assert ledger.along(weight, 2) is None


def test_labels_along_one_dimension_come_flat() -> None:
    ledger, weight, _ = entered()
    along = ledger.along(weight, 1)
    assert along is not None
    assert along.tolist() == [3, 4, 5]
    assert ledger.close().frozen == ()


def test_labels_that_vary_along_two_dimensions_are_frozen_when_asked_for_one() -> None:
    ledger, _, x = *entered()[:2], torch.zeros(2, 2)
    ledger.put(x, [np.array([[1, 2], [3, 4]])])
    assert ledger.along(x, 0) is None
    assert [(labels.tolist(), why) for labels, why in ledger.close().frozen] == [
        ([1, 2, 3, 4], "varies along channels and another dimension at once")
    ]


def test_a_tensor_no_parameter_has_touched_has_no_labels() -> None:
    ledger, *_ = entered()
    assert ledger.labels(torch.zeros(3)) == []
    assert ledger.labels(None) == []


def test_a_moved_weight_is_a_weight_and_a_computed_one_is_not() -> None:
    ledger, weight, _ = entered()
    moved, computed = weight.view(2, 3), weight * 2
    ledger.alias(weight, moved)
    ledger.alias(computed, computed)
    assert ledger.is_weight(weight)
    assert ledger.is_weight(moved)
    assert not ledger.is_weight(computed)


def test_a_tie_joins_place_by_place_and_broadcasts() -> None:
    ledger = TracerLedger()
    ledger.tie(np.array([[1], [2]]), np.array([[3, 4], [5, 6]]))
    ((left, right),) = ledger.close().ties
    assert list(zip(left.tolist(), right.tolist(), strict=True)) == [(1, 3), (1, 4), (2, 5), (2, 6)]


def test_a_tie_with_nothing_freezes_the_lonely_side_alone() -> None:
    ledger = TracerLedger()
    ledger.tie(np.array([1, 2, NOTHING, NOTHING]), np.array([5, NOTHING, 7, NOTHING]))
    ((left, right),) = ledger.close().ties
    assert (left.tolist(), right.tolist()) == ([1], [5])
    ((frozen, why),) = ledger.close().frozen
    assert frozen.tolist() == [2, 7]
    assert "zero padding" in why


def test_tied_asks_for_every_place_through_other_ties_too() -> None:
    ledger = TracerLedger()
    ledger.enter("a", torch.zeros(6), is_parameter=True)
    ledger.tie(np.array([1, 2]), np.array([3, 4]))
    ledger.tie(np.array([3]), np.array([5]))
    assert ledger.tied(np.array([1, 2]), np.array([5, 4]))
    assert not ledger.tied(np.array([1, 2]), np.array([5, 6]))


def test_labels_that_meet_a_tensor_of_a_fixed_size_are_frozen_but_not_by_one_that_is_expanded() -> None:
    ledger, labels = TracerLedger(), np.array([[1], [2], [3]])
    assert ledger.meet([labels], [torch.zeros(1, 4), torch.zeros(1, 1).expand(3, 4)]) == [labels]
    assert ledger.close().frozen == ()
    ledger.meet([labels], [torch.zeros(3, 4)])
    assert [reason for _, reason in ledger.close().frozen] == ["meets a tensor of a fixed size that forward makes"]


def test_reductions_are_numbered_by_operation_in_the_order_in_which_they_run() -> None:
    ledger, channels = TracerLedger(), np.array([1, 2])
    for name, dim in (("sum", 1), ("mean", 2), ("sum", 3)):
        ledger.begin(name, [])
        ledger.reduce(0, dim, channels)
    found = ledger.close()
    assert {k: [each.dim for each in reduced] for k, reduced in found.reductions.items()} == {
        ("sum", 0): [1],
        ("mean", 0): [2],
        ("sum", 1): [3],
    }


def test_a_guarded_tensor_freezes_its_channels_once_it_is_used() -> None:
    ledger, places, other = TracerLedger(), torch.zeros(2), torch.zeros(2)
    ledger.guard(places, np.array([1, 2]), "is counted")
    ledger.use([other])
    assert ledger.close().frozen == ()
    ledger.use([places])
    assert [reason for _, reason in ledger.close().frozen] == ["is counted"]


def test_a_reshape_keeps_its_parts_equal_until_the_first_dimension_is_asked_for_channels() -> None:
    (ledger, *_), parts = entered(), np.array([[[1, 2, 3], [4, 5, 6]]])
    ledger.lay_out(parts)
    assert ledger.tied(np.array([1]), np.array([4]))
    assert not ledger.tied(np.array([1]), np.array([2]))
    line = ledger.line(parts[..., None], 1)
    assert line is not None
    assert line.tolist() == [1, 4]
    assert ledger.tied(np.array([1]), np.array([3]))
    assert not ledger.tied(np.array([1]), np.array([4]))


def test_labels_that_no_reshape_laid_out_have_no_line() -> None:
    assert entered()[0].line(np.array([[1, 2], [3, 4]]), 0) is None


def test_a_product_is_named_by_its_weight_and_by_none_where_activations_are_multiplied() -> None:
    ledger, weight, _ = entered()
    rows, columns = np.array([1, 2]), np.array([3, 4, 5])
    ledger.product(weight, 7, rows, columns)
    ledger.product(torch.zeros(2, 3), 7, rows, columns)
    assert [product.tensor for product in ledger.close().products] == ["a.weight", "a product of activations"]


def test_a_trace_does_not_change_with_its_ledger() -> None:
    ledger, *_ = entered()
    before = ledger.close()
    ledger.freeze([np.array([1])], "later")
    ledger.produce(np.array([1]))
    assert (before.frozen, before.made) == ((), ())
    assert len(ledger.close().frozen) == 1
