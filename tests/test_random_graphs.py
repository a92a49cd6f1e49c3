"""Networks that nobody would write: whatever the order of the layers, every channel has one place and one price."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from equality import assert_costs, doubled, gaps, images, in_double, random_subnetwork, randomised
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from secateur.models.supernet import Supernet


class Step(NamedTuple):
    """``kind`` of layer, the nodes that it reads (counted modulo those there are), and how wide it is."""

    kind: str
    one: int
    other: int
    width: int


class Both(nn.Module):
    """What two nodes have in common is their side: a sum of projections, or a concatenation."""

    def __init__(self, one: int, other: int, adds: bool) -> None:
        super().__init__()
        self.project = nn.Conv2d(other, one, 1) if adds and one != other else nn.Identity()
        self.adds = adds

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        y = self.project(y)
        return x + y if self.adds else torch.cat([x, y], 1)


class Halves(nn.Module):
    """Channels cut into halves that gate each other or change places."""

    def __init__(self, gates: bool) -> None:
        super().__init__()
        self.gates = gates

    def forward(self, x: Tensor) -> Tensor:
        first, second = x.chunk(2, 1)
        return first * second.sigmoid() if self.gates else torch.cat([second, first], 1)


class SqueezeExcite(nn.Module):
    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.squeeze, self.excite = nn.Conv2d(channels, width, 1), nn.Conv2d(width, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        gate: Tensor = self.excite(F.silu(self.squeeze(x.mean((2, 3), keepdim=True))))
        return x * gate.sigmoid()


class Residual(nn.Module):
    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(normed(channels, width), nn.SiLU(), normed(width, channels))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.body(x))


def normed(reads: int, makes: int, groups: int = 1) -> nn.Module:
    return nn.Sequential(nn.Conv2d(reads, makes, 3, 1, 1, groups=groups, bias=False), nn.BatchNorm2d(makes))


class Kind(NamedTuple):
    """``layer``: from channels read and width; ``makes``: how many channels come out; ``scale`` of the side."""

    layer: Callable[[int, int], nn.Module]
    makes: Callable[[int, int], int] = lambda channels, width: channels
    scale: float = 1
    even: bool = False


KINDS = {
    "conv": Kind(lambda c, w: nn.Conv2d(c, w, 1), lambda c, w: w),
    "normed": Kind(lambda c, w: nn.Sequential(normed(c, w), nn.SiLU()), lambda c, w: w),
    "grouped": Kind(lambda c, w: normed(c, 2 * w, groups=2), lambda c, w: 2 * w, even=True),
    "depthwise": Kind(lambda c, w: normed(c, c, groups=c)),
    "multiplied": Kind(lambda c, w: normed(c, 2 * c, groups=c), lambda c, w: 2 * c),
    "residual": Kind(Residual),
    "squeeze": Kind(SqueezeExcite),
    "norm": Kind(lambda c, w: nn.BatchNorm2d(c)),
    "gate": Kind(lambda c, w: Halves(True), lambda c, w: c // 2, even=True),
    "swap": Kind(lambda c, w: Halves(False), even=True),
    "shuffle": Kind(lambda c, w: nn.ChannelShuffle(2), even=True),
    "max": Kind(lambda c, w: nn.MaxPool2d(2), scale=0.5),
    "mean": Kind(lambda c, w: nn.AvgPool2d(2), scale=0.5),
    "up": Kind(lambda c, w: nn.Upsample(scale_factor=2), scale=2),
    "transposed": Kind(lambda c, w: nn.ConvTranspose2d(c, w, 2, 2), lambda c, w: w, scale=2),
}
LEAST_SIDE, MOST_SIDE, MOST_CHANNELS = 2, 16, 40


class Graph(nn.Module):
    """Every step makes a node; what nobody reads is pooled to 2x2 pixels and flattened for a linear layer."""

    def __init__(self, steps: Sequence[Step]) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Conv2d(3, 6, 3, padding=1)])
        self.shapes = [(6, 8)]  # channels and side of each node
        self.sources: list[tuple[int, ...]] = [()]
        for step in steps:
            self.grow(step)
        read = {node for sources in self.sources for node in sources}
        self.unread_nodes = [node for node in range(len(self.layers)) if node not in read]
        self.heads = nn.ModuleList(nn.Linear(4 * self.shapes[node][0], 5) for node in self.unread_nodes)

    def grow(self, step: Step) -> None:
        one = step.one % len(self.shapes)
        channels, side = self.shapes[one]
        alike = [node for node, (_, other) in enumerate(self.shapes) if other == side]
        other = alike[step.other % len(alike)]
        total = channels + self.shapes[other][0]
        if step.kind in ("add", "concat") and total <= MOST_CHANNELS:
            adds = step.kind == "add"
            self.layers.append(Both(channels, self.shapes[other][0], adds))
            self.sources.append((one, other))
            self.shapes.append((channels if adds else total, side))
            return
        kind = KINDS.get(step.kind, KINDS["conv"])
        fits = LEAST_SIDE <= side * kind.scale <= MOST_SIDE and 2 <= kind.makes(channels, step.width) <= MOST_CHANNELS
        kind = kind if fits and not (kind.even and channels % 2) else KINDS["conv"]
        self.layers.append(kind.layer(channels, step.width))
        self.sources.append((one,))
        self.shapes.append((kind.makes(channels, step.width), int(side * kind.scale)))

    def forward(self, x: Tensor) -> Tensor:
        nodes = [self.layers[0](x)]
        for layer, sources in zip(self.layers[1:], self.sources[1:], strict=True):
            nodes.append(layer(*(nodes[source] for source in sources)))
        ends = [F.adaptive_avg_pool2d(nodes[node], 2).flatten(1) for node in self.unread_nodes]
        return torch.stack([head(end) for head, end in zip(self.heads, ends, strict=True)]).sum(0)


number = st.integers(0, 100)
graphs = st.lists(
    st.builds(Step, st.sampled_from(["add", "concat", *KINDS]), number, number, st.integers(2, 9)),
    min_size=1,
    max_size=8,
)
few = settings(max_examples=20)


def supernet(steps: Sequence[Step]) -> Supernet:
    torch.manual_seed(0)
    example = torch.zeros(1, 3, 8, 8)
    return Supernet.of(randomised(Graph(steps), example), example)


@few
@given(graphs)
def test_every_filter_of_every_layer_is_in_exactly_one_group_prunable_or_frozen(steps: list[Step]) -> None:
    net = supernet(steps)
    members = [member for group in (*net.groups, *net.frozen) for member in group.members]
    for name, layer in net.model.named_modules():
        if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
            dim = 1 if isinstance(layer, nn.ConvTranspose2d) else 0
            found = [m.places for m in members if (m.tensor, m.dim) == (f"{name}.weight", dim)]
            assert np.sort(np.concatenate(found)).tolist() == list(range(layer.weight.shape[dim]))


@few
@given(graphs, number)
def test_slimmed_graphs_give_the_promised_outputs_at_the_promised_costs(steps: list[Step], seed: int) -> None:
    net = supernet(steps)
    subnetwork = random_subnetwork(net, seed)
    assert_costs(net, net.dense)
    assert_costs(net, subnetwork)
    assert max(gaps(in_double(net), subnetwork, doubled(images(net, 4)))) < 1e-9


@few
@given(graphs, number)
def test_narrowing_a_group_of_a_graph_never_raises_a_cost(steps: list[Step], seed: int) -> None:
    net = supernet(steps)
    widths = np.random.default_rng(seed).integers(1, net.space.dense + 1)
    narrower = np.maximum(widths - np.eye(len(widths), dtype=np.int64), 1)
    for cost in (net.space.costs.macs, net.space.costs.parameters):
        before, after = cost(widths), cost(narrower)
        assert (after <= before).all()
        assert ((after < before) == (narrower != widths).any(1)).all()
