"""A loaded model that replies to prompts, whatever runs it, and the backends that can.

A backend is one file in `backends/`, by whose name evals ask for it. It is imported when it is
asked for; no other one is.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, TypeVar

from snaketune.inference.decode import Finish, Reply
from snaketune.inference.jobs import LoadableState
from snaketune.inference.ledger import count_records
from snaketune.inference.pick import Sampling
from snaketune.prompts.conversation import template_hash
from snaketune.runtime.machine import library_versions, resource_usage


@dataclass(frozen=True)
class GenerationRequest:
    """A prompt and the samples wanted of it."""

    index: int
    """Its place in the caller's list."""
    id: str
    """Its example; sampled replies follow from it."""
    tokens: list[int]
    max_new: int
    samples: list[int]


@dataclass(frozen=True)
class Completion:
    """One reply. `tokens` are without the end token; `new_tokens` counts it."""

    index: int
    sample: int
    tokens: list[int]
    new_tokens: int
    finish: Finish


@dataclass
class Session(ABC):
    """A model with its tokenizer and end tokens, and what it did so far."""

    name: str
    tokenizer: Any
    ends: list[int]
    context: int | None
    """Tokens of prompt and reply together; None: no limit."""
    new_tokens: int = field(default=0, init=False)
    seconds: float = field(default=0.0, init=False)

    @abstractmethod
    def generate(
        self, requests: list[GenerationRequest], batch_size: int | str, sampling: Sampling | None
    ) -> Iterator[Reply]:
        """Replies as they are finished, in no fixed order; greedy without `sampling`."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """What ran the model, and how."""

    def replies(
        self,
        prompts: Sequence[list[int]],
        max_new: int,
        batch_size: int | str,
        sampling: Sampling | None = None,
        samples: Sequence[list[int]] | None = None,
        ids: Sequence[str] | None = None,
    ) -> Iterator[Completion]:
        """Replies to every prompt as they are finished, in no fixed order.

        `samples[i]` are the sample numbers wanted of prompt i (unset: 0). A prompt that leaves the
        context no room for a reply is `overlong` and gets none.
        """
        start = time.monotonic()
        requests = []
        for i, tokens in enumerate(prompts):
            numbers = samples[i] if samples else [0]
            room = max_new if self.context is None else self.context - len(tokens)
            if room > 0:
                name = ids[i] if ids else ""
                requests.append(GenerationRequest(i, name, tokens, min(max_new, room), numbers))
            else:
                yield from (self._count(Completion(i, n, [], 0, "overlong")) for n in numbers)
        for reply in self.generate(requests, batch_size, sampling):
            self.seconds = time.monotonic() - start
            count = len(reply.tokens)
            shown = reply.tokens[:-1] if reply.finish == "stop" else reply.tokens
            yield self._count(Completion(reply.index, reply.sample, shown, count, reply.finish))

    def _count(self, text: Completion) -> Completion:
        self.new_tokens += text.new_tokens
        return text

    def meta(self, records: Collection[dict]) -> dict[str, Any]:
        """How `records` were made, for the file beside them. Seconds and rate are of the last
        start of a job that was killed, all else is of the whole."""
        return self.describe() | {
            **count_records(records),
            "end_tokens": self.ends,
            "context_length": self.context,
            "template_hash": template_hash(self.tokenizer),
            "seconds": round(self.seconds, 3),
            "tokens_per_second": round(self.new_tokens / max(self.seconds, 1e-9), 1),
            "versions": library_versions(),
            **resource_usage(),
        }


Opener = Callable[[LoadableState], Session]
OpenerT = TypeVar("OpenerT", bound=Opener)
_OPENERS: dict[str, Opener] = {}


def backend(opener: OpenerT) -> OpenerT:
    """Makes a function, which loads a state, the backend that its file is named for."""
    _OPENERS[opener.__module__.rpartition(".")[2]] = opener
    return opener


def open_session(state: LoadableState, name: str = "transformers") -> Session:
    """Loads a state's model and the base model's tokenizer on the backend `name`."""
    import_module(f"snaketune.inference.backends.{name}")
    return _OPENERS[name](state)
