"""Which multiples of widths this machine likes, measured at equal MACs."""

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from ..models.costs.widths import uniform_widths
from ..models.subnetwork import Subnetwork
from ..models.supernet import Supernet
from ..models.surgery.slim import slim
from ..models.timing.clock import Timing

DIVISORS = (1, 4, 8, 16)
WORTH = 0.03  # of the time: what a coarser grid of widths must save to be suggested


def by_divisor(
    model: nn.Module, example: Tensor, macs: int, divisors: Sequence[int] = DIVISORS
) -> dict[int, nn.Module]:
    """Uniform widths at so many ``macs``, in multiples of each of ``divisors``.

    A divisor under which the network can't have so few MACs is left out. Shape: example (1, channels, height, width)
    """
    built = {divisor: uniform_network(model, example, macs, divisor) for divisor in divisors}
    return {divisor: network for divisor, network in built.items() if network is not None}


def suggested(times: Mapping[int, Timing]) -> int:
    """The smallest divisor than which no coarser one is quicker by more than ``WORTH``."""
    best = min(seconds.median for seconds in times.values())
    return min(divisor for divisor, seconds in times.items() if seconds.median <= best * (1 + WORTH))


def uniform_network(model: nn.Module, example: Tensor, macs: int, divisor: int) -> nn.Module | None:
    """The first channels of each group, the same share of all, at so many MACs; None where they cannot be so few."""
    net = Supernet.of(model, example, divisor=divisor, check=False)
    if not net.profile(str(macs)).satisfiable:
        return None
    return slim(net, Subnetwork.first(uniform_widths(net.space, net.budget(str(macs))))).eval()
