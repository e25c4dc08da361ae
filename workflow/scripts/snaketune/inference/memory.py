"""How many rows at once: as many as memory allows, found without failing."""

import gc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import psutil
import torch

from snaketune.errors import UserError
from snaketune.out_of_memory import is_out_of_memory

T = TypeVar("T")
R = TypeVar("R")

TOO_LARGE = (
    "out of memory with a single row. Use a smaller model, nf4 quantisation, shorter prompts or "
    "fewer new tokens, or a device with more memory."
)
_FIRST = 64
_MOST = 512
_SHARE = {"cuda": 0.8, "cpu": 0.5}  # the CPU's memory is shared with other jobs


def free_bytes(device: torch.device) -> int:
    """Memory that this process may still take on `device`."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return free + cached
    return min(psutil.virtual_memory().available, _cgroup_bytes())


def _cgroup_bytes() -> int:
    """What the control group leaves, as SLURM and containers set it; a lot where unlimited."""
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
        used = int(Path("/sys/fs/cgroup/memory.current").read_text())
    except (OSError, ValueError):
        return 1 << 62
    return max(int(limit) - used, 0) if limit.isdigit() else 1 << 62


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

    def grow(self, row_bytes: int) -> None:
        """Doubles the size if as many rows again, of `row_bytes` each, fit into free memory."""
        wanted = min(2 * self.now, self.most)
        extra = (wanted - self.now) * row_bytes
        if extra <= _SHARE.get(self.device.type, 0.5) * free_bytes(self.device):
            self.now = wanted

    def halve(self) -> bool:
        """After running out of memory; False if one row was already too much."""
        if self.now == 1:
            return False
        self.now = self.most = self.now // 2
        return True
