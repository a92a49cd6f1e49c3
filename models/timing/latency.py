"""How long a network takes on this device: a table of its layers, measured once, as a closed form over widths."""

import json
import platform
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, combinations
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from ...errors import SecateurError
from ...progress import Progress, silent
from ..costs.cost import Bilinear
from ..costs.widths import Space
from ..evaluate import device_of
from ..structure import Structure
from ..subnetwork import Subnetwork
from ..surgery.slim import slim
from ..tracing.atoms import FloatArray, IntArray
from ..tracing.rules import is_product
from .clock import synchronised

FORMAT = "secateur/latency/1"
SUBNETWORKS = 32  # that are built and timed
WARM_UP, REPEATS = 2, 9  # forward passes of each


@dataclass(frozen=True, eq=False)
class Latency:
    """Seconds of one image, layer by layer. A layer is a product and all that runs after it up to the next one.

    Layer l, whose product has a_l(w) rows and b_l(w) columns of channels, takes
    c_l0 + c_l1 a_l + c_l2 b_l + c_l3 a_l b_l + c_l4 a_l+1 + c_l5 b_l+1 seconds (what runs before the next product
    works on what that reads). No c is negative, so that no width takes longer than a wider one. Layer 0 is what
    runs before the first product. ``conditions`` tell where and how it was measured.

    Shape: coefficients (L + 1, 6)
    """

    coefficients: FloatArray
    products: Bilinear
    conditions: Mapping[str, Any]

    def layers(self, widths: IntArray) -> FloatArray:
        """Seconds of each layer. Shape: widths (..., G) → (..., L + 1)"""
        seconds: FloatArray = (_sizes(self.products, widths) * self.coefficients).sum(-1)
        return seconds

    def __call__(self, widths: IntArray) -> FloatArray:
        """Seconds of the network, to the nanosecond. Shape: widths (..., G) → (...,)"""
        seconds: FloatArray = self.layers(widths).sum(-1).round(9)
        return seconds

    def to_json(self, net: Structure) -> str:
        """The table; ``from_json`` reads it back."""
        names = ("", *net.space.costs.products)
        layers = [{"layer": name, "seconds": c} for name, c in zip(names, self.coefficients.tolist(), strict=True)]
        return json.dumps({"format": FORMAT, **self.conditions, "groups": _groups(net), "layers": layers}, indent=1)

    @classmethod
    def from_json(cls, text: str, net: Structure) -> "Latency":
        """The table that ``to_json`` wrote, for the same network."""
        table = json.loads(text)
        layers, groups = table.pop("layers"), table.pop("groups")
        if table.pop("format") != FORMAT or groups != _groups(net):
            raise SecateurError("this table of times is of another network; measure it again, in another --out")
        return cls(np.array([layer["seconds"] for layer in layers]), net.space.costs.macs, table)


def measure(
    net: Structure,
    *,
    seed: int = 0,
    subnetworks: int = SUBNETWORKS,
    repeats: int = REPEATS,
    clock: Callable[[], float] = time.perf_counter,
    progress: Progress = silent,
) -> Latency:
    """Time the layers of subnetworks of random widths on the network's device, and fit each layer's seconds.

    Widths are a Latin hypercube over what the search may choose, with the least and the dense ones. Whole forward
    passes alternate with those whose operations are timed one by one; the median of their ratio scales the
    table, for what timing adds and what runs beside the operations.
    """
    widths, timed, ratios = _spread(net.space, subnetworks, seed), [], []
    for done, each in enumerate(widths):
        progress("measuring latency", done, len(widths))
        whole, layers = _timed(net, each, repeats, clock)
        timed.append(layers)
        ratios.append(whole / layers.sum())
    sizes = _sizes(net.space.costs.macs, widths)
    coefficients = _nonnegative(sizes, np.stack(timed)) * np.median(ratios)
    sampled = {"subnetworks": len(widths), "repeats": repeats, "seed": seed}
    return Latency(coefficients, net.space.costs.macs, {**_conditions(net), **sampled})


