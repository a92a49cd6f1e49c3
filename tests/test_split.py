import torch

from secateur.models.split import Batch, Views


def test_a_batch_unpacks_into_images_labels_and_positions() -> None:
    images, labels, indices = Batch(torch.zeros(2, 3, 8, 8), torch.tensor([1, 0]), torch.tensor([7, 3]))
    assert images.shape == (2, 3, 8, 8)
    assert (labels.tolist(), indices.tolist()) == ([1, 0], [7, 3])


def test_views_of_a_batch_have_one_more_dimension_in_front() -> None:
    views = Views(torch.zeros(4, 2, 3, 8, 8), torch.tensor([1, 0]), torch.tensor([7, 3]))
    assert views._fields == Batch._fields
    assert views.images.flatten(0, 1).shape == (8, 3, 8, 8)
