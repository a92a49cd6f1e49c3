"""Attention and recurrent layers of torch, whose tensors must fit each other beyond what their operations show."""

from collections.abc import Callable

import pytest
import torch
from equality import assert_slims, gap, random_subnetwork, run
from scored import drawn
from test_reference import supernet
from torch import Tensor, nn

from secateur.models.compensation.gram import grams
from secateur.models.compensation.sequential import refit_sequentially
from secateur.models.subnetwork import Subnetwork
from secateur.models.surgery.slim import narrow, slim


class Attending(nn.Module):
    """Attention among the places of a feature map of 8 channels, or to places of another, beside its input."""

    def __init__(self, memory: int = 0, batch_first: bool = True, weights: bool = False, bias: bool = True) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(
            8, 2, batch_first=batch_first, bias=bias, kdim=memory or None, vdim=memory or None
        )
        self.memory = nn.Conv2d(8, memory, 1) if memory else nn.Identity()
        self.needs_weights = weights

    def forward(self, x: Tensor) -> Tensor:
        order = (0, 2, 1) if self.attention.batch_first else (2, 0, 1)
        query, memory = (each.flatten(2).permute(order) for each in (x, self.memory(x)))
        out: Tensor = self.attention(query, memory, memory, need_weights=self.needs_weights)[0]
        return x + (out.mT if self.attention.batch_first else out.permute(1, 2, 0)).reshape_as(x)


ATTENTION: dict[str, Callable[[], Attending]] = {
    "itself": Attending,
    "with weights": lambda: Attending(weights=True),
    "places first": lambda: Attending(batch_first=False),
    "no bias": lambda: Attending(bias=False),
    "another": lambda: Attending(memory=5),
}


@pytest.mark.parametrize("make", ATTENTION.values(), ids=ATTENTION)
def test_attention_narrows_with_its_stream_by_places_alike_in_all_heads(make: Callable[[], Attending]) -> None:
    net = supernet(make())
    found = {group.name: group.width for group in net.groups}
    assert (found["first"], found["second"]) == (6, 4)
    assert found.keys() <= {"first", "second", "middle.memory"}
    assert_slims(net)


def test_the_attributes_of_attention_follow_its_tensors() -> None:
    net = supernet(Attending(memory=5))
    model = slim(net, Subnetwork(((0,), (0, 1, 3), (1, 2))))
    layer = model.get_submodule("middle.attention")
    assert isinstance(layer, nn.MultiheadAttention)
    assert (layer.embed_dim, layer.num_heads, layer.head_dim, layer.kdim, layer.vdim) == (6, 2, 3, 2, 2)


