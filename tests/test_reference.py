from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from toys import Between

from secateur.models.subnetwork import Subnetwork
from secateur.models.supernet import Supernet
from secateur.models.surgery.reference import reference
from secateur.models.surgery.slim import slim


def supernet(middle: Callable[[Tensor], Tensor]) -> Supernet:
    torch.manual_seed(0)
    return Supernet.of(Between(middle), torch.zeros(1, 3, 8, 8))


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


class WrittenOut(nn.Module):
    """A channels-first layer norm and a response norm, in plain arithmetic."""

    def forward(self, x: Tensor) -> Tensor:
        x = (x - x.mean(1, keepdim=True)) / (x.var(1, keepdim=True, unbiased=False) + 1e-6).sqrt()
        response: Tensor = torch.linalg.vector_norm(x, dim=(2, 3), keepdim=True)
        return x * response / (response.mean(1, keepdim=True) + 1e-6)


def test_a_norm_that_forward_writes_out_takes_its_statistics_over_what_stays() -> None:
    net = supernet(WrittenOut())
    assert [group.normed for group in net.groups] == [False, True]
    subnetwork = Subnetwork(((0, 2, 5), (1, 2, 6, 7)))
    images = torch.randn(2, 3, 8, 8)
    slimmed, unread = slim(net, subnetwork)(images), reference(net, subnetwork, images)[0]
    torch.testing.assert_close(slimmed, unread, atol=1e-5, rtol=1e-4)
