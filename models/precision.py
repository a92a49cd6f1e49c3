"""What fine-tuning computes in."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

PRECISIONS = ("auto", "float32", "bfloat16")


def in_bfloat16(word: str, device: torch.device) -> bool:
    """Whether ``word``, of ``PRECISIONS``, means bfloat16 on this device; auto does where that computes in it.

    Elsewhere autocast only converts, and takes several times as long as float32 (benchmarks/evaluation.py).
    """
    return word == "bfloat16" or (word == "auto" and _computes(device))


def _computes(device: torch.device) -> bool:
    import torch  # here, since the command line's help needs none

    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    can = getattr(torch.cpu, "get_capabilities", dict)() if device.type == "cpu" else {}  # torch 2.8 has none
    return bool(can.get("avx512_bf16") or can.get("amx_bf16"))
