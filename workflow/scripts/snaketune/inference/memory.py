"""What rows take of memory: their keys and values, in slots that are filled again, and how many
rows there may be at once: as many as fit, found without failing.

Shapes: B rows (slots in use), H key heads, L columns, T new tokens of a row, D numbers of a head.
A column of one row takes 2 x layers x H x D numbers: 28 KiB of 16 bits for Qwen2.5-1.5B. Writing a
token copies just that; a move, an insertion or a resize copies whole columns, so they are rare:
columns are added `_SPARE` or a quarter at a time, and rows that stay put are not touched.
"""

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor
from transformers import Cache

from snaketune.runtime.errors import UserError, is_out_of_memory
from snaketune.runtime.machine import free_main_memory

_SPARE = 64  # columns added at once


class SlotCache(Cache):
    """Keys and values [slots, H, width, D] for every layer.

    The first `rows` slots are in use. All rows end at the same column: a token is written at
    column `end`, and a shorter row simply starts later, at `starts[row]`. Writing a token again
    overwrites it, so a step that failed can be repeated. A move of columns or rows that failed
    cannot: some layers are ahead of others, and the cache is `broken` for good.
    """

    def __init__(self, slots: int, starts: list[int] | None = None) -> None:
        super().__init__(layers=[])
        self.slots = slots
        self.starts = starts or []
        self.end = self.width = 0
        self.broken = False
        self.keys: list[Tensor] = []
        self.values: list[Tensor] = []

    @property
    def rows(self) -> int:
        """Slots in use."""
        return len(self.starts)

    @property
    def begin(self) -> int:
        """The first column that a row uses."""
        return min(self.starts, default=self.end)

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Columns in use."""
        return self.end - self.begin

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: object, **_: object
    ) -> tuple[Tensor, Tensor]:
        """Writes [B, H, T, D] from column `end` on; returns views [B, H, L, D] of those in use and
        the new ones. The caller moves `end` when the whole forward pass has worked."""
        if layer_idx == len(self.keys):
            self._add_layer(key_states, value_states)
        stop = self.end + key_states.shape[2]
        for store, states in ((self.keys, key_states), (self.values, value_states)):
            store[layer_idx][: self.rows, :, self.end : stop] = states
        used = slice(self.begin, stop)
        rows = slice(0, self.rows)
        return self.keys[layer_idx][rows, :, used], self.values[layer_idx][rows, :, used]

    def reserve(self, columns: int) -> None:
        """Makes room for `columns` more, first out of the columns that no row uses any more."""
        if self.end + columns <= self.width:
            return
        needed = self.end - self.begin + columns
        if needed <= 0.75 * self.width:
            self.move(self.end - self.begin)
        else:
            self._resize(self.slots, self.end + max(columns + _SPARE, needed // 4))

    def move(self, end: int) -> None:
        """Shifts the columns in use so that they end at `end`."""
        if end == self.end:
            return
        if end > self.width:
            self._resize(self.slots, end + _SPARE)
        used = slice(self.begin, self.end)
        shifted = slice(end - (self.end - self.begin), end)
        with self._all_or_broken():
            for tensor in self._tensors():
                tensor[: self.rows, :, shifted] = tensor[: self.rows, :, used].clone()
        self.starts = [start + end - self.end for start in self.starts]
        self.end = end

    def insert(self, other: "SlotCache", copies: list[int]) -> None:
        """Appends row `copies[i]` of `other` as a new row, for every i, ending at `end`."""
        length = other.end - other.begin
        if self.rows == 0:
            self.end = length
        if self.end < length:
            self.move(length)
        stop = self.rows + len(copies)
        if not self.keys:
            self._like(other)
        if stop > self.slots or self.end > self.width:
            self._resize(max(stop, self.slots), max(self.width, self.end + _SPARE))
        target = slice(self.end - length, self.end)
        index = torch.tensor(copies, device=self.keys[0].device)
        for mine, theirs in zip(self._tensors(), other._tensors(), strict=True):
            mine[self.rows : stop, :, target] = theirs[index, :, other.begin : other.end]
        self.starts += [self.end - other.end + other.starts[copy] for copy in copies]

    def keep(self, order: list[int]) -> None:
        """Keeps these rows, as `close_gaps` ordered them: only those that change places move."""
        moved = [(to, row) for to, row in enumerate(order) if to != row]
        if moved:
            with self._all_or_broken():
                to, rows = torch.tensor(moved, device=self.keys[0].device).T
                for tensor in self._tensors():
                    used = tensor[:, :, self.begin : self.end]
                    used[to] = used[rows]
        self.starts = [self.starts[row] for row in order]

    def shrink(self, slots: int) -> None:
        """Gives back the memory of slots beyond `slots`."""
        if slots < self.slots:
            self._resize(slots, self.width)

    def bytes_per_column(self) -> int:
        """Of one row, all layers."""
        return sum(t.shape[1] * t.shape[3] * t.element_size() for t in self._tensors())

    @contextmanager
    def _all_or_broken(self) -> Iterator[None]:
        """A change to every layer that cannot be repeated."""
        self.broken = True
        yield
        self.broken = False

    def _tensors(self) -> Iterator[Tensor]:
        yield from self.keys
        yield from self.values

    def _add_layer(self, key_states: Tensor, value_states: Tensor) -> None:
        self.width = max(self.width, self.end + key_states.shape[2])
        self.keys.append(_empty(key_states, self.slots, self.width))
        self.values.append(_empty(value_states, self.slots, self.width))

    def _like(self, other: "SlotCache") -> None:
        self.width = self.end + _SPARE
        keys = [_empty(t, self.slots, self.width) for t in other.keys]
        self.values = [_empty(t, self.slots, self.width) for t in other.values]
        self.keys = keys

    def _resize(self, slots: int, width: int) -> None:
        """A layer at a time, so that little is held twice; a layer that already has the size (an
        attempt before ran out of memory) is left alone. Until all have it, the cache counts as the
        smaller of the two sizes."""
        wanted = (slots, width)
        self.slots, self.width = min(self.slots, slots), min(self.width, width)
        for store in (self.keys, self.values):
            for i, old in enumerate(store):
                if (old.shape[0], old.shape[2]) == wanted:
                    continue
                new = _empty(old, slots, width)
                new[: self.rows, :, self.begin : self.end] = old[
                    : self.rows, :, self.begin : self.end
                ]
                store[i] = new
        self.slots, self.width = wanted


def close_gaps(kept: list[int]) -> list[int]:
    """The rows `kept` (ascending) in an order in which all that can stay put do: the last ones take
    the places of those that left."""
    count = len(kept)
    stay = {row for row in kept if row < count}
    movers = [row for row in kept if row >= count]
    return [place if place in stay else movers.pop() for place in range(count)]


def _empty(like: Tensor, slots: int, width: int) -> Tensor:
    # Zeros, not garbage: a masked column may hold anything finite, but not NaN.
    return torch.zeros(
        (slots, like.shape[1], width, like.shape[3]), dtype=like.dtype, device=like.device
    )


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
