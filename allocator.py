"""Memory that a process keeps: what a layer frees on a CPU, the next one wants."""

import ctypes
from contextlib import suppress

MMAP_THRESHOLD, TRIM_THRESHOLD = -3, -1  # of mallopt(3)
LARGEST = 2**30  # bytes of a block that is kept


def keep_freed() -> None:
    """Keep freed blocks in the process: glibc returns large ones at once, and the kernel clears each page again.

    The process stays as large as it ever was. Other C libraries are left as they are.
    """
    with suppress(AttributeError, OSError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(MMAP_THRESHOLD, LARGEST)
        mallopt(TRIM_THRESHOLD, 2 * LARGEST - 1)
