"""Replies without the engine: a model that reads with its own cache, a row at a time where nothing
else is exact, and the loop over batches of such rows.

Shapes: B rows, V vocabulary.
"""

import copy
import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor

from snaketune.inference.decode import Finish, OpenReply, Prompt, Reply, by_length, pick_tokens
from snaketune.inference.engine import MISFITS
from snaketune.inference.memory import TOO_LARGE, BatchSize, release
from snaketune.inference.pick import Pick
from snaketune.models.finite import require_finite
from snaketune.models.load import rope_switch
from snaketune.runtime.errors import UserError, is_out_of_memory

_CACHES = ("past_key_values", "cache_params")  # what models call theirs; the latter a state alone
_CHECKED = 24  # tokens in the check of what can be read behind a cache


def _alike(found: Tensor | None, expected: Tensor, dtype: torch.dtype) -> bool:
    """Whether logits are there, the same but for rounding of a model's numbers."""
    if found is None:
        return False
    allowed = 1e-3 if dtype == torch.float32 else 0.1
    error = (found - expected).abs().max() / expected.abs().max().clamp(min=1e-3)
    return bool(error <= allowed) or not bool(expected.isfinite().all())


@dataclass(frozen=True)
class Past:
    """What a model has read so far."""

    tokens: list[int]
    cache: Any
    """The model's own; None where it has none that could be handed back."""

    def copied(self) -> "Past":
        """For a continuation that leaves this one as it is."""
        return Past(self.tokens, copy.deepcopy(self.cache))


