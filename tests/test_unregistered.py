import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import secateur as sc
from secateur.errors import SecateurError

IMAGE = torch.zeros(1, 3, 8, 8)


class Listed(nn.Module):
    """Two layers in a plain container, between two that are registered."""

    def __init__(self, container: object) -> None:
        super().__init__()
        self.stem, self.head = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 4, 1)
        self.blocks = container

    def layers(self) -> list[nn.Module]:
        return list(self.blocks.values()) if isinstance(self.blocks, dict) else list(self.blocks)  # type: ignore[call-overload]

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for layer in self.layers():
            x = F.relu(layer(x))
        out: Tensor = self.head(x)
        return out


def conv(trains: bool = True) -> nn.Conv2d:
    return nn.Conv2d(6, 6, 3, padding=1).requires_grad_(trains)


@pytest.mark.parametrize("container", [[conv()], {"a": conv()}, (conv(), conv())])
def test_layers_in_a_plain_container_are_named_with_what_to_use(container: object) -> None:
    model = nn.Sequential(Listed(container))
    with pytest.raises(SecateurError, match=r"layers in 0\.blocks, which are not registered.*use nn\.ModuleList"):
        sc.Supernet.of(model, IMAGE)


def test_a_linear_layer_is_found_through_its_transpose() -> None:
    class Flat(Listed):
        def forward(self, x: Tensor) -> Tensor:
            return self.layers()[0](self.stem(x).mean((2, 3)))  # type: ignore[no-any-return]

    with pytest.raises(SecateurError, match="layers in blocks"):
        sc.Supernet.of(Flat([nn.Linear(6, 4)]), IMAGE)


def test_layers_that_do_not_train_freeze_what_they_meet() -> None:
    net = sc.Supernet.of(Listed([conv(trains=False)]), IMAGE)
    (stem,) = (group for group in net.frozen if group.name == "stem")
    assert stem.frozen == "meets layers in blocks, which are not registered; use nn.ModuleList"


def test_registered_layers_may_lie_in_lists_too() -> None:
    model = Listed(None)
    model.body = conv()
    model.blocks = [model.body]
    assert [group.name for group in sc.Supernet.of(model, IMAGE).groups] == ["stem", "body"]


def test_layers_that_forward_leaves_alone_do_not_matter() -> None:
    class Beside(Listed):
        def layers(self) -> list[nn.Module]:
            return []

    assert [group.name for group in sc.Supernet.of(Beside([conv()]), IMAGE).groups] == ["stem"]