def test_a_transformer_encoder_narrows_whole() -> None:
    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.TransformerEncoderLayer(8, 2, 12, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.layer(x.flatten(2).mT).mT
            return out.reshape_as(x)

    net = supernet(Encoder())
    assert {group.name: group.width for group in net.groups} == {"first": 6, "second": 4, "middle.layer.linear1": 12}
    assert_slims(net)


class Reading(nn.Module):
    """A recurrent layer that reads the places of a feature map of 8 channels, and adds to them what it makes."""

    def __init__(self, layer: nn.RNNBase, makes: int) -> None:
        super().__init__()
        self.layer, self.back = layer, nn.Linear(makes, 8)

    def begin(self, x: Tensor) -> Tensor | None:
        return None

    def forward(self, x: Tensor) -> Tensor:
        order = (0, 2, 1) if self.layer.batch_first else (2, 0, 1)
        out: Tensor = self.back(self.layer(x[..., :2, :2].flatten(2).permute(order), self.begin(x))[0])
        return x + out.mean(1 if self.layer.batch_first else 0)[..., None, None]


class ByItself(Reading):
    """The state to begin with is made by forward, as wide as an attribute says."""

    def __init__(self) -> None:
        super().__init__(nn.GRU(8, 5, batch_first=True), 5)
        self.hidden = 5

    def begin(self, x: Tensor) -> Tensor:
        return x.new_zeros(1, len(x), self.hidden)


class Learnt(Reading):
    """The state to begin with is learnt."""

    def __init__(self) -> None:
        super().__init__(nn.RNN(8, 5, 2), 5)
        self.start = nn.Parameter(torch.randn(2, 1, 5), requires_grad=False)  # else torch's counter fails on it

    def begin(self, x: Tensor) -> Tensor:
        return self.start.expand(-1, len(x), -1).contiguous()


class Cell(nn.Module):
    """A cell that runs from place to place."""

    def __init__(self, cell: type[nn.RNNCellBase]) -> None:
        super().__init__()
        self.cell, self.back = cell(8, 5), nn.Linear(5, 8)  # type: ignore[call-arg]  # of the subclasses

    def forward(self, x: Tensor) -> Tensor:
        state = None
        for place in x.mean(3)[..., :3].unbind(2):
            state = self.cell(place, state)
        hidden: Tensor = state[0] if isinstance(state, tuple) else state  # type: ignore[assignment]
        out: Tensor = self.back(hidden)
        return x + out[..., None, None]


RECURRENT: dict[str, Callable[[], nn.Module]] = {
    "LSTM": lambda: Reading(nn.LSTM(8, 5, batch_first=True), 5),
    "two layers in both directions": lambda: Reading(nn.LSTM(8, 5, 2, bidirectional=True), 10),
    "GRU": lambda: Reading(nn.GRU(8, 5, bidirectional=True, bias=False), 10),
    "RNN": lambda: Reading(nn.RNN(8, 5, nonlinearity="relu"), 5),
    "state made by forward": ByItself,
    "learnt state": Learnt,
    "LSTM cell": lambda: Cell(nn.LSTMCell),
    "GRU cell": lambda: Cell(nn.GRUCell),
    "RNN cell": lambda: Cell(nn.RNNCell),
}


@pytest.mark.parametrize("make", RECURRENT.values(), ids=RECURRENT)
def test_recurrent_layers_narrow_in_what_they_read_and_in_their_state(make: Callable[[], nn.Module]) -> None:
    net = supernet(make())
    assert [group.width for group in net.groups] == [6, 8, 5]
    assert_slims(net, subnetworks=2)


def test_the_attributes_of_recurrent_layers_follow_their_tensors_when_narrowed_in_place_too() -> None:
    net = supernet(RECURRENT["two layers in both directions"]())
    now, then = Subnetwork(((0,), (0, 1, 2), (0, 1, 2, 4))), Subnetwork(((0,), (0, 2), (1, 2, 4)))
    model = slim(net, now)
    layer = model.get_submodule("middle.layer")
    assert isinstance(layer, nn.LSTM)
    assert (layer.input_size, layer.hidden_size) == (3, 4)
    narrow(net, model, now, then)
    assert (layer.input_size, layer.hidden_size) == (2, 3)
    inputs = (torch.randn(2, 3, 8, 8),)
    assert gap(run(model, inputs), run(slim(net, then), inputs)) < 1e-6


@pytest.mark.parametrize("make", [ATTENTION["itself"], RECURRENT["LSTM"], RECURRENT["GRU"]])
def test_what_no_gram_is_known_of_keeps_its_inherited_weights(make: Callable[[], nn.Module]) -> None:
    net, split = supernet(make()), drawn(32)
    model = refit_sequentially(net, random_subnetwork(net, 0), grams(net, split), split)
    assert all(bool(each.isfinite().all()) for each in run(model, (split.images,)))


def test_a_layer_whose_kernel_torch_hides_is_followed_where_forward_looks_at_values() -> None:
    class Looking(Reading):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) if x.mean() < 1e6 else x

    net = supernet(Looking(nn.LSTM(8, 5), 5))
    assert [group.width for group in net.groups] == [6, 8, 5]
