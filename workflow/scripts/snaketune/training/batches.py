"""Rows → steps → micro-batches: which rows a step takes, and how they lie in memory.

Which rows is a part of the training: it follows from seed, epoch and effective batch alone. How
they lie is the engine's choice: the loss is a sum over a step's tokens, so that any layout gives
the same step up to rounding.

Position t predicts token t + 1, so a row's last token is no input, and nothing behind its last
labelled token can matter: rows are cut there.

Shapes: L tokens of a row; B rows of a micro-batch; T its length, which is that of its longest row
where rows are padded, and of all of them together where they are packed (B = 1); N learned places.
A micro-batch costs B × T tokens of the model's work, whether they are padding or not.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from snaketune.models.load import RopeSwitch
from snaketune.runtime.files import read_table

IGNORED = -100
"""Label of a token that carries no loss, as `prompts.rows` writes it and torch knows it."""


@dataclass(frozen=True)
class TokenRow:
    """A row as arrays [L]."""

    id: str
    input_ids: np.ndarray
    labels: np.ndarray

    @property
    def part(self) -> str:
        """Of a row among those of several datasets: whose it is (see `prompts/mixture.py`)."""
        return self.id.partition("/")[0]

    @property
    def trained_tokens(self) -> int:
        """Tokens that carry loss; the first token of a row is predicted by nothing."""
        return len(self.places)

    @property
    def inputs(self) -> int:
        """Number of tokens that the model must read."""
        return int(np.flatnonzero(self.labels != IGNORED)[-1])

    @property
    def places(self) -> np.ndarray:
        """[N] places in the row whose next token is learned."""
        return np.flatnonzero(self.labels[1:] != IGNORED)

    @property
    def targets(self) -> np.ndarray:
        """[N] the tokens that are learned there."""
        return self.labels[1:][self.places]


def read_token_rows(path: Path) -> list[TokenRow]:
    """The rows of a file that `tokenise` wrote."""
    table = read_table(path)
    columns = (table.column(name).combine_chunks() for name in ("id", "input_ids", "labels"))
    ids, tokens, labels = columns
    ends = np.asarray(tokens.offsets)
    flat_tokens, flat_labels = np.asarray(tokens.values), np.asarray(labels.values)
    return [
        TokenRow(name, flat_tokens[a:b].astype(np.int64), flat_labels[a:b].astype(np.int64))
        for name, a, b in zip(ids.to_pylist(), ends[:-1], ends[1:], strict=True)
    ]


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


def rows_of_part(rows: list[TokenRow], part: int, parts: int) -> list[TokenRow]:
    """The rows of one process, or of one lane in it."""
    lengths = np.array([row.inputs for row in rows])
    return [rows[i] for i in deal_out(lengths, part, parts)]


def deal_out(lengths: np.ndarray, part: int, parts: int) -> np.ndarray:
    """Indices of the rows of one of `parts` workers: like numbers of like lengths, dealt out
    longest first, there and back."""
    order = np.argsort(-lengths, kind="stable")
    turn = np.arange(len(order)) % (2 * parts)
    return order[(turn == part) | (turn == 2 * parts - 1 - part)]


@dataclass(frozen=True)
class Batch:
    """Inputs, and the flat places in them whose next token is learned."""

    input_ids: torch.Tensor
    """[B, T]"""
    places: torch.Tensor
    """[N] indices into the flattened inputs [B × T]."""
    targets: torch.Tensor
    """[N] token ids."""
    position_ids: torch.Tensor | None = None
    """[1, T] where rows are packed: counts from 0 in every row."""
    bounds: torch.Tensor | None = None
    """[R + 1] int32, where rows are packed: the places where they begin, and the end."""
    longest: int = 0
    """Tokens of the longest of packed rows."""
    counted: torch.Tensor | None = None
    """[N] 1 for places that count, 0 for filler; None where all count."""

    def to(self, device: torch.device) -> "Batch":
        """The same on a device."""
        return replace(self, **{name: tensor.to(device) for name, tensor in self._tensors()})

    def take(self, other: "Batch") -> None:
        """Copies another's numbers, of the same shapes, into these tensors."""
        for name, tensor in self._tensors():
            tensor.copy_(getattr(other, name), non_blocking=True)

    def _tensors(self) -> list[tuple[str, Any]]:
        return [(name, t) for name, t in vars(self).items() if isinstance(t, torch.Tensor)]


