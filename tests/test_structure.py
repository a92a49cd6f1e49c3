import numpy as np
import pytest
import torch
from torch import Tensor, nn

from secateur.errors import SecateurError
from secateur.models.structure import Constraints, Structure
from secateur.models.subnetwork import Subnetwork
from secateur.models.tracing.trace import trace
from secateur.models.zoo.resnet import resnet20


class TwoHeads(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.a, self.b = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 5, 1), nn.Conv2d(8, 4, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.stem(x)
        return self.a(x), self.b(x)


def structure(model: nn.Module | None = None, divisor: int = 1, least: float = 0.1) -> Structure:
    model, image = model or resnet20(), torch.zeros(1, 3, 32, 32)
    return Structure.from_trace(model, (image,), trace(model, image), Constraints(divisor, least))


def test_the_dense_subnetwork_keeps_every_channel_and_costs_what_the_model_does() -> None:
    net = structure()
    assert net.dense.kept == tuple(tuple(range(group.width)) for group in net.groups)
    assert net.macs(net.dense) == 40_551_040
    assert net.parameters(net.dense) == sum(p.numel() for p in net.model.parameters())


def test_a_tenth_of_each_group_stays_at_least() -> None:
    net = structure()
    assert np.array_equal(net.space.min_widths, np.ceil(net.space.dense / 10))


@pytest.mark.parametrize(("divisor", "least"), [(8, 0.1), (4, 0.5), (1, 0.0), (64, 0.1), (1, 1.0)])
def test_least_widths_lie_on_the_grid_and_keep_a_channel(divisor: int, least: float) -> None:
    where = structure(divisor=divisor, least=least).space
    assert ((where.min_widths % divisor == 0) | (where.min_widths == where.dense)).all()
    assert (where.min_widths >= np.maximum(where.dense * least, 1)).all()
    assert (where.min_widths <= where.dense).all()


@pytest.mark.parametrize(("divisor", "least"), [(0, 0.1), (-1, 0.1), (1, -0.1), (1, 1.1)])
def test_divisors_and_least_shares_out_of_range_are_refused(divisor: int, least: float) -> None:
    with pytest.raises(SecateurError, match=f"divisor={divisor}, least={least}"):
        structure(divisor=divisor, least=least)


def test_the_head_is_the_module_that_makes_the_output() -> None:
    assert structure().head == "linear"


def test_a_network_with_two_outputs_has_no_one_head() -> None:
    assert structure(TwoHeads()).head is None


def test_shapes_are_those_of_all_parameters_and_buffers() -> None:
    net = structure()
    tensors = {**dict(net.model.named_parameters()), **dict(net.model.named_buffers())}
    assert net.shapes == {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def test_a_subnetwork_of_another_network_is_refused() -> None:
    net = structure(TwoHeads())
    net.check(Subnetwork(((0, 7),)))
    with pytest.raises(SecateurError, match="a subnetwork of 2 channel groups is not for this network, which has 1"):
        net.check(Subnetwork(((0,), (0,))))
    with pytest.raises(SecateurError, match="channel 9 is kept of group stem, which has 8 channels"):
        net.check(Subnetwork(((0, 9),)))


def test_freezing_and_tying_keep_the_type_and_leave_the_value_as_it_was() -> None:
    net = structure()
    frozen = net.freezing({"conv1": "was frozen by you"})
    assert type(frozen) is Structure
    assert {group.name: group.frozen for group in frozen.frozen}["conv1"] == "was frozen by you"
    assert len(frozen.groups) == len(net.groups) - 1
    assert net.freezing({}) is net
    assert net.tied() is net


def test_it_fits_a_line() -> None:
    assert repr(structure()) == "Structure(ResNet, groups=12, frozen=1)"
