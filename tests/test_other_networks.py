"""Networks of blocks that people write: whatever their order, pruning is exact and leaves them as they were."""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from equality import assert_costs, doubled, gaps, images, in_double, random_subnetwork, run
from hypothesis import example, given, settings
from hypothesis import strategies as st
from test_held_widths import Chained, Holding, Mixed, Partial
from test_pointers import WAYS, Ordered
from test_torch_layers import Attending, Reading
from torch import Tensor, nn

from secateur.models.supernet import Supernet


class SpatialGate(nn.Module):
    """Weighs places by the mean and the maximum over channels."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Conv2d(2, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        found = torch.cat([x.amax(1, keepdim=True), x.mean(1, keepdim=True)], 1)
        out: Tensor = x * self.gate(found).sigmoid()
        return out


class Remembering(nn.Module):
    """Keeps a grid that its first call makes."""

    def __init__(self) -> None:
        super().__init__()
        self.grid: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.grid is None:
            self.grid = torch.linspace(0, 1, x.shape[-1], device=x.device, dtype=x.dtype)
        return x + self.grid.to(x)


class Standardised(nn.Conv2d):
    """A convolution whose filters have mean 0 and deviation 1."""

    def forward(self, x: Tensor) -> Tensor:
        mean, deviation = (f(self.weight, (1, 2, 3), keepdim=True) for f in (torch.mean, torch.std))
        return F.conv2d(x, (self.weight - mean) / (deviation + 1e-3), self.bias, padding=1)


BLOCKS: dict[str, Callable[[], nn.Module]] = {
    "convolution": lambda: nn.Conv2d(8, 8, 3, padding=1),
    "parts by a list": lambda: Mixed([4, 2, 2]),
    "parts by numbers": Partial,
    "chained parts": Chained,
    "shape": lambda: Holding((8, 1, 1), lambda m, x: x * m.vector.view(m.held)),
    "order": lambda: Ordered(WAYS["index"]),
    "attention": Attending,
    "recurrent": lambda: Reading(nn.GRU(8, 5, batch_first=True), 5),
    "weight norm": lambda: nn.utils.parametrizations.weight_norm(nn.Conv2d(8, 8, 1)),
    "standardised": lambda: Standardised(8, 8, 3),
    "gate": SpatialGate,
    "dropout": lambda: nn.Dropout2d(),
    "memory": Remembering,
}


def network(blocks: Sequence[str]) -> nn.Sequential:
    torch.manual_seed(0)
    middle = [module for block in blocks for module in (BLOCKS[block](), nn.SiLU())]
    head = (nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 5))
    return nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.SiLU(), *middle, *head).eval()


@given(st.lists(st.sampled_from([*BLOCKS]), min_size=1, max_size=4), st.integers(0, 99))
@example(["parts by numbers", "chained parts"], 1)  # parts of three and of two: not all equally often
@settings(max_examples=12, deadline=None)
def test_blocks_in_any_order_are_pruned_exactly_and_the_network_stays_as_it_was(blocks: list[str], seed: int) -> None:
    model, inputs = network(blocks), (torch.randn(3, 3, 8, 8),)
    expected = run(network(blocks), inputs)
    net = Supernet.of(model, torch.zeros(1, 3, 8, 8))
    assert all(torch.equal(one, other) for one, other in zip(run(model, inputs), expected, strict=True))
    subnetwork = random_subnetwork(net, seed)
    assert_costs(net, subnetwork)
    assert max(gaps(in_double(net), subnetwork, doubled(images(net, 4)))) < 1e-9
