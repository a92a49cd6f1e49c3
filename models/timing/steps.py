"""The multiples of widths that pay on this device, group by group: this network's own layers, timed."""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from ...errors import SecateurError, in_a_line
from ...progress import Progress, silent
from ..costs.cost import Bilinear
from ..inputs import repeated
from ..structure import Structure
from ..subnetwork import Subnetwork
from ..surgery.slim import slim
from ..tracing.atoms import BoolArray, FloatArray, IntArray
from .layer_timers import conditions, layer_timer

FORMAT = "secateur/steps/1"
STEPS = (1, 4, 8, 16)
WORTH = 0.05  # of the seconds a MAC: what a coarser step must save
USUAL = 8  # channels in a block of most runtimes; a finer step here can lose in the one that a network is exported to
CHOICES = 4  # widths of a group, at least, that a step must leave
ROUNDS, WARM_UP = 10, 2  # passes of each network, timed and not
PATIENCE = 5.0  # seconds after which the rest of the passes is left out
PIXELS, MOST = 2**16, 32  # of the images in a pass: of small images several, as the larger ones of a batch compute


@dataclass(frozen=True)
class Steps:
    """What the widths of each group are multiples of, and ``saved``: the share of its layers' time a MAC that it saves.

    ``conditions`` record where and how it was measured. Groups that are not listed have every width.
    """

    steps: Mapping[str, int]
    saved: Mapping[str, float]
    conditions: Mapping[str, Any]

    def __str__(self) -> str:
        """
        >>> print(Steps({"conv1": 4, "conv2": 16, "conv3": 16}, {}, {}))
        4 (1 group), 16 (2 groups)
        """
        return counted(self.steps.values()) or "1"

    @property
    def coarsest(self) -> int:
        """The largest step."""
        return max(self.steps.values(), default=1)

    @property
    def finer(self) -> "Steps":
        """Half of every step."""
        return replace(self, steps={name: max(1, step // 2) for name, step in self.steps.items()})

    def to_json(self) -> str:
        """As JSON; ``from_json`` reads it back."""
        groups = {name: {"step": step, "saved": round(self.saved[name], 4)} for name, step in self.steps.items()}
        return json.dumps({"format": FORMAT, **self.conditions, "groups": groups}, indent=1)

    @classmethod
    def from_json(cls, text: str, net: Structure) -> "Steps":
        """What ``to_json`` wrote, for the same network. Raises SecateurError on any other text."""
        try:
            table = json.loads(text)
            groups, form = table.pop("groups"), table.pop("format")
            steps = {name: int(each["step"]) for name, each in groups.items()}
            saved = {name: float(each["saved"]) for name, each in groups.items()}
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            raise SecateurError(
                f"these are no steps of widths ({in_a_line(error)[:100]}); delete the file to measure them again"
            ) from error
        if form != FORMAT or [*steps] != [group.name for group in net.groups] or min(steps.values(), default=1) < 1:
            raise SecateurError("these steps of widths are of another network; measure them again, in another --out")
        return cls(steps, saved, table)


def measured_steps(
    net: Structure,
    runtime: str = "torch",
    *,
    clock: Callable[[], float] = time.perf_counter,
    progress: Progress = silent,
) -> Steps:
    """The grids of widths that pay where ``net`` is, a step for each group; a few seconds.

    For every step one network is timed, layer by layer and in turn with the others, whose groups keep about three
    quarters: a multiple of that step, and of none that is coarser. A group gets the smallest step at which the layers
    that read or make it take at most ``WORTH`` longer a MAC than at the best, but none below ``USUAL`` if it has room;
    ``CHOICES`` widths or more are left it.

    Args:
        net: The network, on the device to measure.
        runtime: What runs it: torch, or onnxruntime on the CPU.
        clock: Returns the present time in seconds.
        progress: Called before each network.
    """
    dense, products = net.space.dense, net.space.costs.macs
    widths = {step: sample_widths(dense, step) for step in STEPS if step * CHOICES <= dense.max(initial=0)}
    seconds = _seconds(net, widths, runtime, clock, progress)
    macs = {step: layer_macs(products, each) for step, each in widths.items()}
    steps, saved = {}, {}
    for group, touched in zip(net.groups, layers_of(products).T, strict=True):
        allowed = [step for step in widths if step * CHOICES <= group.width]
        rates = {step: seconds[step][touched].sum() / macs[step][touched].sum() for step in allowed}
        steps[group.name] = step = max(smallest_that_pays(rates), min(USUAL, max(allowed, default=1)))
        saved[group.name] = float(1 - rates[step] / rates[1]) if rates else 0.0
    return Steps(steps, saved, conditions(net, runtime))


def counted(steps: Iterable[int]) -> str:
    """Each step and how many groups have it.

    >>> counted([16, 4, 16])
    '4 (1 group), 16 (2 groups)'
    """
    counts = sorted(Counter(steps).items())
    return ", ".join(f"{step} ({n} group{'s' * (n > 1)})" for step, n in counts)


def smallest_that_pays(rates: Mapping[int, float]) -> int:
    """The smallest step that takes hardly longer than the best.

    >>> smallest_that_pays({1: 2.0, 4: 1.5, 8: 1.02, 16: 1.0})
    8
    """
    return min((step for step, rate in rates.items() if rate <= min(rates.values()) * (1 + WORTH)), default=1)


def sample_widths(dense: IntArray, step: int) -> IntArray:
    """About three quarters of each group: a multiple of ``step``, but of no coarser one, as far as a group has room.

    From the next width that fits all steps it is half a coarsest step away, which is what blocks of channels waste of
    arbitrary widths on average. Shape: dense (G,) → (G,)
    """
    room = 2 ** np.floor(np.log2(np.clip(dense // CHOICES, 1, STEPS[-1]))).astype(np.int64)  # the coarsest of each
    multiples = np.maximum(1, room // 2 // step)
    below = (multiples - (multiples % 2 == 0)) * step
    widths: IntArray = np.maximum(1, 3 * dense // 4 // room * room - np.where(step < room, below, 0))
    return widths


def layers_of(products: Bilinear) -> BoolArray:
    """Which products each group is read or made by. Shape: → (L, G)"""
    return (products.rows + products.columns) > 0


def layer_macs(products: Bilinear, widths: IntArray) -> FloatArray:
    """Multiply-accumulates of each product. Shape: widths (G,) → (L,)"""
    macs: FloatArray = products.scale * products.factors(widths)
    return macs


def _seconds(
    net: Structure, widths: Mapping[int, IntArray], runtime: str, clock: Callable[[], float], progress: Progress
) -> dict[int, FloatArray]:
    """The least seconds of each product and what follows it, by step. Shape: widths (G,) each → (L,) each"""
    timers, images = {}, _images(net)
    for done, (step, each) in enumerate(widths.items()):
        progress("timing widths in multiples", done, len(widths))
        timers[step] = layer_timer(net, slim(net, Subnetwork.first(each)).eval(), images, runtime, clock)
    began = clock()
    for number in range(WARM_UP + ROUNDS):
        if number > WARM_UP and clock() - began > PATIENCE:
            break
        for timer in timers.values():
            timer.run()
    return {step: timer.seconds()[WARM_UP:, 1:].min(0) for step, timer in timers.items()}


def _images(net: Structure) -> tuple[torch.Tensor, ...]:
    """The example, as often as fits a pass; of several inputs, once."""
    if len(net.examples) != 1:
        return net.examples
    pixels = max(1, net.examples[0][:, :1].numel())
    images: tuple[torch.Tensor, ...] = repeated(net.examples, max(1, min(MOST, PIXELS // pixels)))
    return images
