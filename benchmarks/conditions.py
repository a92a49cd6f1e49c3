"""Where and with what a benchmark runs, for its result."""

import os
import platform
import subprocess
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

import secateur as sc


def conditions(*libraries: ModuleType) -> dict[str, Any]:
    """The commit, the machine, the threads, and the versions of torch, secateur and these libraries."""
    here = Path(__file__).parent
    commit = subprocess.run(["git", "describe", "--always"], capture_output=True, text=True, cwd=here)
    changed = ["git", "status", "--porcelain", "--untracked-files=no", "..", ":!results"]  # results change as it runs
    dirty = subprocess.run(changed, capture_output=True, text=True, cwd=here).stdout
    versions = {library.__name__: library.__version__ for library in (torch, sc, *libraries)}
    return {
        "commit": commit.stdout.strip() + ("-dirty" if dirty.strip() else ""),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "threads": torch.get_num_threads(),
        "versions": {"python": platform.python_version(), **versions},
    }
