"""The generation loop: rows leave the batch when they are done and others take their places
(continuous batching).

Shapes: B rows, V vocabulary. A step reads the weights once, whatever B is, and its attention B x L
columns of the cache: on a GPU twice the rows take little longer until the cache outweighs the
weights. A prompt is read once for all of its samples. Waiting for an eighth of the places before
they are filled keeps prompts in passes that are worth their weights, too.
"""

from bisect import insort
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from snaketune.inference.engine import Engine
from snaketune.inference.memory import TOO_LARGE, BatchSize, SlotCache, close_gaps, release
from snaketune.inference.pick import Pick
from snaketune.models.finite import require_finite
from snaketune.prompts.thoughts import ThoughtBudget, ThoughtWatch
from snaketune.runtime.errors import UserError, is_out_of_memory

Finish = Literal["stop", "length", "overlong"]
_TOKENS_AT_ONCE = {"cuda": 16384, "cpu": 4096}  # of prompts, in one forward pass


@dataclass
class Prompt:
    """A prompt and the samples wanted of it."""

    index: int
    """Its place in the caller's list."""
    tokens: list[int]
    """Own tokens, without the prefix that the engine holds."""
    max_new: int
    samples: list[int] = field(default_factory=lambda: [0])
    """Sample numbers."""
    draws: Mapping[int, Sequence[float] | np.ndarray] | None = None
    """For each sample number its uniform numbers, one a token; None for greedy."""
    budget: ThoughtBudget | None = None
    """Of its replies' thoughts; None: these are as long as they are."""


@dataclass
class Reply:
    """What came of one sample of one prompt; `tokens` end with the end token, if there was one."""

    index: int
    sample: int
    tokens: list[int]
    finish: Finish
    thought: ThoughtWatch | None = None
    """Of a reply under a budget: where its thought ends."""


class OpenReply:
    """A reply that is being written."""

    def __init__(self, prompt: Prompt, sample: int) -> None:
        self.prompt, self.sample = prompt, sample
        self.tokens: list[int] = []
        self.thought = ThoughtWatch(prompt.budget) if prompt.budget else None

    @property
    def place(self) -> str:
        """For messages."""
        return f"prompt {self.prompt.index + 1}, token {len(self.tokens) + 1} of the reply"

    def draw(self) -> float:
        draws = self.prompt.draws
        return 0.0 if draws is None else float(draws[self.sample][len(self.tokens)])

    def add(self, picked: int) -> None:
        if self.thought is None:
            self.tokens.append(picked)
            return
        self.tokens.append(self.thought.next(picked, self.tokens))
        self.thought.look(self.tokens)

    def finish(self, ends: frozenset[int]) -> Finish | None:
        done: Finish | None = None
        if self.thought:
            done = self.thought.finish(self.tokens, ends)
        elif self.tokens[-1] in ends:
            done = "stop"
        return done or ("length" if len(self.tokens) >= self.prompt.max_new else None)

    def reply(self, finish: Finish) -> Reply:
        return Reply(self.prompt.index, self.sample, self.tokens, finish, self.thought)


