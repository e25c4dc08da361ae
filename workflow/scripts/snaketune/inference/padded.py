"""Rows of several lengths in one batch, by a model's own attention and cache: shorter ones begin
with padding. For models that the engine can't drive, where they are exact so, which is tried.

Shapes: B rows, T tokens of a pass, L columns read so far, V vocabulary.
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from snaketune.inference.engine import MISFITS, Engine, UnsupportedError
from snaketune.inference.plain import PlainModel
from snaketune.models.finite import require_finite
from snaketune.models.load import rope_switch
from snaketune.runtime.errors import is_out_of_memory

_AT_ONCE = {"cuda": 16384, "cpu": 4096}  # of prompts, in one forward pass
_FEW = 4  # tokens of an option
_LENGTHS, _MORE = (24, 17, 4), 4  # tokens of the check's rows, and of what is read behind each
_WINDOWS = ("sliding_window", "attention_window_size", "attention_chunk_size")
# Of a token's logits, by bits of a number: what shapes round, and what padding may change at all.
_ROUNDING, _LEAKING = {16: 0.02, 32: 1e-3}, {16: 0.01, 32: 1e-4}


@dataclass
class PaddedRows:
    """What was read of some rows."""

    cache: Any
    """The model's own."""
    mask: Tensor
    """[B, L], 0 where a column is padding."""


