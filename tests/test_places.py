import numpy as np
import torch
from torch import nn

from secateur.models.subnetwork import Subnetwork
from secateur.models.supernet import Supernet
from secateur.models.surgery.places import kept_places, removed_atoms


def net() -> Supernet:
    """Two convolutions; the head reads four pixels of each channel."""
    layers = (nn.Conv2d(3, 4, 2, 2), nn.ReLU(), nn.Conv2d(4, 3, 1), nn.Flatten(), nn.Linear(12, 2))
    return Supernet.of(nn.Sequential(*layers), torch.zeros(1, 3, 4, 4))


def test_the_places_that_stay_are_those_of_the_kept_channels_in_every_tensor() -> None:
    places = kept_places(net(), Subnetwork(((1, 3), (0, 2))))
    assert {(name, dim): at.tolist() for name, dims in places.items() for dim, at in dims.items()} == {
        ("0.weight", 0): [1, 3],
        ("0.bias", 0): [1, 3],
        ("2.weight", 0): [0, 2],
        ("2.weight", 1): [1, 3],
        ("2.bias", 0): [0, 2],
        ("4.weight", 1): [0, 1, 2, 3, 8, 9, 10, 11],
    }


def test_dimensions_that_are_alike_share_one_array() -> None:
    places = kept_places(net(), Subnetwork(((1, 3), (0, 2))))
    assert places["0.weight"][0] is places["0.bias"][0]


def test_the_atoms_that_go_are_those_of_no_place_that_stays() -> None:
    supernet = net()
    places = kept_places(supernet, Subnetwork(((1, 3), (0, 1, 2))))
    removed = removed_atoms(supernet, places)
    atoms = supernet.trace.tensors
    assert removed[atoms["0.weight"][0]].tolist() == [True, False, True, False]
    assert np.count_nonzero(removed) == 6  # two channels, each in a filter, a bias and a column
