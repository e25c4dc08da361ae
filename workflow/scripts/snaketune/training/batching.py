"""Which rows a step takes, and how they lie in memory.

The first is part of the training: it follows from seed, epoch and effective batch alone. The
second is the engine's choice: the loss is a sum over a step's tokens, so that any layout gives the
same step up to rounding.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np


@dataclass(frozen=True)
class Order:
    """The rows of every step: each epoch is a new permutation, cut into effective batches; the
    last batch of an epoch may be smaller, and the last epoch a part of one."""

    rows: int
    batch: int
    epochs: float
    seed: int
    max_steps: int | None = None

    @property
    def total_steps(self) -> int:
        """Steps of the whole training."""
        whole, part = divmod(round(self.epochs * self.rows), self.rows)
        steps = whole * self.steps_per_epoch + math.ceil(part / self.batch)
        return max(1, min(steps, self.max_steps or steps))

    @property
    def steps_per_epoch(self) -> int:
        """Steps of a whole epoch."""
        return math.ceil(self.rows / self.batch)

    def window(self, step: int) -> np.ndarray:
        """Row numbers of the step (counted from 0)."""
        epoch, place = divmod(step, self.steps_per_epoch)
        order = _permutation(self.rows, self.seed, epoch)[: self._rows_of(epoch)]
        return order[place * self.batch : (place + 1) * self.batch]

    def epoch_after(self, step: int) -> float:
        """Epochs done when the step is (counted from 0)."""
        epoch, place = divmod(step, self.steps_per_epoch)
        return epoch + min(self._rows_of(epoch), (place + 1) * self.batch) / self.rows

    def _rows_of(self, epoch: int) -> int:
        """Rows that the epoch takes: all, or the part that the last one is."""
        return min(self.rows, max(1, round(self.epochs * self.rows) - epoch * self.rows))


@lru_cache(maxsize=2)
def _permutation(rows: int, seed: int, epoch: int) -> np.ndarray:
    return np.random.default_rng([seed, epoch]).permutation(rows)


def grouped(lengths: np.ndarray, budget: int, overhead: int) -> list[np.ndarray]:
    """Splits rows into micro-batches of like length: index arrays, longest rows first.

    Of all splits of the sorted rows into runs of at most `budget` padded tokens, the cheapest,
    where a micro-batch costs its padded tokens and `overhead` tokens more. A row longer than the
    budget stands alone.
    """
    order = np.argsort(-lengths, kind="stable")
    longest = lengths[order]
    best = [0.0] + [math.inf] * len(order)
    cut = [0] * (len(order) + 1)
    for end in range(1, len(order) + 1):
        for start in range(end - 1, -1, -1):
            tokens = int(longest[start]) * (end - start)
            if tokens > budget and end - start > 1:
                break
            if best[start] + tokens + overhead < best[end]:
                best[end], cut[end] = best[start] + tokens + overhead, start
    return _runs(order, cut)


def packed(lengths: np.ndarray, budget: int) -> list[np.ndarray]:
    """Splits rows into packs of at most `budget` tokens, first fit, longest first; a row longer
    than the budget stands alone."""
    packs: list[list[int]] = []
    room: list[int] = []
    for row in np.argsort(-lengths, kind="stable"):
        place = next((i for i, free in enumerate(room) if free >= lengths[row]), None)
        if place is None:
            packs.append([])
            room.append(budget)
            place = len(packs) - 1
        packs[place].append(int(row))
        room[place] -= int(lengths[row])
    return [np.array(pack) for pack in packs]


def share(lengths: np.ndarray, part: int, parts: int) -> np.ndarray:
    """Indices of the rows of one of `parts` workers: like numbers of like lengths, dealt out
    longest first, there and back."""
    order = np.argsort(-lengths, kind="stable")
    turn = np.arange(len(order)) % (2 * parts)
    return order[(turn == part) | (turn == 2 * parts - 1 - part)]


def _runs(order: np.ndarray, cut: list[int]) -> list[np.ndarray]:
    runs, end = [], len(order)
    while end:
        runs.append(order[cut[end] : end])
        end = cut[end]
    return runs[::-1]
