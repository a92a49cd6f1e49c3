import numpy as np

from secateur.models.tracing.atoms import NOTHING, compact, lay, something, widened


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
