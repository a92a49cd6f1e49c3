"""Processes that train one network together, as torchrun starts them; one alone where it did not."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor

PATIENCE = timedelta(days=7)  # that others wait for the first, which may be building a bank


@dataclass(frozen=True)
class World:
    """Which of how many processes this is; number 0 writes."""

    rank: int = 0
    world_size: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the process that writes."""
        return self.rank == 0

    def all_reduce(self, tensors: Iterable[Tensor]) -> None:
        """Put the sum over all processes into each tensor; all of one type."""
        if self.world_size > 1 and (own := list(tensors)):
            flat = torch.cat([tensor.flatten() for tensor in own])
            dist.all_reduce(flat)
            totals = torch.split(flat, [tensor.numel() for tensor in own])
            for tensor, total in zip(own, totals, strict=True):
                tensor.copy_(total.view_as(tensor))

    def broadcast(self, tensors: Iterable[Tensor]) -> None:
        """Put what the first process has into each tensor."""
        for tensor in tensors if self.world_size > 1 else ():
            sent = tensor.detach().contiguous()
            dist.broadcast(sent, 0)
            tensor.detach().copy_(sent)

    @contextmanager
    def one_after_another(self) -> Iterator[None]:
        """One process after the other, the first first: what it wrote, the others find."""
        for _ in range(self.rank):
            self.wait()
        yield
        for _ in range(self.rank, self.world_size):
            self.wait()

    def wait(self) -> None:
        """Until all processes are here."""
        if self.world_size > 1:
            dist.barrier()


def world() -> World:
    """The processes that were joined; one alone where none were."""
    if not (dist.is_available() and dist.is_initialized()):
        return World()
    return World(dist.get_rank(), dist.get_world_size())


@contextmanager
def process_group(device: str | None) -> Iterator[str | None]:
    """Join the processes that torchrun started, with NCCL on GPUs, else gloo; gives this one's device."""
    if not started_by_torchrun():
        yield device
        return
    gpu = torch.cuda.is_available() and (device or "cuda").startswith("cuda")
    own = f"cuda:{os.environ['LOCAL_RANK']}" if gpu else "cpu"
    if gpu:
        torch.cuda.set_device(own)
    dist.init_process_group("nccl" if gpu else "gloo", timeout=PATIENCE)
    try:
        yield own
    finally:
        dist.destroy_process_group()


def started_by_torchrun() -> bool:
    """Whether this process is one of several that torchrun started."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1 and "LOCAL_RANK" in os.environ