def padded_batch(rows: Sequence[TokenRow]) -> Batch:
    """Rows side by side, padded on the right.

    No attention mask is needed: under causal attention a token sees nothing behind it, and the
    padding is behind. What the padding holds is of no account, so no token id means padding.
    """
    ids = np.zeros((len(rows), max(row.inputs for row in rows)), np.int64)  # [B, T]
    places = []
    for number, row in enumerate(rows):
        ids[number, : row.inputs] = row.input_ids[: row.inputs]
        places.append(number * ids.shape[1] + row.places)
    return _batch(ids, places, rows)


def packed_batch(rows: Sequence[TokenRow]) -> Batch:
    """Rows end to end in one line; positions that start anew tell the model where rows end."""
    starts = np.cumsum([0, *(row.inputs for row in rows)])
    ids = np.concatenate([row.input_ids[: row.inputs] for row in rows])[None]  # [1, T]
    places = [start + row.places for start, row in zip(starts, rows, strict=False)]
    positions = np.concatenate([np.arange(row.inputs) for row in rows])[None]  # [1, T]
    return replace(
        _batch(ids, places, rows),
        position_ids=torch.from_numpy(positions),
        bounds=torch.from_numpy(starts.astype(np.int32)),
        longest=max(row.inputs for row in rows),
    )


def _batch(
    ids: np.ndarray,
    places: Sequence[np.ndarray],
    rows: Sequence[TokenRow],
) -> Batch:
    return Batch(
        torch.from_numpy(ids),
        torch.from_numpy(np.concatenate(places)),
        torch.from_numpy(np.concatenate([row.targets for row in rows])),
    )


@dataclass
class BatchLayout:
    """How rows become micro-batches."""

    kind: str
    """`grouped` or `packed`."""
    budget: int
    """Padded tokens of a micro-batch at most."""
    overhead: int
    """What a micro-batch costs beyond its tokens, in tokens."""
    switch: RopeSwitch | None = None
    """Where the model's positions change: longer rows do not stand beside shorter ones."""

    def batches(self, rows: list[TokenRow]) -> Iterator[tuple[list[TokenRow], Batch]]:
        """Micro-batches that hold all `rows`, each with its rows in order."""
        for alike in self._apart(rows):
            yield from self._batches(alike)

    def _apart(self, rows: list[TokenRow]) -> Iterator[list[TokenRow]]:
        """Rows whose positions are the same together or alone."""
        most, grows = (self.switch.length, self.switch.grows) if self.switch else (math.inf, False)
        long = [row for row in rows if row.inputs > most]
        short = [row for row in rows if row.inputs <= most]
        yield from ([row] for row in long) if grows else [long] if long else []
        if short:
            yield short

    def _batches(self, rows: list[TokenRow]) -> Iterator[tuple[list[TokenRow], Batch]]:
        lengths = np.array([row.inputs for row in rows])
        build: Callable[[Sequence[TokenRow]], Batch]
        if self.kind == "packed":
            parts, build = pack_first_fit(lengths, self.budget), packed_batch
        else:
            parts, build = group_by_length(lengths, self.budget, self.overhead), padded_batch
        for part in parts:
            chosen = [rows[i] for i in part]
            yield chosen, build(chosen)


def group_by_length(lengths: np.ndarray, budget: int, overhead: int) -> list[np.ndarray]:
    """Splits rows into micro-batches of like length: index arrays, longest rows first.

    Of all splits of the sorted rows into runs of at most `budget` padded tokens, the cheapest,
    where a micro-batch costs its padded tokens and `overhead` tokens more. A row longer than the
    budget stands alone.
    """
    order = np.argsort(-lengths, kind="stable")
    longest = lengths[order]
    # best[end]: the cheapest split of the first `end` rows; cut[end]: where its last run begins.
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


def _runs(order: np.ndarray, cut: list[int]) -> list[np.ndarray]:
    runs, end = [], len(order)
    while end:
        runs.append(order[cut[end] : end])
        end = cut[end]
    return runs[::-1]


def pack_first_fit(lengths: np.ndarray, budget: int) -> list[np.ndarray]:
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
