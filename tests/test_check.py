from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from secateur.models.check import checked, reference
from secateur.models.errors import SecateurError
from secateur.models.slim import slim
from secateur.models.subnetwork import Subnetwork
from secateur.models.supernet import Supernet


class Net(nn.Module):
    """Two convolutions before ``middle``, one behind it."""

    def __init__(self, middle: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 8, 3, padding=1)
        self.middle = middle
        self.head = nn.Conv2d(8, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.middle(F.relu(self.second(F.relu(self.first(x))))))
        return out.mean((2, 3))


def supernet(middle: Callable[[Tensor], Tensor], check: bool = True) -> Supernet:
    torch.manual_seed(0)
    return Supernet.of(Net(middle), torch.zeros(1, 3, 8, 8), check=check)


@pytest.mark.parametrize(
    "written_down",
    [
        lambda x: torch.cat(x.split(4, 1)[::-1], 1),
        lambda x: torch.cat([x[:, 4:], x[:, :4]], 1),
        lambda x: x.view(-1, 2, 4, 8, 8).transpose(1, 2).reshape(-1, 8, 8, 8),
        lambda x: x.reshape(-1, 512).view(-1, 8, 8, 8),
    ],
)
def test_a_width_written_down_in_forward_freezes_its_group_alone(written_down: Callable[[Tensor], Tensor]) -> None:
    assert [group.name for group in supernet(written_down, check=False).groups] == ["first", "second"]
    net = supernet(written_down)
    assert [group.name for group in net.groups] == ["first"]
    assert str(net.frozen[0].frozen).startswith(("has a width written down in forward", "gives other outputs"))


def test_a_width_that_is_computed_passes() -> None:
    assert [group.name for group in supernet(lambda x: torch.cat(x.chunk(2, 1)[::-1], 1)).groups] == ["first", "second"]


def test_a_forward_that_depends_on_the_width_itself_is_found_by_its_values() -> None:
    net = supernet(lambda x: x / x.shape[1])
    assert [group.name for group in net.groups] == ["first"]
    assert net.frozen[0].frozen == "gives other outputs when it is narrowed than without the removed channels"


def test_the_check_leaves_the_network_as_it_was() -> None:
    model = Net(lambda x: x).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    checked(Supernet.of(model, torch.zeros(1, 3, 8, 8), check=False))
    assert model.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_nothing_left_to_prune_is_an_error_that_says_why() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.Unflatten(1, (2, 4)), nn.Flatten(1, 2), nn.Conv2d(8, 5, 1))
    with pytest.raises(SecateurError, match="has a width written down in forward"):
        Supernet.of(model, torch.zeros(1, 3, 8, 8))


@pytest.mark.parametrize("norm", [nn.GroupNorm(2, 8), nn.GroupNorm(1, 8), nn.GroupNorm(8, 8)], ids=str)
def test_group_norm_keeps_equal_groups_and_takes_statistics_over_what_stays(norm: nn.GroupNorm) -> None:
    nn.init.normal_(norm.weight), nn.init.normal_(norm.bias)
    net = supernet(norm)
    group = next(group for group in net.groups if group.name == "second")
    assert group.width == (4 if norm.num_groups == 2 else 8)
    subnetwork = Subnetwork((tuple(range(6)), (0, 1, 3)))
    model, images = slim(net, subnetwork), torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(model(images), reference(net, subnetwork, images)[0], atol=1e-5, rtol=1e-4)
    narrowed = model.get_submodule("middle")
    assert isinstance(narrowed, nn.GroupNorm)
    assert narrowed.num_channels == (6 if norm.num_groups == 2 else 3)


class ChannelsLastNorm(nn.Module):
    """Layer norm over the channels of an image, as ConvNeXt has it."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(8)
        nn.init.normal_(self.norm.weight)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return out


def test_layer_norm_takes_statistics_over_what_stays() -> None:
    net = supernet(ChannelsLastNorm())
    assert [group.width for group in net.groups] == [6, 8]
    subnetwork = Subnetwork(((0, 2, 5), (1, 2, 6, 7)))
    model, images = slim(net, subnetwork), torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(model(images), reference(net, subnetwork, images)[0], atol=1e-5, rtol=1e-4)
    norm = model.get_submodule("middle.norm")
    assert isinstance(norm, nn.LayerNorm)
    assert norm.normalized_shape == (4,)


def test_groups_are_frozen_by_name_and_an_unknown_name_lists_them() -> None:
    net = Supernet.of(Net(lambda x: x), torch.zeros(1, 3, 8, 8), freeze=("fir*",))
    assert [group.name for group in net.groups] == ["second"]
    assert net.frozen[0].frozen == "was frozen by you"
    with pytest.raises(SecateurError, match="no channel group is called 'thrid'; the groups are first, second"):
        Supernet.of(Net(lambda x: x), torch.zeros(1, 3, 8, 8), freeze=("thrid",))
