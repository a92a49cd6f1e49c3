import torch
from lessons import Pupil, coloured
from torch import nn

from secateur.models.compensation.gram import grams
from secateur.models.compensation.initial import initial_student
from secateur.models.compensation.sequential import refit_sequentially
from secateur.models.subnetwork import Subnetwork
from secateur.models.supernet import Supernet
from secateur.models.surgery.slim import slim


def parts(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor for name, tensor in model.state_dict().items() if tensor.is_floating_point()}


def test_weights_are_half_way_from_inherited_to_compensated_ones() -> None:
    torch.manual_seed(0)
    net, split = Supernet.of(Pupil().eval(), torch.zeros(1, 3, 8, 8)), coloured()
    kept = Subnetwork((tuple(range(0, 8, 2)), tuple(range(6)), tuple(range(3, 16))))
    known = grams(net, split)
    half = initial_student(net, kept, known, split)
    one, other = parts(slim(net, kept)), parts(refit_sequentially(net, kept, known, split))
    assert any(not torch.equal(one[name], other[name]) for name in one)
    for name, tensor in parts(half).items():
        torch.testing.assert_close(tensor, (one[name] + other[name]) / 2)
    assert all(parameter.requires_grad for parameter in half.parameters())
