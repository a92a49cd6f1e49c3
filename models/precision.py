"""The number format that search and fine-tuning compute in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import SecateurError

if TYPE_CHECKING:
    import torch

    from .structure import Structure

PRECISIONS = ("auto", "float32", "bfloat16")


def in_bfloat16(precision: str, net: Structure) -> bool:
    """Whether a precision, one of ``PRECISIONS``, means bfloat16 for this network.

    ``auto`` does where the network's device computes in bfloat16 and the network runs in it. On a CPU without such
    instructions autocast only converts, and takes several times as long as float32 (benchmarks/evaluation.py).
    """
    require_precision(precision)
    return precision == "bfloat16" or (
        precision == "auto" and computes_in_bfloat16(net.examples[0].device) and _runs(net)
    )


def require_precision(precision: str) -> None:
    """Raise SecateurError unless the name is one of ``PRECISIONS``."""
    if precision not in PRECISIONS:
        raise SecateurError(f"no precision is called {precision!r}; pass {', '.join(PRECISIONS)}")


def computes_in_bfloat16(device: torch.device) -> bool:
    """Whether a device has instructions for bfloat16, and does not only convert to and from it."""
    import torch  # here and below, since the command line's help needs none

    kind = device.type
    if kind == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    can: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)() if kind == "cpu" else {}  # torch 2.8 has none
    return can.get("avx512_bf16", False) or can.get("amx_bf16", False)


def _runs(net: Structure) -> bool:
    import torch

    from .tracing.modules import evaluating

    try:
        with evaluating(net.model), torch.no_grad(), torch.autocast(net.examples[0].device.type, torch.bfloat16):
            net.run(net.model)
    except RuntimeError:
        return False
    return True