class PlainModel:
    """Reads tokens with the model's own cache; a model without one (RecurrentGemma keeps its states
    to itself) reads all that came before again, which is slow and exact."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.device = next(model.parameters()).device
        base = model.get_base_model() if hasattr(model, "get_base_model") else model
        self.config = base.config
        known = inspect.signature(base.forward).parameters
        self.cache_name = next((name for name in _CACHES if name in known), "")
        self.has_cache = bool(self.cache_name)
        self.can_leave_out = "logits_to_keep" in known
        self.can_place = "position_ids" in known
        switch = rope_switch(self.config)
        self.turns = switch.length if switch and not switch.grows else None
        """Tokens up to which the first of two sets of positions holds, where there are two."""
        self.width = self._readable()

    @torch.inference_mode()
    def _readable(self) -> int:
        """Tokens that can be read at once behind a cache: of a model whose state begins anew where
        several come, one. Tried on a few tokens; a model that is right in neither way is as one
        without a cache."""
        tokens = [3 + i % 7 for i in range(_CHECKED)]
        self.width = _CHECKED
        if not self.has_cache:
            return self.width
        ids = torch.tensor([tokens], device=self.device)
        how = {"logits_to_keep": 4} if self.can_leave_out else {}
        out = self.model(input_ids=ids, use_cache=False, **how)
        whole = out.logits[0, -4:]
        for self.width in (_CHECKED, 1):
            if _alike(self._behind_cache(tokens), whole, next(self.model.parameters()).dtype):
                return 1 << 30 if self.width > 1 else 1
        self.has_cache = False
        return self.width

    def _behind_cache(self, tokens: list[int]) -> Tensor | None:
        """Logits of the last four tokens behind what was kept of the others; None where the model
        has no such thing."""
        try:
            _, past = self.read(tokens[:-4], None, keep=1)
            return self.read(tokens[-4:], past, keep=4)[0]
        except MISFITS as error:
            if is_out_of_memory(error):
                raise
            return None

    def at_once(self, longest: int) -> int:
        """Rows that one pass reads."""
        return 1

    def row_bytes(self, longest: int) -> int:
        """Not asked for: there is one row."""
        return 0

    def begin(self, prompts: list[list[int]]) -> tuple[Tensor, Past]:
        """Logits [1, V] behind the one prompt, and what was read."""
        return self.read(prompts[0], None, keep=1)

    def go_on(self, tokens: list[int], past: Past) -> tuple[Tensor, Past]:
        """One more token for the row; logits [1, V] of the next."""
        return self.read(tokens, past, keep=1)

    def keep(self, order: list[int], past: Past) -> Past:
        """The one row."""
        return past

    def alone(self, tokens: list[int]) -> object:
        """A row by itself."""
        return self.read(tokens, None, keep=1)

    def read(self, tokens: list[int], past: Past | None, keep: int) -> tuple[Tensor, Past]:
        """Logits [keep, V] of the last `keep` of `tokens`, which follow `past`."""
        if past and self._turns(len(past.tokens), len(past.tokens) + len(tokens)):
            whole = past.tokens + tokens  # what is kept was made with other positions
            logits, past = self._read(whole, None, keep)
            return logits, past
        if past and self.has_cache and len(tokens) > self.width:
            parts = []
            for token in tokens:
                logits, past = self._read([token], past, 1)
                parts.append(logits)
            return torch.cat(parts[-keep:]), past
        return self._read(tokens, past, keep)

    @torch.inference_mode()
    def sums(
        self, stem: list[int], branches: list[list[int]], starts: list[int], where: str
    ) -> list[float]:
        """The log-probability of each branch behind the stem, from its start on. What was read of
        the stem is copied for each."""
        before, past = self.read(stem, None, keep=1) if stem else (None, None)
        found = []
        for tokens, start in zip(branches, starts, strict=True):
            # A token is predicted by the one before it; without a stem the first one by none.
            if stem and self._turns(len(stem), len(stem) + len(tokens)):
                logits = self.read(stem + tokens, None, keep=len(tokens) + 1)[0][:-1]
            else:
                logits, _ = self.read(tokens, past.copied() if past else None, keep=len(tokens))
                logits = logits[:-1] if before is None else torch.cat([before, logits[:-1]])
            targets = torch.tensor(tokens[start:], device=logits.device)
            wanted = logits[-len(targets) :].float()
            again = partial(self.read, stem + tokens, None, keep=1)
            require_finite(wanted.amax(-1), self.model, again, where)
            gains = wanted.log_softmax(-1).gather(1, targets[:, None])
            found.append(float(gains.double().sum()))
        return found

    def _turns(self, before: int, after: int) -> bool:
        return self.turns is not None and before <= self.turns < after

    def _read(self, tokens: list[int], past: Past | None, keep: int) -> tuple[Tensor, Past]:
        before = past.tokens if past else []
        cache = past.cache if past else None
        shown = tokens if self.has_cache else before + tokens
        how: dict[str, Any] = {"use_cache": self.has_cache}
        if self.has_cache:
            how[self.cache_name] = cache
        if self.can_leave_out:
            how["logits_to_keep"] = keep
        if self.can_place:
            # Some models count from nought behind their cache, or ask a layer that has none.
            first = len(before) if self.has_cache else 0
            how["position_ids"] = torch.arange(first, first + len(shown), device=self.device)[None]
        out = self.model(input_ids=torch.tensor([shown], device=self.device), **how)
        cache = getattr(out, self.cache_name) if self.has_cache else None
        return out.logits[0, -keep:], Past(before + tokens, cache)


class Reader(Protocol):
    """A model that reads a batch of rows at a time, with what it has of its own."""

    model: Any

    def at_once(self, longest: int) -> int: ...
    def row_bytes(self, longest: int) -> int: ...
    def begin(self, prompts: list[list[int]]) -> tuple[Tensor, Any]: ...
    def go_on(self, tokens: list[int], read: Any) -> tuple[Tensor, Any]: ...
    def keep(self, order: list[int], read: Any) -> Any: ...
    def alone(self, tokens: list[int]) -> object: ...


def in_batches(
    reader: Reader, prompts: list[Prompt], pick: Pick, ends: list[int], batch: BatchSize
) -> Iterator[Reply]:
    """The same replies without the engine: a batch begins when the one before is done."""
    queue = [OpenReply(p, sample) for p in sorted(prompts, key=by_length) for sample in p.samples]
    batch.start(reader.row_bytes(max((len(p.tokens) + p.max_new for p in prompts), default=0)))
    while queue:
        size = min(batch.now, reader.at_once(len(queue[0].prompt.tokens)), len(queue))
        failed = False
        batch.used.add(size)
        try:
            for row, finish in _written(reader, queue[:size], pick, frozenset(ends)):
                queue.remove(row)
                size -= 1
                yield row.reply(finish)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            failed = True
        if failed:
            release()
            if not batch.halve():
                raise UserError(TOO_LARGE)
            queue[:size] = [OpenReply(row.prompt, row.sample) for row in queue[:size]]


@torch.inference_mode()
def _written(
    reader: Reader, rows: list[OpenReply], pick: Pick, ends: frozenset[int]
) -> Iterator[tuple[OpenReply, Finish]]:
    logits, read = reader.begin([row.prompt.tokens for row in rows])
    while True:
        tokens = pick_tokens(logits, rows, pick, reader.model, reader.alone)
        for row, token in zip(rows, tokens, strict=True):
            row.add(token)
        done = [row.finish(ends) for row in rows]
        yield from ((row, finish) for row, finish in zip(rows, done, strict=True) if finish)
        kept = [i for i, finish in enumerate(done) if not finish]
        if not kept:
            return
        if len(kept) < len(rows):
            rows, read = [rows[i] for i in kept], reader.keep(kept, read)
        logits, read = reader.go_on([row.tokens[-1] for row in rows], read)


def row_by_row(
    model: torch.nn.Module, prompts: list[Prompt], pick: Pick, ends: list[int]
) -> Iterator[Reply]:
    """Likewise, one row at a time, from any causal model."""
    plain = PlainModel(model)
    yield from in_batches(plain, prompts, pick, ends, BatchSize(1, plain.device))
