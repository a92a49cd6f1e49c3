"""The processes of torchrun that train one network together; a single one without torchrun."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor

TIMEOUT = timedelta(days=7)  # of a collective: the others wait for rank 0, which may be filling a bank


@dataclass(frozen=True)
class World:
    """The rank of this process and the number of processes; rank 0 writes files."""

    rank: int = 0
    world_size: int = 1

    @property
    def first(self) -> bool:
        """Whether this is rank 0, the process that writes."""
        return self.rank == 0

    def all_reduce(self, tensors: Iterable[Tensor]) -> None:
        """Replace each tensor by its sum over all processes; all must have one dtype."""
        if self.world_size > 1 and (own := list(tensors)):
            flat = torch.cat([tensor.flatten() for tensor in own])
            dist.all_reduce(flat)
            totals = torch.split(flat, [tensor.numel() for tensor in own])
            for tensor, total in zip(own, totals, strict=True):
                tensor.copy_(total.view_as(tensor))

    def broadcast(self, tensors: Iterable[Tensor]) -> None:
        """Replace each tensor by that of rank 0."""
        for tensor in tensors if self.world_size > 1 else ():
            sent = tensor.detach().contiguous()
            dist.broadcast(sent, 0)
            tensor.detach().copy_(sent)

    @contextmanager
    def one_after_another(self) -> Iterator[None]:
        """Run the block in one process after the other, by rank: what rank 0 wrote, the others find."""
        for _ in range(self.rank):
            self.barrier()
        yield
        for _ in range(self.rank, self.world_size):
            self.barrier()

    def barrier(self) -> None:
        """Wait until all processes are here."""
        if self.world_size > 1:
            dist.barrier()


def world() -> World:
    """The process group of this process; a single process without one."""
    if not (dist.is_available() and dist.is_initialized()):
        return World()
    return World(dist.get_rank(), dist.get_world_size())


@contextmanager
def process_group(device: str | None) -> Iterator[str | None]:
    """Join the process group of torchrun, with NCCL on GPUs, else gloo; yields the device of this process."""
    if not started_by_torchrun():
        yield device
        return
    gpu = torch.cuda.is_available() and (device or "cuda").startswith("cuda")
    own = f"cuda:{os.environ['LOCAL_RANK']}" if gpu else "cpu"
    if gpu:
        torch.cuda.set_device(own)
    dist.init_process_group("nccl" if gpu else "gloo", timeout=TIMEOUT)
    try:
        yield own
    finally:
        dist.destroy_process_group()


def started_by_torchrun() -> bool:
    """Whether this process is one of several that torchrun started."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1 and "LOCAL_RANK" in os.environ