class Decoder:
    """Generates replies for prompts, longest prompt first, so that a lack of memory shows early."""

    def __init__(
        self, engine: Engine, prompts: list[Prompt], pick: Pick, ends: list[int], batch: BatchSize
    ) -> None:
        self.engine, self.pick, self.batch = engine, pick, batch
        self.ends = frozenset(ends)
        self.queue = sorted(prompts, key=by_length)
        # Of the longest row that can come: rows grow after they were let in.
        longest = max((len(prompt.tokens) + prompt.max_new for prompt in prompts), default=0)
        self.row_bytes = engine.column_bytes * longest
        batch.start(self.row_bytes)
        self.rows: list[OpenReply] = []
        self.cache = SlotCache(0)
        self.largest = 0
        self.prompt_tokens = _TOKENS_AT_ONCE.get(engine.device.type, 4096)
        self._reading = 0
        """Prompts in the forward pass that is under way."""
        self._done: list[Reply] = []

    def run(self) -> Iterator[Reply]:
        """Replies as they are finished."""
        while self.queue or self.rows:
            failed = False
            try:
                self._fill()
                self._step()
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                failed = True
            # Outside of the handler: the exception no longer keeps tensors alive.
            if failed:
                self._retreat()
            # Also after a failure: what was finished before it has left queue and batch.
            done, self._done = self._done, []
            yield from done

    @torch.inference_mode()
    def _fill(self) -> None:
        """Lets prompts into free places, when enough are free for that to pay."""
        free = self.batch.now - len(self.rows)
        if not self.queue or (self.rows and free < max(1, self.batch.now // 8)):
            return
        while self.queue and (group := self._next_group(self.batch.now - len(self.rows))):
            self._reading = len(group)
            cache, logits = self.engine.prefill([prompt.tokens for prompt in group])
            self._reading = 0
            places = [i for i, prompt in enumerate(group) for _ in prompt.samples]
            new = [OpenReply(prompt, sample) for prompt in group for sample in prompt.samples]
            tokens = self._picked(logits[places], new)  # logits [prompts, V], a row a sample
            self.cache.insert(cache, places)
            del self.queue[: len(group)]
            self.rows += new
            self.largest = max(self.largest, len(self.rows))
            self._accept(new, tokens)
        self.batch.used.add(self.batch.now)

    def _next_group(self, free: int) -> list[Prompt]:
        """Prompts from the front of the queue, as many as fit into the free places and into one
        forward pass. A prompt with more samples than the whole batch is taken in parts."""
        group: list[Prompt] = []
        for prompt in self.queue:
            if len(prompt.samples) > free:
                break
            if group and (len(group) + 1) * len(group[0].tokens) > self.prompt_tokens:
                break
            group.append(prompt)
            free -= len(prompt.samples)
        if not group and free and not self.rows:
            self.queue[:1] = _split(self.queue[0], free)
            group = self.queue[:1]
        return group

    @torch.inference_mode()
    def _step(self) -> None:
        """One more token for every row."""
        if not self.rows:
            return
        logits = self.engine.step([row.tokens[-1] for row in self.rows], self.cache)  # [B, V]
        tokens = self._picked(logits, self.rows)
        # Only now: where memory ran out before, the same step is taken again.
        self.cache.end += 1
        self._accept(self.rows, tokens)
        if self.queue and self.largest >= self.batch.now:
            self.batch.grow(self.row_bytes)

    def _picked(self, logits: Tensor, rows: list[OpenReply]) -> list[int]:
        return pick_tokens(logits, rows, self.pick, self.engine.model, self._alone)

    def _alone(self, tokens: list[int]) -> object:
        return self.engine.prefill([tokens])

    def _accept(self, rows: list[OpenReply], tokens: list[int]) -> None:
        """Gives each row its token; takes finished rows out of the batch."""
        for row, token in zip(rows, tokens, strict=True):
            row.add(token)
        finished = {id(row): finish for row in rows if (finish := row.finish(self.ends))}
        if not finished:
            return
        self._done += [row.reply(finished[id(row)]) for row in rows if id(row) in finished]
        self._keep([i for i, row in enumerate(self.rows) if id(row) not in finished])

    def _keep(self, kept: list[int]) -> None:
        """Lets go of all rows but these. The cache comes last: should it fail, the rows are right
        and the cache says that it is broken."""
        order = close_gaps(kept)
        self.rows = [self.rows[i] for i in order]
        self.cache.keep(order)

    @torch.inference_mode()
    def _retreat(self) -> None:
        """After running out of memory: fewer prompts in a pass where that can help, else half as
        many rows, and none where the cache broke. Those that leave start again later and come out
        the same."""
        release()
        reading, self._reading = self._reading, 0
        if reading > 1 and not self.cache.broken:
            self.prompt_tokens //= 2
            print(f"out of memory: reading {self.prompt_tokens} prompt tokens at once", flush=True)
            return
        if not self.batch.halve():
            raise UserError(TOO_LARGE)
        print(f"out of memory: going on with {self.batch.now} rows at once", flush=True)
        self.largest = 0
        if not self.cache.broken:
            self._shrink()
        if self.cache.broken:
            self._requeue(self.rows)
            self.rows, self.cache = [], SlotCache(0)

    def _shrink(self) -> None:
        """Keeps the rows that are furthest. Memory may be too short even for that."""
        ahead = sorted(range(len(self.rows)), key=lambda i: -len(self.rows[i].tokens))
        self._requeue([self.rows[i] for i in ahead[self.batch.now :]])
        try:
            self._keep(sorted(ahead[: self.batch.now]))
            self.cache.shrink(max(self.batch.now, len(self.rows)))
        except Exception as error:
            if not is_out_of_memory(error):
                raise

    def _requeue(self, rows: list[OpenReply]) -> None:
        for row in rows:
            again = Prompt(**{**vars(row.prompt), "samples": [row.sample]})
            insort(self.queue, again, key=by_length)


def by_length(prompt: Prompt) -> tuple[int, int, int]:
    return -len(prompt.tokens), prompt.index, prompt.samples[0]


def _split(prompt: Prompt, count: int) -> list[Prompt]:
    """The prompt with its first `count` samples, and with the others."""
    parts = (prompt.samples[:count], prompt.samples[count:])
    return [Prompt(**{**vars(prompt), "samples": samples}) for samples in parts]


def pick_tokens(
    logits: Tensor,
    rows: list[OpenReply],
    pick: Pick,
    model: Any,
    alone: Callable[[list[int]], object],
) -> list[int]:
    """A token for each row, after logits [B, V] that are numbers."""
    highest = logits.amax(-1)  # [B]; nan where one of the row's logits is nan
    if not bool(highest.isfinite().all()):
        row = rows[int(highest.isfinite().int().argmin())]
        again = partial(alone, [*row.prompt.tokens, *row.tokens])
        require_finite(highest, model, again, row.place)
    return pick(logits, [row.draw() for row in rows]).tolist()
