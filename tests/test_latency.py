"""The table of times, made with a clock that the tests wind themselves."""

import json
from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from secateur.errors import SecateurError
from secateur.models.costs.widths import fills_budget, fit_to_budget
from secateur.models.supernet import Supernet
from secateur.models.timing import latency
from secateur.models.timing.latency import Latency, measure
from secateur.models.tracing.rules import is_product

ROW, PRODUCT, OTHER = 1e-5, 1e-7, 2e-6  # made-up seconds


def network() -> nn.Module:
    layers = [nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 24, 3), nn.ReLU(), nn.Flatten(), nn.Linear(24 * 16, 5)]
    return nn.Sequential(*layers)


@pytest.fixture(scope="module")
def net() -> Supernet:
    return Supernet.of(network(), torch.zeros(1, 3, 8, 8), check=False)


class Clock:
    """Time that only operations take: products by their rows and columns, ReLUs by what they make.

    Operations that run on, with nobody reading the clock between them, take ``unwatched`` times as long.
    """

    def __init__(self) -> None:
        self.now, self.unwatched = 0.0, 1.0
        self.operations, self.read = 0, 0.0

    def __call__(self) -> float:
        if self.operations > 1:
            self.now = self.read + self.unwatched * (self.now - self.read)
        self.operations, self.read = 0, self.now
        return self.now

    def tick(self, func: Any, args: Any, output: torch.Tensor) -> None:
        self.operations += 1
        if is_product(func):
            read = args[0].shape[1] if args[0].ndim == 4 else args[1].shape[1]
            self.now += ROW * read + PRODUCT * read * output.shape[1]
        elif func.overloadpacket is torch.ops.aten.relu:
            self.now += OTHER * output.shape[1]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Every operation that runs lets the clock tick, watched or not."""
    clock, original = Clock(), latency._timed

    class Ticks(TorchDispatchMode):  # type: ignore[no-untyped-call]
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            output = func(*args, **(kwargs or {}))
            clock.tick(func, args, output)
            return output

    def timed(*given: Any) -> Any:
        with Ticks():  # type: ignore[no-untyped-call]
            return original(*given)

    monkeypatch.setattr(latency, "_timed", timed)
    return clock


def true_seconds(widths: np.ndarray) -> np.ndarray:
    a, b = np.asarray(widths, np.float64).T
    products = [ROW * 3 + PRODUCT * 3 * a, ROW * a + PRODUCT * a * b, ROW * 16 * b + PRODUCT * 16 * b * 5]
    return np.asarray(sum(products) + OTHER * (a + b))


def test_the_table_gives_back_times_that_follow_its_form(net: Supernet, clock: Clock) -> None:
    table = measure(net, clock=clock, repeats=1)
    widths = np.random.default_rng(0).integers(2, [17, 25], (50, 2))
    assert table(widths) == pytest.approx(true_seconds(widths), rel=0.02)
    assert table.layers(widths).sum(-1) == pytest.approx(table(widths), abs=1e-9)


@pytest.mark.parametrize("unwatched", [0.5, 1.0, 3.0])
def test_the_table_is_scaled_to_whole_passes(net: Supernet, clock: Clock, unwatched: float) -> None:
    clock.unwatched = unwatched
    table, dense = measure(net, clock=clock, repeats=1), net.space.dense
    whole, _ = latency._timed(net, dense, 1, clock)
    assert whole == pytest.approx(unwatched * true_seconds(dense[None])[0])
    assert float(table(dense)) == pytest.approx(whole, rel=0.001)


def test_no_width_takes_longer_than_a_wider_one_even_by_a_noisy_clock(net: Supernet) -> None:
    noise = np.random.default_rng(0)
    table = measure(net, clock=lambda: float(noise.random()), repeats=1)
    widths = np.stack(np.meshgrid(np.arange(1, 17), np.arange(1, 25), indexing="ij"), -1)
    seconds = table(widths)
    assert (np.diff(seconds, axis=0) >= 0).all()
    assert (np.diff(seconds, axis=1) >= 0).all()


def test_a_limit_of_latency_is_met_to_the_last_step(net: Supernet, clock: Clock) -> None:
    table = measure(net, clock=clock, repeats=1)
    budget = net.budget(latency="60%", timed=table)
    widths = fit_to_budget(net.space, budget, net.space.dense.astype(np.float64))
    assert table(widths) <= 0.6 * table(net.space.dense)
    assert fills_budget(net.space, budget, widths)


def test_a_table_is_read_back_as_it_was_written(net: Supernet) -> None:
    table = measure(net, subnetworks=6, repeats=1)
    again = Latency.from_json(table.to_json(net), net)
    widths = np.stack([net.space.min_widths, net.space.dense])
    assert again(widths).tolist() == table(widths).tolist()
    assert again.conditions == table.conditions
    assert json.loads(table.to_json(net))["threads"] == torch.get_num_threads()


def test_a_frozen_group_leaves_the_table_valid(net: Supernet) -> None:
    table = measure(net, subnetworks=6, repeats=1)
    frozen = Supernet.of(net.model, net.examples[0], freeze=["0"], check=False)
    again = Latency.from_json(table.to_json(net), frozen)
    assert again(frozen.space.dense) == table(net.space.dense)


def test_the_table_of_another_network_is_refused(net: Supernet) -> None:
    text = measure(net, subnetworks=6, repeats=1).to_json(net)
    other = Supernet.of(nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 5, 1)), net.examples[0], check=False)
    with pytest.raises(SecateurError, match="is of another network"):
        Latency.from_json(text, other)


@pytest.mark.parametrize(
    "text", ["", "[]", "3", "{}", '{"format": ', '{"layers": 3, "groups": 1, "format": 2}', "[" * 9999]
)
def test_what_is_no_table_is_refused_in_a_line(net: Supernet, text: str) -> None:
    with pytest.raises(SecateurError, match="is no table of times") as caught:
        Latency.from_json(text, net)
    assert "\n" not in str(caught.value)


def test_the_fit_is_the_best_of_all_choices_of_terms_above_zero() -> None:
    rng = np.random.default_rng(0)
    sizes, seconds = rng.random((20, 3, 4)), rng.normal(size=(20, 3))
    fitted = latency._nonnegative(sizes, seconds)
    for layer in range(3):
        x, y = sizes[:, layer], seconds[:, layer]
        choices = [list(each) for n in range(1, 5) for each in combinations(range(4), n)]
        solved = [(each, np.linalg.lstsq(x[:, each], y, rcond=None)[0]) for each in choices]
        errors = [((x[:, each] @ c - y) ** 2).sum() for each, c in solved if (c >= 0).all()]
        assert ((x @ fitted[layer] - y) ** 2).sum() == pytest.approx(min([*errors, (y**2).sum()]))
    assert (fitted >= 0).all()


def test_a_table_fits_a_line(net: Supernet) -> None:
    assert repr(measure(net, subnetworks=4, repeats=1)).startswith("Latency(layers=4, device='cpu, ")


def test_measuring_leaves_the_network_as_it_was(net: Supernet) -> None:
    before = {name: tensor.clone() for name, tensor in net.model.state_dict().items()}
    net.model.train()
    measure(net, subnetworks=4, repeats=1)
    assert net.model.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.model.state_dict().items())


def test_progress_is_told(net: Supernet) -> None:
    told: list[tuple[str, int, int]] = []
    measure(net, subnetworks=4, repeats=1, progress=lambda *each: told.append(each))
    assert told == [("measuring latency", done, 4) for done in range(4)]


def test_widths_that_are_measured_are_widths_that_may_be_chosen() -> None:
    space = Supernet.of(network(), torch.zeros(1, 3, 8, 8), divisor=8, check=False).space
    widths = latency._spread(space, 32, seed=0)
    assert widths.shape == (32, 2)
    assert {*widths[:, 0].tolist()} == {8, 16}
    assert {*widths[:, 1].tolist()} == {8, 16, 24}


class Shy(nn.Module):
    """Runs one layer more on real tensors than on those without storage."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 5, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        seen = x if x.is_meta else self.last(x)[:, :1].expand(-1, x.shape[1], -1, -1)
        outputs: torch.Tensor = self.last(seen)
        return outputs


def test_a_network_that_runs_other_layers_than_were_traced_is_refused() -> None:
    net = Supernet.of(Shy(), torch.zeros(1, 3, 8, 8), check=False)
    with pytest.raises(SecateurError, match="runs 3 products here and 2 when it is traced"):
        measure(net, subnetworks=4, repeats=1)