class PaddedModel:
    """A causal model that reads left-padded rows. Raises `UnsupportedError` where they come out
    otherwise than alone."""

    label = "padded batches"

    def __init__(self, plain: PlainModel) -> None:
        self.plain, self.model, self.device = plain, plain.model, plain.device
        config = plain.config.get_text_config()
        if rope_switch(config):
            raise UnsupportedError("its positions follow from the longest row of a batch")
        if not plain.has_cache:
            raise UnsupportedError("it has no cache that could be handed back")
        windows = [getattr(config, name, None) for name in _WINDOWS]
        least = min((size for size in windows if isinstance(size, int)), default=0)
        self.limit = least if least >= _LENGTHS[0] else None
        """Tokens up to which rows are like those that were tried: within the layers' windows."""
        self.why_limited = "the model's window, behind which padded rows were not tried"
        self.vocabulary: int = config.vocab_size
        self.column_bytes = self.state_bytes = 0
        self._require_exact(self.vocabulary)

    def own_attention(self) -> AbstractContextManager[None]:
        """The model as it came, which it always is."""
        return nullcontext()

    def at_once(self, longest: int) -> int:
        """Rows of which the longest prompt has so many tokens that one pass may read."""
        return max(1, _AT_ONCE.get(self.device.type, 4096) // longest)

    def row_bytes(self, longest: int) -> int:
        """What a row of so many tokens takes."""
        return self.state_bytes + self.column_bytes * longest

    @torch.inference_mode()
    def begin(self, prompts: Sequence[list[int]], padding: int = 0) -> tuple[Tensor, PaddedRows]:
        """Logits [B, V] behind each prompt, and what was read; which token pads plays no part."""
        width = max(map(len, prompts))
        ids = [[padding] * (width - len(prompt)) + prompt for prompt in prompts]
        mask = [[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts]
        rows = PaddedRows(None, torch.tensor(mask, device=self.device))
        return self._read(ids, rows), rows

    @torch.inference_mode()
    def go_on(self, tokens: list[int], rows: PaddedRows) -> tuple[Tensor, PaddedRows]:
        """One more token for each row; logits [B, V] of the next."""
        more = PaddedRows(rows.cache, torch.nn.functional.pad(rows.mask, (0, 1), value=1))
        return self._read([[token] for token in tokens], more), more

    @torch.inference_mode()
    def keep(self, order: list[int], rows: PaddedRows) -> PaddedRows:
        """Only these rows, in this order; one may come more than once."""
        index = torch.tensor(order, device=self.device)
        cache = rows.cache
        cache.reorder_cache(index)
        if states := getattr(cache, "linear_cache", None):  # MiniMax's, which that leaves out
            cache.linear_cache = [s[index] if isinstance(s, Tensor) else s for s in states]
        return PaddedRows(cache, rows.mask[index])

    def takes(self, stem: list[int], branches: list[list[int]]) -> bool:
        """Whether `sums` should take these: behind a stem, and few tokens each. Longer ones are
        faster a question at a time, as each is one pass there, and a step a token here."""
        return bool(stem) and max(map(len, branches)) <= _FEW

    def alone(self, tokens: list[int]) -> object:
        """A row by itself."""
        return self.plain.read(tokens, None, keep=1)

    @torch.inference_mode()
    def sums(
        self, asked: Sequence[tuple[list[int], list[list[int]], list[int]]], where: str
    ) -> list[list[float]]:
        """For each stem with its branches and their starts the log-probability of each branch
        behind it, from its start on: stems are read in one batch, then a token of all branches at
        a time."""
        stems, branches, starts = zip(*asked, strict=True)
        places = [(i, j) for i, options in enumerate(branches) for j in range(len(options))]
        places.sort(key=lambda place: -len(branches[place[0]][place[1]]))
        logits, rows = self.begin(stems)
        order = [i for i, _ in places]
        logits, rows = logits[order], self.keep(order, rows)
        found = [[0.0] * len(options) for options in branches]
        at = 0
        while places:
            tokens = [branches[i][j][at] for i, j in places]
            (i, j), *_ = places
            again = partial(self.alone, stems[i] + branches[i][j])
            require_finite(logits.amax(-1), self.model, again, where)
            targets = torch.tensor(tokens, device=self.device)[:, None]
            gains = logits.float().log_softmax(-1).gather(1, targets)[:, 0].tolist()
            for (i, j), gain in zip(places, gains, strict=True):
                found[i][j] += gain if at >= starts[i][j] else 0.0
            at += 1
            left = sum(len(branches[i][j]) > at for i, j in places)
            if left and left < len(places):
                rows = self.keep(list(range(left)), rows)
            places = places[:left]
            if places:
                logits, rows = self.go_on(tokens[:left], rows)
        return found

    def _read(self, ids: list[list[int]], rows: PaddedRows) -> Tensor:
        """Logits [B, V] behind ids [B, T], the last columns of the rows, whose cache goes on."""
        steps, name = len(ids[0]), self.plain.cache_name
        how: dict[str, Any] = {"use_cache": True, name: rows.cache}
        if name == "past_key_values" or rows.cache is None:  # a state has no columns to mask
            how["attention_mask"] = rows.mask
        if self.plain.can_leave_out:
            how["logits_to_keep"] = 1
        if self.plain.can_place:
            how["position_ids"] = (rows.mask.cumsum(-1) - 1).clamp(min=0)[:, -steps:]
        out = self.model(input_ids=torch.tensor(ids, device=self.device), **how)
        rows.cache = getattr(out, name)
        return out.logits[:, -1]

    def _require_exact(self, vocabulary: int) -> None:
        try:
            reason = self._difference(vocabulary)
        except MISFITS as error:
            if is_out_of_memory(error):
                raise
            reason = f"{type(error).__name__}: {error}"
        if reason:
            raise UnsupportedError(f"padded rows come out otherwise than alone ({reason})")

    @torch.inference_mode()
    def _difference(self, vocabulary: int) -> str | None:
        """How padded rows differ from the same ones alone, with what is read behind them and after
        rows left and doubled; and with other tokens for padding."""
        rows = [
            [(place + 31 * row + 1) * 7919 % vocabulary for place in range(length + _MORE)]
            for row, length in enumerate(_LENGTHS)
        ]
        alone = [self._alone_behind(row, at) for row, at in zip(rows, _LENGTHS, strict=True)]
        found = self._behind(rows, padding=0)
        others = self._behind(rows, padding=rows[0][0])
        bits = 16 if next(self.model.parameters()).dtype.itemsize < 4 else 32
        kept = list(range(len(rows)))
        for step, (logits, other) in enumerate(zip(found, others, strict=True)):
            kept = [2, 0, 0] if step > _MORE // 2 else kept
            wanted = torch.stack([alone[row][step] for row in kept])
            seen = wanted.isfinite()  # what is masked of a vocabulary plays no part
            wanted, one, two = (x.float().where(seen, 0) for x in (wanted, logits, other))
            off, leak = (_share(one - x, wanted) for x in (wanted, two))
            if not off <= _ROUNDING[bits]:
                return f"logits differ by {off:.1e} of them"
            if not leak <= _LEAKING[bits]:
                return f"the token that pads changes {leak:.1e} of the logits"
        return None

    def _alone_behind(self, row: list[int], at: int) -> list[Tensor]:
        """The same of a row by itself, read in the same parts: what rounding differs in is less."""
        logits, past = self.plain.begin([row[:at]])
        found = [logits[0].float()]
        for token in row[at:]:
            logits, past = self.plain.go_on([token], past)
            found.append(logits[0].float())
        return found

    def _behind(self, rows: list[list[int]], padding: int) -> list[Tensor]:
        """Logits [3, V] behind each row's beginning, and behind each further token; half way rows
        are chosen anew."""
        starts = [row[:length] for row, length in zip(rows, _LENGTHS, strict=True)]
        logits, read = self.begin(starts, padding)
        held, found = _bytes_of(read.cache), [logits]
        for step in range(_MORE):
            if step == _MORE // 2:
                self.column_bytes = max(0, _bytes_of(read.cache) - held) // (step * len(rows))
                self.state_bytes = max(0, held // len(rows) - self.column_bytes * _LENGTHS[0])
                rows, read = [rows[i] for i in (2, 0, 0)], self.keep([2, 0, 0], read)
                starts = [starts[i] for i in (2, 0, 0)]
            tokens = [row[len(start) + step] for row, start in zip(rows, starts, strict=True)]
            logits, read = self.go_on(tokens, read)
            found.append(logits)
        return found


def _share(part: Tensor, whole: Tensor) -> float:
    """The largest share that rows [B, V] are of others."""
    return float((part.norm(dim=-1) / whole.norm(dim=-1)).max())


def _bytes_of(cache: Any) -> int:
    """Of the tensors in a cache, whatever it holds them in."""
    return sum(part.numel() * part.element_size() for part in _tensors(cache, depth=4))


def _tensors(held: Any, depth: int) -> Iterator[Tensor]:
    if isinstance(held, Tensor):
        yield held
        return
    parts = (
        held.values() if isinstance(held, dict) else held if isinstance(held, list | tuple) else []
    )
    if hasattr(held, "__dict__"):
        parts = vars(held).values()
    if depth:
        for part in parts:
            yield from _tensors(part, depth - 1)


def start_engine(model: Any) -> Engine | PaddedModel | None:
    """The engine; else the model with padded rows, or None where it must go row by row. Says which
    on stderr."""
    try:
        return Engine(model)
    except UnsupportedError as reason:
        why = str(reason)
    try:
        padded = PaddedModel(PlainModel(model))
    except UnsupportedError as reason:
        told = f"row by row, which is slower and gives the same text: {why}; {reason}"
        print(f"note: this model goes {told}", file=sys.stderr)
        return None
    print(
        f"note: this model goes in padded batches, without a shared prefix: {why}", file=sys.stderr
    )
    return padded
