import numpy as np
import pytest
import torch

from secateur.models.tracing.atoms import NOTHING, Atoms, compact, lay, something, widened


def entered() -> tuple[Atoms, torch.Tensor, torch.Tensor]:
    """A weight of 2 filters that read 3 channels, and a vector of 3."""
    atoms, weight, vector = Atoms(), torch.zeros(2, 3, 1, 1), torch.zeros(3)
    atoms.enter("a.weight", weight, is_parameter=True)
    atoms.enter("b.mean", vector, is_parameter=False)
    return atoms, weight, vector


def test_every_place_of_every_dimension_gets_an_atom_of_its_own() -> None:
    atoms, *_ = entered()
    assert [along.tolist() for along in atoms.tensors["a.weight"]] == [[1, 2], [3, 4, 5], [6], [7]]
    assert [along.tolist() for along in atoms.tensors["b.mean"]] == [[8, 9, 10]]
    assert atoms.count == 11
    assert atoms.parameters == {"a.weight"}


@pytest.mark.parametrize(("atom", "owner"), [(1, "a.weight"), (7, "a.weight"), (8, "b.mean"), (10, "b.mean")])
def test_an_atom_knows_its_tensor(atom: int, owner: str) -> None:
    assert entered()[0].owner(atom) == owner


def test_dimensions_of_size_one_carry_no_labels() -> None:
    atoms, weight, _ = entered()
    assert [tuple(labels.shape) for labels in atoms.of(weight)] == [(2, 1, 1, 1), (1, 3, 1, 1)]
    assert atoms.along(weight, 2) is None


def test_labels_along_one_dimension_come_flat() -> None:
    atoms, weight, _ = entered()
    along = atoms.along(weight, 1)
    assert along is not None
    assert along.tolist() == [3, 4, 5]
    assert atoms.frozen == []


def test_labels_that_vary_along_two_dimensions_are_frozen_when_asked_for_one() -> None:
    atoms, x = Atoms(), torch.zeros(2, 2)
    atoms.put(x, [np.array([[1, 2], [3, 4]])])
    assert atoms.along(x, 0) is None
    assert [(labels.tolist(), why) for labels, why in atoms.frozen] == [
        ([1, 2, 3, 4], "varies along channels and another dimension at once")
    ]


def test_a_tensor_no_parameter_has_touched_has_no_labels() -> None:
    atoms, *_ = entered()
    assert atoms.of(torch.zeros(3)) == []
    assert atoms.of(None) == []


def test_a_moved_weight_is_a_weight_and_a_computed_one_is_not() -> None:
    atoms, weight, _ = entered()
    moved, computed = weight.view(2, 3), weight * 2
    atoms.move(weight, moved)
    atoms.move(computed, computed)
    assert atoms.is_weight(weight)
    assert atoms.is_weight(moved)
    assert not atoms.is_weight(computed)


def test_a_tie_joins_place_by_place_and_broadcasts() -> None:
    atoms = Atoms()
    atoms.tie(np.array([[1], [2]]), np.array([[3, 4], [5, 6]]))
    ((left, right),) = atoms.ties
    assert list(zip(left.tolist(), right.tolist(), strict=True)) == [(1, 3), (1, 4), (2, 5), (2, 6)]


def test_a_tie_with_nothing_freezes_the_lonely_side_alone() -> None:
    atoms = Atoms()
    atoms.tie(np.array([1, 2, NOTHING, NOTHING]), np.array([5, NOTHING, 7, NOTHING]))
    ((left, right),) = atoms.ties
    assert (left.tolist(), right.tolist()) == ([1], [5])
    ((frozen, why),) = atoms.frozen
    assert frozen.tolist() == [2, 7]
    assert "zero padding" in why


def test_lay_puts_labels_along_one_dimension() -> None:
    assert lay(np.arange(3), 1, 4).shape == (1, 3, 1, 1)


def test_widened_adds_dimensions_in_front() -> None:
    assert widened(np.arange(3), 3).shape == (1, 1, 3)


def test_compact_drops_dimensions_along_which_labels_do_not_vary() -> None:
    labels = np.broadcast_to(np.arange(3).reshape(1, 3, 1), (2, 3, 4))
    assert compact(labels).shape == (1, 3, 1)
    assert np.array_equal(np.broadcast_to(compact(labels.copy()), (2, 3, 4)), labels)
    both = np.arange(6).reshape(2, 3)
    assert compact(both).shape == (2, 3)


def test_something_leaves_out_labels_of_nothing() -> None:
    one, none, many = np.array([4]), np.array([NOTHING]), np.array([NOTHING, NOTHING])
    assert [labels.tolist() for labels in something([one, none, many])] == [[4], [0, 0]]
