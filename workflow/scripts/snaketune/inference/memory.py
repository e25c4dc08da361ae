"""How many rows at once: as many as memory allows, found without failing."""

import gc
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

import torch

from snaketune.runtime.errors import UserError
from snaketune.runtime.memory import free_main_memory, is_out_of_memory

T = TypeVar("T")
R = TypeVar("R")

TOO_LARGE = (
    "out of memory with a single row. Use a smaller model, nf4 quantisation, shorter prompts or "
    "fewer new tokens, or a device with more memory."
)
_FIRST = 64
_MOST = 512
_PAUSE = 1.0  # seconds until free memory is looked up again, which takes milliseconds
_SHARE = {"cuda": 0.8, "cpu": 0.5}  # the CPU's memory is shared with other jobs


def free_bytes(device: torch.device) -> int:
    """Memory that this process may still take on `device`."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return free + cached
    return free_main_memory()


def release() -> None:
    """Gives freed memory back, after an out-of-memory error."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def halving(work: Callable[[list[T]], list[R]], items: list[T]) -> Iterator[R]:
    """The results of `work(items)`; where memory runs out, of its halves instead.

    Raises UserError where a single item does not fit.
    """
    failed = False
    try:
        results = work(items)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        failed = True
    if not failed:
        yield from results
        return
    release()
    if len(items) == 1:
        raise UserError(TOO_LARGE)
    for half in (items[: len(items) // 2], items[len(items) // 2 :]):
        yield from halving(work, half)


class BatchSize:
    """The number of rows at once: fixed, or doubled while memory allows; halved when it runs out,
    and then never again raised to the size that failed."""

    def __init__(self, setting: int | str, device: torch.device) -> None:
        self.automatic = setting == "auto"
        self.device = device
        self.now = _FIRST if self.automatic else int(setting)
        self.most = _MOST if self.automatic else self.now
        self.used: set[int] = set()
        self._again = 0.0

    def start(self, row_bytes: int) -> None:
        """Before the first row: no more of them, of `row_bytes` each, than fit into free memory. On
        the CPU a batch too large would not fail, the system would kill the job."""
        if self.automatic and row_bytes:
            self.now = max(1, min(self.now, self._room() // row_bytes))

    def grow(self, row_bytes: int) -> None:
        """Doubles the size if as many rows again, of `row_bytes` each, fit into free memory."""
        wanted = min(2 * self.now, self.most)
        if wanted == self.now or time.monotonic() < self._again:
            return
        if (wanted - self.now) * row_bytes <= self._room():
            self.now = wanted
        else:
            self._again = time.monotonic() + _PAUSE

    def _room(self) -> int:
        return int(_SHARE.get(self.device.type, 0.5) * free_bytes(self.device))

    def halve(self) -> bool:
        """After running out of memory; False if one row was already too much."""
        if self.now == 1:
            return False
        self.now = self.most = self.now // 2
        return True
