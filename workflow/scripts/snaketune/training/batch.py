"""Rows as tensors: padded side by side, or packed end to end.

Position t predicts token t + 1, so a row's last token is no input, and nothing behind its last
labelled token can matter: rows are cut there.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from snaketune.prompts.rows import IGNORED
from snaketune.runtime.parquet import read_table


@dataclass(frozen=True)
class TokenRow:
    """A row as arrays [length]."""

    id: str
    input_ids: np.ndarray
    labels: np.ndarray

    @property
    def trained_tokens(self) -> int:
        """Tokens that carry loss; the first token of a row is predicted by nothing."""
        return int((self.labels[1:] != IGNORED).sum())

    @property
    def inputs(self) -> int:
        """Number of tokens that the model must read."""
        return int(np.flatnonzero(self.labels != IGNORED)[-1])


@dataclass(frozen=True)
class Batch:
    """Inputs [rows, length], and the flat places in them whose next token is learned."""

    input_ids: torch.Tensor
    places: torch.Tensor
    """[n] indices into the flattened inputs."""
    targets: torch.Tensor
    """[n] token ids."""
    position_ids: torch.Tensor | None = None
    """Like `input_ids`, where rows are packed: counts from 0 in every row."""

    def to(self, device: torch.device) -> "Batch":
        """The same on a device."""
        ids = None if self.position_ids is None else self.position_ids.to(device)
        return Batch(
            self.input_ids.to(device), self.places.to(device), self.targets.to(device), ids
        )


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


def padded_batch(rows: Sequence[TokenRow]) -> Batch:
    """Rows side by side, padded on the right.

    No attention mask is needed: under causal attention a token sees nothing behind it, and the
    padding is behind. What the padding holds is of no account, so no token id means padding.
    """
    ids = np.zeros((len(rows), max(row.inputs for row in rows)), np.int64)
    places = []
    for number, row in enumerate(rows):
        ids[number, : row.inputs] = row.input_ids[: row.inputs]
        places.append(number * ids.shape[1] + _learned(row))
    return _batch(ids, places, rows)


def packed_batch(rows: Sequence[TokenRow]) -> Batch:
    """Rows end to end in one line; positions that start anew tell the model where rows end."""
    starts = np.cumsum([0, *(row.inputs for row in rows)])
    ids = np.concatenate([row.input_ids[: row.inputs] for row in rows])[None]
    places = [start + _learned(row) for start, row in zip(starts, rows, strict=False)]
    positions = np.concatenate([np.arange(row.inputs) for row in rows])[None]
    return _batch(ids, places, rows, torch.from_numpy(positions))


def _learned(row: TokenRow) -> np.ndarray:
    """Places in the row whose next token is learned."""
    return np.flatnonzero(row.labels[1:] != IGNORED)


def _batch(
    ids: np.ndarray,
    places: Sequence[np.ndarray],
    rows: Sequence[TokenRow],
    positions: torch.Tensor | None = None,
) -> Batch:
    targets = np.concatenate([row.labels[1:][_learned(row)] for row in rows])
    return Batch(
        torch.from_numpy(ids),
        torch.from_numpy(np.concatenate(places)),
        torch.from_numpy(targets),
        positions,
    )
