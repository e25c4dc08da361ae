"""The processes of a data-parallel training; one process is the plain case."""

import os
from dataclasses import dataclass

import torch
from torch import distributed
from torch._utils import _flatten_dense_tensors, _unflatten_dense_tensors


@dataclass(frozen=True)
class World:
    """This process's number and how many there are."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process writes."""
        return self.rank == 0

    def add(self, tensors: list[torch.Tensor]) -> None:
        """Replaces each tensor by its sum over the processes."""
        if self.size == 1 or not tensors:
            return
        flat = _flatten_dense_tensors(tensors)
        distributed.all_reduce(flat)
        for tensor, summed in zip(tensors, _unflatten_dense_tensors(flat, tensors), strict=True):
            tensor.copy_(summed)

    def wait(self) -> None:
        """Returns when every process is here."""
        if self.size > 1:
            distributed.barrier()


def join_world() -> World:
    """The world that torchrun's environment describes; one process without it."""
    if "WORLD_SIZE" not in os.environ:
        return World()
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    return World(distributed.get_rank(), distributed.get_world_size())
