"""A loaded model that replies to prompts."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from snaketune.chat import template_hash
from snaketune.config.model import ModelSpec, Quantisation
from snaketune.inference.decode import Decoder, Finish, Prompt, row_by_row
from snaketune.inference.engine import common_prefix, start_engine
from snaketune.inference.memory import BatchSize
from snaketune.inference.pick import Pick, greedy
from snaketune.inference.stops import end_tokens
from snaketune.machine import library_versions
from snaketune.modeling.describe import context_length
from snaketune.modeling.kind import require_kind
from snaketune.modeling.load import load_tokenizer, pick_device
from snaketune.modeling.state import Weights, load_state


@dataclass(frozen=True)
class Text:
    """One reply. `tokens` are without the end token; `new_tokens` counts it."""

    index: int
    sample: int
    tokens: list[int]
    new_tokens: int
    finish: Finish


@dataclass
class Session:
    """A model on its device with its tokenizer and end tokens, and what it did so far."""

    name: str
    model: PreTrainedModel
    tokenizer: Any
    ends: list[int]
    context: int | None
    finishes: Counter[str] = field(default_factory=Counter)
    new_tokens: int = 0
    seconds: float = 0.0
    prefix: int = 0
    batches: set[int] = field(default_factory=set)
    largest: int = 0

    def __post_init__(self) -> None:
        self.engine = start_engine(self.model)

    def replies(
        self,
        prompts: Sequence[list[int]],
        max_new: int,
        batch_size: int | str,
        pick: Pick = greedy,
        samples: Sequence[list[int]] | None = None,
        draws: Callable[[int, int], Sequence[float]] | None = None,
    ) -> Iterator[Text]:
        """Replies to every prompt as they are finished, in no fixed order.

        `samples[i]` are the sample numbers wanted of prompt i (unset: 0), `draws(i, sample)` the
        uniform numbers for a sample's tokens. A prompt that leaves the context no room for a reply
        is `overlong` and gets none.
        """
        samples = samples or [[0]] * len(prompts)
        start = time.monotonic()
        fitting = [i for i, p in enumerate(prompts) if self._room(p) > 0]
        for i in sorted(set(range(len(prompts))) - set(fitting)):
            for sample in samples[i]:
                yield self._count(Text(i, sample, [], 0, "overlong"))
        cut = self._share([prompts[i] for i in fitting])
        asked = [
            Prompt(
                i,
                prompts[i][cut:],
                min(max_new, self._room(prompts[i])),
                samples[i],
                {s: draws(i, s) for s in samples[i]} if draws else None,
            )
            for i in fitting
        ]
        for reply in self._decode(asked, pick, batch_size):
            ended = reply.finish == "stop"
            tokens = reply.tokens[:-1] if ended else reply.tokens
            count = len(reply.tokens)
            self.seconds = time.monotonic() - start
            yield self._count(Text(reply.index, reply.sample, tokens, count, reply.finish))

    def _decode(self, asked: list[Prompt], pick: Pick, batch_size: int | str) -> Iterator:
        if self.engine is None:
            self.batches, self.largest = {1}, 1
            yield from row_by_row(self.model, asked, pick, self.ends)
            return
        batch = BatchSize(batch_size, self.engine.device)
        decoder = Decoder(self.engine, asked, pick, self.ends, batch)
        for reply in decoder.run():
            self.batches, self.largest = batch.used, max(self.largest, len(decoder.rows))
            yield reply

    def _share(self, prompts: list[list[int]]) -> int:
        if self.engine and prompts:
            self.prefix = self.engine.share(common_prefix(prompts))
        return self.prefix

    def _room(self, prompt: list[int]) -> int:
        """New tokens that the context still holds."""
        return 1 << 30 if self.context is None else self.context - len(prompt)

    def _count(self, text: Text) -> Text:
        self.finishes[text.finish] += 1
        self.new_tokens += text.new_tokens
        return text

    def meta(self) -> dict[str, Any]:
        """How the replies were made, for the file beside them."""
        parameter = next(self.model.parameters())
        return {
            "engine": "shared prefix" if self.engine else "row by row",
            "prefix_tokens": self.prefix,
            "batch_sizes": sorted(self.batches),
            "largest_batch": self.largest,
            "finishes": dict(sorted(self.finishes.items())),
            "end_tokens": self.ends,
            "context_length": self.context,
            "dtype": str(self.model.dtype).removeprefix("torch."),
            "device": _device_name(parameter.device),
            "threads": torch.get_num_threads(),
            "template_hash": template_hash(self.tokenizer),
            "seconds": round(self.seconds, 3),
            "new_tokens": self.new_tokens,
            "tokens_per_second": round(self.new_tokens / max(self.seconds, 1e-9), 1),
            "versions": library_versions(),
        }


def open_session(
    spec: ModelSpec, quantisation: Quantisation, weights: Weights, files: Sequence[Path]
) -> Session:
    """Loads a state's model and the base model's tokenizer."""
    model = load_state(spec, quantisation, weights, files, pick_device())
    require_kind(model.config, "causal", spec.id)
    tokenizer = load_tokenizer(spec)
    ends = end_tokens(tokenizer, model.generation_config, spec.id)
    return Session(spec.id, model, tokenizer, ends, context_length(model.config))


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
