"""How the next token is picked from the logits of each row.

Shapes: B rows, V vocabulary, C candidates. top_p needs the sorted vocabulary; sorting all of
[B, V] would be most of a draw's cost, so the `_CANDIDATES` likeliest are sorted, and a row whole
only where these don't reach top_p.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

_CANDIDATES = 256  # enough for top_p on nearly every row; the others are sorted in full


class Pick(Protocol):
    """Picks a token for each row."""

    def __call__(self, logits: Tensor, draws: list[float]) -> Tensor:
        """logits [B, V], one uniform number in [0, 1) a row; returns [B] token ids."""


def greedy(logits: Tensor, draws: list[float]) -> Tensor:
    """The most likely token."""
    return logits.argmax(-1)


def overheard(pick: Pick, tell: Callable[[int], None]) -> Pick:
    """The same, told each token as it is picked: of a batch of one row."""

    def picked(logits: Tensor, draws: list[float]) -> Tensor:
        tokens = pick(logits, draws)
        tell(int(tokens[0]))
        return tokens

    return picked


class Sampler:
    """Temperature and nucleus sampling by inverse transform: a row's token follows from its logits
    and its own uniform number alone, whatever rows stand beside it."""

    def __init__(self, temperature: float, top_p: float) -> None:
        self.temperature, self.top_p = temperature, top_p

    def __call__(self, logits: Tensor, draws: list[float]) -> Tensor:
        """See Pick."""
        scaled = logits.float() / self.temperature
        uniform = torch.tensor(draws, dtype=torch.float64, device=logits.device)[:, None]
        if self.top_p >= 1:
            return _invert(scaled.softmax(-1), uniform)
        total = scaled.logsumexp(-1, keepdim=True)
        top, ids = _top(scaled, min(_CANDIDATES, scaled.shape[-1]))
        tokens = self._from_nucleus(top, ids, total, uniform)
        if ids.shape[-1] < scaled.shape[-1]:
            # Of tokens that tie with the last candidate some may have been left out.
            mass = (top - total).exp().masked_fill(top == top[:, -1:], 0.0).sum(-1)
            if bool((short := mass < self.top_p).any()):
                ordered = scaled[short].sort(dim=-1, descending=True, stable=True)
                tokens[short] = self._from_nucleus(*ordered, total[short], uniform[short])
        return tokens

    def _from_nucleus(self, top: Tensor, ids: Tensor, total: Tensor, uniform: Tensor) -> Tensor:
        """A token of the nucleus: of the fewest tokens whose mass reaches top_p; the first one is
        always in it. Candidates [B, C] come in order."""
        probabilities = (top - total).exp()
        before = probabilities.cumsum(-1) - probabilities
        place = _invert(probabilities.masked_fill(before >= self.top_p, 0.0), uniform)
        return ids.gather(-1, place[:, None])[:, 0]


def _top(scores: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The `count` highest scores and their ids, highest first; ties, which 16 bits make
    common, go by id, the lower one first, as in a stable sort."""
    ids = scores.topk(count, dim=-1).indices.sort(dim=-1).values
    top, order = scores.gather(-1, ids).sort(dim=-1, descending=True, stable=True)
    return top, ids.gather(-1, order)


def _invert(probabilities: Tensor, uniform: Tensor) -> Tensor:
    """[B] the first index at which the running sum passes the uniform share of the total."""
    sums = probabilities.double().cumsum(-1)
    index = torch.searchsorted(sums, uniform * sums[:, -1:], right=True)[:, 0]
    last = (probabilities > 0).int().cumsum(-1).argmax(-1)  # the last one with any mass
    return torch.minimum(index, last)


@dataclass(frozen=True)
class Sampling:
    """How replies are drawn. A draw follows from the seed, the example and the sample's number
    alone: not from the batch, the order, the shard or the number of samples."""

    temperature: float
    top_p: float
    seed: int

    def numbers(self, example: str, sample: int, count: int) -> np.ndarray:
        """`count` uniform numbers in [0, 1)."""
        key = np.frombuffer(self._digest(example, sample)[:16], dtype=np.uint64)
        return np.random.Generator(np.random.Philox(key=key)).random(count)

    def seed_of(self, example: str, sample: int) -> int:
        """A seed of 63 bits, for backends that draw by themselves."""
        return int.from_bytes(self._digest(example, sample)[:8], "little") >> 1

    def _digest(self, example: str, sample: int) -> bytes:
        return hashlib.sha256(f"{self.seed}\n{example}\n{sample}".encode()).digest()
