"""Who shares a step's rows: processes, one a GPU, and on the CPU the lanes of a process.

`World`: the processes of a data-parallel training; one is the plain case. Each holds the whole
model; what they exchange is gradients, once a step (P trained numbers, in buckets).

`Lanes`: shares of a process's rows that run side by side, each on cores of its own. One lane a core
beats all cores on one product: nothing waits for the slowest core of every small operation, and
Python's part of one lane runs while the other computes.
"""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import distributed, nn
from torch._utils import _flatten_dense_tensors, _unflatten_dense_tensors
from transformers import PreTrainedModel

from snaketune.models.load import rope_switch

# The others wait while one loads a model from a slow disk, scores its share of dev or saves.
_PATIENCE = timedelta(hours=2)
# Of a bucket: 200 MB in float32.
_NUMBERS_AT_ONCE = 50_000_000


@dataclass(frozen=True)
class World:
    """This process's number and how many there are."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process writes."""
        return self.rank == 0

    def device(self, device: torch.device) -> torch.device:
        """This process's own GPU, where `device` is one."""
        return (
            torch.device("cuda", self.rank) if self.size > 1 and device.type == "cuda" else device
        )

    def add(self, tensors: list[torch.Tensor]) -> None:
        """Replaces each tensor by its sum over the processes."""
        if self.size == 1:
            return
        for bucket in _buckets(tensors):
            flat = _flatten_dense_tensors(bucket)
            distributed.all_reduce(flat)
            for tensor, summed in zip(bucket, _unflatten_dense_tensors(flat, bucket), strict=True):
                tensor.copy_(summed)

    def any(self, here: bool) -> bool:
        """Whether it is so in any process."""
        if self.size == 1:
            return here
        flags: list[bool | None] = [None] * self.size
        distributed.all_gather_object(flags, here)
        return any(flags)

    def wait(self) -> None:
        """Returns when every process is here."""
        if self.size > 1:
            distributed.barrier()


def _buckets(tensors: list[torch.Tensor]) -> Iterator[list[torch.Tensor]]:
    """The tensors in their order, few enough numbers at a time that a copy of them is small beside
    the model."""
    bucket: list[torch.Tensor] = []
    numbers = 0
    for tensor in tensors:
        numbers += tensor.numel()
        if bucket and numbers > _NUMBERS_AT_ONCE:
            yield bucket
            bucket, numbers = [], tensor.numel()
        bucket.append(tensor)
    if bucket:
        yield bucket


@contextmanager
def join_world() -> Iterator[World]:
    """The world that torchrun's environment describes, on one machine; without it one process."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        yield World()
        return
    on_gpu = torch.cuda.is_available()
    if on_gpu:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    distributed.init_process_group("nccl" if on_gpu else "gloo", timeout=_PATIENCE)
    yield World(distributed.get_rank(), distributed.get_world_size())
    # Not after a fault: the others would fail of that before this process has told its own.
    distributed.destroy_process_group()


_MOST = 4


def count_lanes(model: PreTrainedModel, threads: int, device: torch.device, apart: bool) -> int:
    """How many lanes the training takes.

    One where lanes would not be exact or repeatable: dropout draws from a generator that threads
    share, and narrowing the head (`apart` is False) touches the model, as positions do that change
    with a row's length. One too where all weights are trained, since every lane has gradients of
    its own.
    """
    shared = any(isinstance(m, nn.Dropout) and m.p > 0 for m in model.modules())
    shared = shared or any(getattr(m, "attention_dropout", 0) for m in model.modules())
    whole = model.get_input_embeddings().weight.requires_grad
    shared = shared or rope_switch(model.config) is not None
    return 1 if shared or whole or not apart or device.type != "cpu" else min(_MOST, threads)


class Lanes:
    """A pool of threads, each with its part of torch's threads."""

    def __init__(self, count: int, threads: int) -> None:
        self.count, self._each = count, max(1, threads // count)
        self._pool = ThreadPoolExecutor(count) if count > 1 else None

    def run(self, work: Callable[[int], torch.Tensor]) -> list[torch.Tensor]:
        """`work(lane)` for every lane; results in the order of the lanes."""
        if self._pool is None:
            return [work(0)]
        before = torch.get_num_threads()
        futures = [self._pool.submit(self._on_own_cores, work, n) for n in range(self.count)]
        # All have to end before one's fault is told: what comes next may use the same model.
        wait(futures)
        torch.set_num_threads(before)
        return [future.result() for future in futures]

    def _on_own_cores(self, work: Callable[[int], torch.Tensor], lane: int) -> torch.Tensor:
        # The number holds for the calling thread; for MKL it is one of the whole process.
        torch.set_num_threads(self._each)
        return work(lane)
