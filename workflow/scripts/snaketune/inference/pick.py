"""How the next token is picked from the logits of each row."""

import hashlib
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

_CANDIDATES = 256  # enough for top_p on nearly every row; the others are sorted in full


class Pick(Protocol):
    """Picks a token for each row."""

    def __call__(self, logits: Tensor, draws: list[float]) -> Tensor:
        """logits [n, vocabulary], one uniform number in [0, 1) a row; returns [n] token ids."""


def greedy(logits: Tensor, draws: list[float]) -> Tensor:
    """The most likely token."""
    return logits.argmax(-1)


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
        top, ids = scaled.topk(min(_CANDIDATES, scaled.shape[-1]), dim=-1)
        probabilities = (top - total).exp()
        if bool((probabilities.sum(-1) < self.top_p).any()) and ids.shape[-1] < scaled.shape[-1]:
            top, ids = scaled.sort(dim=-1, descending=True, stable=True)
            probabilities = (top - total).exp()
        # The nucleus: the fewest tokens whose mass reaches top_p; the first one always.
        before = probabilities.cumsum(-1) - probabilities
        place = _invert(probabilities.masked_fill(before >= self.top_p, 0.0), uniform)
        return ids.gather(-1, place[:, None])[:, 0]


def _invert(probabilities: Tensor, uniform: Tensor) -> Tensor:
    """[n] the first index at which the running sum passes the uniform share of the total."""
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
