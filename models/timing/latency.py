"""The latency of a network on this device: a table of its layers, measured once, as a closed form over widths."""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...digests import sealed, unsealed
from ...errors import SecateurError, in_a_line
from ...progress import Progress, silent
from ..costs.cost import Bilinear
from ..costs.widths import Space
from ..structure import Structure
from ..subnetwork import Subnetwork
from ..surgery.slim import slim
from ..tracing.atoms import FloatArray, IntArray
from .layer_timers import conditions, layer_timer

AGAIN = "restore it from a copy, or measure again in another --out"
FORMAT = "secateur/latency/1"
TERMS = 6  # of a layer's seconds
SUBNETWORKS = 32  # that are built and timed
WARM_UP, REPEATS = 2, 9  # forward passes of each


@dataclass(frozen=True, eq=False, repr=False)
class Latency:
    """Seconds of one image, layer by layer. A layer is a product and all that runs after it up to the next one.

    Layer l, whose product has a_l(w) rows and b_l(w) columns of channels, takes
    c_l0 + c_l1 a_l + c_l2 b_l + c_l3 a_l b_l + c_l4 a_l+1 + c_l5 b_l+1 seconds (the operations before the next product
    work on what it reads). No c is negative, so that no width takes longer than a wider one. Layer 0 is everything
    before the first product. ``conditions`` record where and how it was measured.

    Shape: coefficients (L + 1, 6)
    """

    coefficients: FloatArray
    products: Bilinear
    conditions: Mapping[str, Any]

    def __repr__(self) -> str:
        return f"Latency(layers={len(self.coefficients)}, device={self.conditions.get('device')!r})"

    def layers(self, widths: IntArray) -> FloatArray:
        """Seconds of each layer. Shape: widths (..., G) → (..., L + 1)"""
        seconds: FloatArray = (_sizes(self.products, widths) * self.coefficients).sum(-1)
        return seconds

    def __call__(self, widths: IntArray) -> FloatArray:
        """Seconds of the network, to the nanosecond. Shape: widths (..., G) → (...,)"""
        seconds: FloatArray = self.layers(widths).sum(-1).round(9)
        return seconds

    def to_json(self, net: Structure) -> str:
        """The table as JSON; ``from_json`` reads it back."""
        names = ("", *net.space.costs.products)
        layers = [{"layer": name, "seconds": c} for name, c in zip(names, self.coefficients.tolist(), strict=True)]
        table = {"format": FORMAT, **self.conditions, "groups": _groups(net), "layers": layers}
        return json.dumps(sealed(table), indent=1)

    @classmethod
    def from_json(cls, text: str, net: Structure) -> "Latency":
        """The table that ``to_json`` wrote, for the same network. Raises SecateurError on any other text."""
        try:
            table = unsealed(json.loads(text))
            layers, groups, form = (table.pop(key) for key in ("layers", "groups", "format"))
            coefficients = np.array([layer["seconds"] for layer in layers], np.float64)
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            raise SecateurError(f"this is no table of times ({in_a_line(error)[:100]}); {AGAIN}") from error
        if (form, groups) != (FORMAT, _groups(net)):
            raise SecateurError("this table of times is of another network; measure it again, in another --out")
        if coefficients.shape != (len(net.space.costs.products) + 1, TERMS) or not np.isfinite(coefficients).all():
            raise SecateurError(f"this table of times lacks seconds, or they are not finite; {AGAIN}")
        return cls(coefficients, net.space.costs.macs, table)


def measure(
    net: Structure,
    runtime: str = "torch",
    *,
    seed: int = 0,
    subnetworks: int = SUBNETWORKS,
    repeats: int = REPEATS,
    clock: Callable[[], float] = time.perf_counter,
    progress: Progress = silent,
) -> Latency:
    """The latency table of a network on its device, from timed subnetworks of random widths.

    Widths are a Latin hypercube over those that a search may choose, with the least and the dense ones; the seconds of
    each layer are fitted to them. Whole forward passes alternate with passes whose operations are timed one by one;
    the median of their ratio scales the table, since timing adds some time and overlapping operations save some.

    Args:
        net: The network, on the device to measure.
        runtime: What runs it: torch, or onnxruntime on the CPU.
        seed: Of the random widths.
        subnetworks: How many are built and timed.
        repeats: Forward passes of each kind of each subnetwork; medians count.
        clock: Returns the present time in seconds.
        progress: Called before each subnetwork.
    """
    widths, timed, ratios = _spread(net.space, subnetworks, seed), [], []
    for done, each in enumerate(widths):
        progress("measuring latency", done, len(widths))
        whole, layers = _timed(net, each, repeats, clock, runtime)
        timed.append(layers)
        ratios.append(whole / layers.sum())
    sizes = _sizes(net.space.costs.macs, widths)
    coefficients = _nonnegative(sizes, np.stack(timed)) * np.median(ratios)
    sampled = {"subnetworks": len(widths), "repeats": repeats, "seed": seed}
    return Latency(coefficients, net.space.costs.macs, {**conditions(net, runtime), **sampled})


def _timed(
    net: Structure, widths: IntArray, repeats: int, clock: Callable[[], float], runtime: str = "torch"
) -> tuple[float, FloatArray]:
    """Median seconds of the whole network and of its layers. Shape: widths (G,) → (), (L + 1,)"""
    timer, whole = layer_timer(net, slim(net, Subnetwork.first(widths)).eval(), net.examples, runtime, clock), []
    for _ in range(WARM_UP):
        timer.warm_up()
    for _ in range(repeats):
        whole.append(timer.whole())
        timer.run()
    return float(np.median(whole)), np.median(timer.seconds(), 0)


def _spread(space: Space, count: int, seed: int) -> IntArray:
    """The least widths, the dense ones, and a Latin hypercube of the widths between. Shape: → (count, G)"""
    from scipy.stats import qmc

    shares = qmc.LatinHypercube(len(space.dense), rng=seed).random(count - 2)  # (count - 2, G), in [0, 1)
    between = space.min_widths + shares * (space.dense - space.min_widths + 1)
    return np.vstack([space.min_widths, space.dense, space.round_down(np.minimum(between, space.dense))])


def _sizes(products: Bilinear, widths: IntArray) -> FloatArray:
    """The terms of a layer's seconds: 1, a, b, ab, and a and b of the next layer. Shape: (..., G) → (..., L + 1, 6)"""
    w = np.asarray(widths, np.float64)
    a, b = w @ products.rows.T + products.rows_fixed, w @ products.columns.T + products.columns_fixed
    none = np.zeros((*a.shape[:-1], 1))
    (a, a_next), (b, b_next) = ((np.append(none, x, -1), np.append(x, none, -1)) for x in (a, b))
    return np.stack([np.ones_like(a), a, b, a * b, a_next, b_next], -1)


def _nonnegative(sizes: FloatArray, seconds: FloatArray) -> FloatArray:
    """Least squares without negative coefficients, layer by layer. Shape: sizes (N, L, F), seconds (N, L) → (L, F)"""
    from scipy.optimize import nnls

    scale = np.maximum(sizes.max(0), 1e-12)  # (L, F); terms of like size are fitted more exactly
    fits = [nnls(x, y)[0] for x, y in zip((sizes / scale).swapaxes(0, 1), seconds.T, strict=True)]
    fit: FloatArray = np.stack(fits) / scale
    return fit


def _groups(net: Structure) -> dict[str, int]:
    return {group.name: group.width for group in (*net.groups, *net.frozen)}
