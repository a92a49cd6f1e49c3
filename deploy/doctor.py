"""What this machine offers: versions, device, threads, number formats, disk, and the optional libraries."""

import os
import platform
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ..models.precision import computes_in_bfloat16

REQUIRED = ("torch", "torchvision", "optuna", "numpy", "faiss-cpu")
PURPOSES = {
    "onnx": "to export to ONNX and time onnxruntime",
    "timm": "for networks of timm",
    "postgres": "to share a search between machines, by PostgreSQL",
}
EXTRAS = {"onnx": ("onnx", "onnxscript", "onnxruntime"), "timm": ("timm",), "postgres": ("psycopg",)}
SCARCE = 10e9  # bytes on the disk, below which a run of ImageNet's size may not fit


@dataclass(frozen=True)
class Finding:
    """A line of the examination: what was looked at, what is there, and what to do where that is too little.

    >>> str(Finding("timm", "not installed", 'pip install "secateur[timm]"'))
    'timm: not installed; pip install "secateur[timm]"'
    """

    name: str
    value: str
    fix: str = ""

    def __str__(self) -> str:
        return f"{self.name}: {self.value}" + (f"; {self.fix}" if self.fix else "")


def examination(release: str, folder: Path = Path()) -> list[Finding]:
    """What is found here; nothing is changed, and no network is asked.

    Args:
        release: the version of secateur.
        folder: where runs will be written.

    >>> [finding.name for finding in examination("0.1.0")][:3]
    ['secateur', 'Python', 'torch']
    """
    installed = [Finding(name, found) for name in REQUIRED if (found := _version(name))]
    return [
        Finding("secateur", release),
        Finding("Python", f"{platform.python_version()} on {platform.system()} {platform.machine()}"),
        *installed,
        *_device(),
        _disk(folder),
        *(_extra(extra, names) for extra, names in EXTRAS.items()),
    ]


def to_dict(findings: Sequence[Finding]) -> dict[str, Any]:
    """The findings by name, for JSON."""
    return {each.name: {"value": each.value, "fix": each.fix or None} for each in findings}


def _device() -> list[Finding]:
    import torch

    on_cuda = torch.cuda.is_available()
    device = torch.device("cuda" if on_cuda else "cpu")
    name = torch.cuda.get_device_name() if on_cuda else f"cpu, {os.cpu_count()} cores"
    fast = computes_in_bfloat16(device)
    return [
        Finding("device", name, "" if on_cuda else "small networks are fine; ImageNet's size needs a GPU"),
        Finding("threads", f"{torch.get_num_threads()}"),
        Finding("bfloat16", "yes" if fast else "no", "" if fast else "--precision auto takes float32"),
    ]


def _disk(folder: Path) -> Finding:
    free = shutil.disk_usage(folder).free
    fix = "a memory bank may need more; pass --out on another disk" if free < SCARCE else ""
    return Finding("free disk", f"{free / 1e9:.1f} GB in {folder.resolve()}", fix)


def _extra(extra: str, names: Sequence[str]) -> Finding:
    """The libraries of an optional extra."""
    found = {name: _version(name) for name in names}
    if all(found.values()):
        return Finding(extra, ", ".join(f"{name} {value}" for name, value in found.items()))
    missing = ", ".join(name for name, value in found.items() if not value)
    return Finding(extra, f"{missing} not installed", f'pip install "secateur[{extra}]" {PURPOSES[extra]}')


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