class _Stopwatch(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch leaves it untyped
    """Adds up the seconds of the operations of each layer."""

    def __init__(self, layers: int, now: Callable[[], float]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seconds, self.now, self.layer = np.zeros(layers), now, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.layer += is_product(func)
        start = self.now()
        output = func(*args, **(kwargs or {}))
        self.seconds[min(self.layer, len(self.seconds) - 1)] += self.now() - start
        return output


def _timed(net: Structure, widths: IntArray, repeats: int, clock: Callable[[], float]) -> tuple[float, FloatArray]:
    """Median seconds of the whole network and of its layers. Shape: widths (G,) → (), (L + 1,)"""
    model = slim(net, Subnetwork.first(widths)).eval()
    now, whole, layers = synchronised(clock, device_of(model)), [], []
    with torch.no_grad():
        for _ in range(WARM_UP):
            model(*net.examples)
        for _ in range(repeats):
            start = now()
            model(*net.examples)
            whole.append(now() - start)
            with _Stopwatch(len(net.space.costs.products) + 1, now) as watch:
                model(*net.examples)
            layers.append(watch.seconds)
    if watch.layer != len(watch.seconds) - 1:
        raise SecateurError(
            f"the network runs {watch.layer} products here and {len(watch.seconds) - 1} when it is traced, so its "
            "layers can't be timed; give --flops instead of --latency"
        )
    return float(np.median(whole)), np.median(layers, 0)


def _spread(space: Space, count: int, seed: int) -> IntArray:
    """The least widths, the dense ones, and random ones that cover each group's range evenly. Shape: → (count, G)"""
    g = np.random.default_rng(seed)
    rows = [(g.permutation(count - 2) + g.random(count - 2)) / (count - 2) for _ in space.dense]
    shares = np.reshape(rows, (len(space.dense), count - 2)).T
    between = space.round_down(
        np.minimum(space.min_widths + shares * (space.dense - space.min_widths + 1), space.dense)
    )
    return np.vstack([space.min_widths, space.dense, between])


def _sizes(products: Bilinear, widths: IntArray) -> FloatArray:
    """What a layer's seconds are linear in: 1, a, b, ab, and a and b of the next. Shape: (..., G) → (..., L + 1, 6)"""
    w = np.asarray(widths, np.float64)
    a, b = w @ products.rows.T + products.rows_fixed, w @ products.columns.T + products.columns_fixed
    none = np.zeros((*a.shape[:-1], 1))
    (a, a_next), (b, b_next) = ((np.append(none, x, -1), np.append(x, none, -1)) for x in (a, b))
    return np.stack([np.ones_like(a), a, b, a * b, a_next, b_next], -1)


def _nonnegative(sizes: FloatArray, seconds: FloatArray) -> FloatArray:
    """Least squares without negative coefficients, for each layer: the best of all choices of those above zero.

    Shape: sizes (N, L, F), seconds (N, L) → (L, F)
    """
    scale = np.maximum(sizes.max(0), 1e-12)  # (L, F)
    x, y = (sizes / scale).swapaxes(0, 1), seconds.T  # (L, N, F), (L, N)
    best, least = np.zeros_like(scale), (y**2).sum(1)
    for chosen in _subsets(sizes.shape[-1]):
        fitted = np.zeros_like(scale)
        fitted[:, chosen] = (np.linalg.pinv(x[..., chosen]) @ y[..., None])[..., 0]
        error = (((x @ fitted[..., None])[..., 0] - y) ** 2).sum(1)
        better = (fitted >= 0).all(1) & (error < least)
        best[better], least[better] = fitted[better], error[better]
    fit: FloatArray = best / scale
    return fit


def _subsets(count: int) -> Iterator[list[int]]:
    sizes = (combinations(range(count), size) for size in range(1, count + 1))
    return map(list, chain.from_iterable(sizes))


def _groups(net: Structure) -> dict[str, int]:
    return {group.name: group.width for group in (*net.groups, *net.frozen)}


def _conditions(net: Structure) -> dict[str, Any]:
    device = device_of(net.model)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    shapes = [list(example.shape) for example in net.examples]
    device_name, threads = f"{device}, {name}", torch.get_num_threads()
    return {"device": device_name, "threads": threads, "torch": torch.__version__, "inputs": shapes}
