"""Lanes: on the CPU, shares of a step's rows that run side by side, each on cores of its own.

One lane a core beats all cores on one product: nothing waits for the slowest core of every small
operation, and Python's part of one lane runs while the other computes.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait

import torch
from torch import nn
from transformers import PreTrainedModel

_MOST = 4


def count_lanes(model: PreTrainedModel, threads: int, device: torch.device, apart: bool) -> int:
    """How many lanes the training takes.

    One where lanes would not be exact or repeatable: dropout draws from a generator that threads
    share, and narrowing the head (`apart` is False) touches the model. One too where all weights
    are trained, since every lane has gradients of its own.
    """
    drops = any(isinstance(m, nn.Dropout) and m.p > 0 for m in model.modules())
    drops = drops or any(getattr(m, "attention_dropout", 0) for m in model.modules())
    whole = model.get_input_embeddings().weight.requires_grad
    return 1 if drops or whole or not apart or device.type != "cpu" else min(_MOST, threads)


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
