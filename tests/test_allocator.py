import subprocess
import sys

import pytest

COUNT = """
import resource, torch
from secateur.allocator import keep_freed
{first}
def blocks():
    held = [torch.zeros(2_000_000).add_(1) for _ in range(8)]  # 64 MB, their pages touched
for _ in range(10):  # the heap still grows by a few blocks at first
    blocks()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(30):
    blocks()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(first: str) -> int:
    line = [sys.executable, "-c", COUNT.format(first=first)]
    return int(subprocess.run(line, capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="needs glibc")
def test_freed_memory_is_used_again_and_not_cleared_by_the_kernel() -> None:
    assert faults("keep_freed()") < 0.1 * faults("")
