"""The weights that a student starts from."""

import pytest
import torch
from lessons import pupil
from torch import nn

from secateur.errors import SecateurError
from secateur.transfer.joint.student_start import draw_again, filter_norms, require_start


def test_all_layers_and_running_statistics_are_drawn_again_as_torch_draws_them() -> None:
    model, other = (
        nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(8, 4)) for _ in range(2)
    )
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            tensor.fill_(7)
    draw_again(model, seed=3)
    torch.manual_seed(3)
    for module in other:
        if not isinstance(module, nn.Flatten):
            module.reset_parameters()  # type: ignore[operator]
    found = model.state_dict()
    assert all(torch.equal(found[name], tensor) for name, tensor in other.state_dict().items())


def test_the_global_random_state_stays() -> None:
    layer = nn.Linear(2, 2)
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    draw_again(layer, seed=9)
    assert torch.equal(torch.rand(3), expected)


def test_parameters_that_nothing_draws_are_refused_by_name() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(1))

    with pytest.raises(SecateurError, match=r"1 has parameters and no reset_parameters.*pass --from trained"):
        draw_again(nn.Sequential(nn.Linear(2, 2), Scaled()), seed=0)


def test_the_norm_of_a_channel_is_that_of_all_filters_that_make_it() -> None:
    net = pupil()
    norms = dict(zip([group.name for group in net.groups], filter_norms(net), strict=True))
    weight = {name: net.model.get_parameter(f"{name}.weight").detach() for name in ("stem", "conv", "back")}
    torch.testing.assert_close(norms["conv"], weight["conv"].flatten(1).norm(dim=1))
    both = torch.cat([weight["stem"].flatten(1), weight["back"].flatten(1)], 1)  # a residual sum
    torch.testing.assert_close(norms["stem"], both.norm(dim=1))


def test_a_start_is_fresh_or_trained() -> None:
    require_start("trained")
    with pytest.raises(SecateurError, match="cannot start from 'warm' weights"):
        require_start("warm")
