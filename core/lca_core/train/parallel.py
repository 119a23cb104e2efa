"""Several processes on one job: ``torchrun`` starts them, gradients are averaged with DDP.

NCCL where every process has a CUDA device, gloo otherwise (also for tests on the CPU). A global batch is a
fixed number of micro-batches, shared out over the processes, so the same step has the same gradient on any
number of them.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field

import torch
import torch.distributed as dist
from torch import Tensor

from lca.errors import InvalidInputError


@dataclass(frozen=True)
class World:
    """rank of this process, number of processes, device it computes on."""

    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def first(self) -> bool:
        """Whether this process writes files and logs."""
        return self.rank == 0

    def share(self, micro_batches: int) -> range:
        """Which micro-batches of a step are this process's.

        Raises:
            InvalidInputError: they cannot be shared out evenly, which would weigh them unequally.
        """
        if micro_batches % self.size:
            raise InvalidInputError(
                f"{micro_batches} micro-batches cannot be shared by {self.size} processes; "
                f"set --accumulate to a multiple of {self.size}."
            )
        return range(self.rank, micro_batches, self.size)

    def from_first(self, value: float) -> float:
        """The first process's ``value`` on every process."""
        if self.size == 1:
            return value
        shared = torch.tensor([value], dtype=torch.float64, device=self.device)
        dist.broadcast(shared, 0)
        return float(shared)

    def mean(self, values: Tensor) -> Tensor:
        """Mean of ``values`` over the processes."""
        if self.size == 1:
            return values
        shared = values.detach().clone()
        dist.all_reduce(shared)
        return shared / self.size

    def wait(self) -> None:
        """Until every process is here."""
        if self.size > 1:
            dist.barrier()


def join(device: str = "auto") -> World:
    """Join the processes that ``torchrun`` started (its environment says so); alone without it.

    Args:
        device: ``cpu``, ``cuda`` or ``auto``.
    """
    cuda = device == "cuda" or (device == "auto" and torch.cuda.is_available())
    size, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    place = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))) if cuda else torch.device("cpu")
    if size > 1 and not dist.is_initialized():
        if cuda:
            torch.cuda.set_device(place)
        dist.init_process_group("nccl" if cuda else "gloo")
    return World(rank, size, place)


def leave() -> None:
    """Leave the group that :func:`join` joined."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()
