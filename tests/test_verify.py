from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from toys import Between

from secateur.errors import SecateurError
from secateur.models.supernet import Supernet
from secateur.models.surgery.verify import verified


def supernet(middle: Callable[[Tensor], Tensor], check: bool = True) -> Supernet:
    torch.manual_seed(0)
    return Supernet.of(Between(middle), torch.zeros(1, 3, 8, 8), check=check)


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
    model = Between(lambda x: x).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    verified(Supernet.of(model, torch.zeros(1, 3, 8, 8), check=False))
    assert model.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_nothing_left_to_prune_is_an_error_that_says_why() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.Unflatten(1, (2, 4)), nn.Flatten(1, 2), nn.Conv2d(8, 5, 1))
    net = Supernet.of(model, torch.zeros(1, 3, 8, 8))
    assert net.groups == ()
    with pytest.raises(SecateurError, match=r"nothing to prune \(.*has a width written down in forward"):
        net.budget("50%")


def test_groups_are_frozen_by_name_and_an_unknown_name_lists_them() -> None:
    net = Supernet.of(Between(lambda x: x), torch.zeros(1, 3, 8, 8), freeze=("fir*",))
    assert [group.name for group in net.groups] == ["second"]
    assert net.frozen[0].frozen == "was frozen by you"
    with pytest.raises(SecateurError, match="no channel group is called 'thrid'; the groups are first, second"):
        Supernet.of(Between(lambda x: x), torch.zeros(1, 3, 8, 8), freeze=("thrid",))


class Weighed(nn.Module):
    """Two inputs; the second is cut at a width that is written down."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.mask, self.head = nn.Conv2d(3, 8, 3), nn.Conv2d(1, 8, 3), nn.Conv2d(12, 5, 1)

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        out: Tensor = self.head(torch.cat([self.stem(image), self.mask(mask)[:, :4]], 1))
        return out


def test_a_network_of_several_inputs_is_checked_on_all_of_them() -> None:
    net = Supernet.of(Weighed(), (torch.zeros(1, 3, 8, 8), torch.zeros(1, 1, 8, 8)))
    assert [group.name for group in net.groups] == ["stem"]
    assert str(net.frozen[0].frozen).startswith("has a width written down in forward")
