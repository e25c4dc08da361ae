"""The default backend: this project's generation loop on transformers models."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from transformers import PreTrainedModel

from snaketune.inference.decode import Decoder, Prompt, Reply
from snaketune.inference.engine import Engine, common_prefix
from snaketune.inference.memory import BatchSize
from snaketune.inference.padded import PaddedModel, start_engine
from snaketune.inference.pick import Pick, Sampler, Sampling, greedy, overheard
from snaketune.inference.plain import in_batches, row_by_row
from snaketune.inference.session import GenerationRequest, LoadableState, Session, backend
from snaketune.models.describe import context_length, generation_configs
from snaketune.models.folder import load_tokenizer, model_folder
from snaketune.models.load import load_config, load_state, pick_device
from snaketune.prompts.conversation import end_tokens


@dataclass
class TransformersSession(Session):
    """A transformers model, with an adapter or without."""

    keeps_budgets: ClassVar[bool] = True
    model: PreTrainedModel
    engine: Engine | PaddedModel | None = field(default=None, init=False)
    prefix: int = field(default=0, init=False)
    batches: set[int] = field(default_factory=set, init=False)
    largest: int = field(default=0, init=False)
    heard: Callable[[int], None] | None = field(default=None, init=False)
    """Is told each token of a reply that is written alone."""

    def __post_init__(self) -> None:
        self.engine = start_engine(self.model)

    def generate(
        self, requests: list[GenerationRequest], batch_size: int | str, sampling: Sampling | None
    ) -> Iterator[Reply]:
        """See Session."""
        pick: Pick = Sampler(sampling.temperature, sampling.top_p) if sampling else greedy
        pick = overheard(pick, self.heard) if self.heard else pick
        engine = self.engine
        if engine is None:
            self.batches, self.largest = {1}, 1
            yield from row_by_row(self.model, with_draws(requests, 0, sampling), pick, self.ends)
            return
        limit = engine.limit
        apart = [ask for ask in requests if limit and len(ask.tokens) + ask.max_new > limit]
        if apart:
            print(
                f"{len(apart)} prompts may pass {limit} tokens with their replies, "
                f"{engine.why_limited}: they go row by row"
            )
            with engine.own_attention():
                yield from row_by_row(self.model, with_draws(apart, 0, sampling), pick, self.ends)
            gone = {ask.index for ask in apart}
            requests = [ask for ask in requests if ask.index not in gone]
        batch = BatchSize(batch_size, engine.device)
        if isinstance(engine, PaddedModel):
            prompts = with_draws(requests, 0, sampling)
            for reply in in_batches(engine, prompts, pick, self.ends, batch):
                self.batches, self.largest = batch.used, max(batch.used)
                yield reply
            return
        if requests:
            self.prefix = engine.share(common_prefix([ask.tokens for ask in requests]))
        decoder = Decoder(
            engine, with_draws(requests, self.prefix, sampling), pick, self.ends, batch
        )
        for reply in decoder.run():
            self.batches, self.largest = batch.used, max(self.largest, decoder.largest)
            yield reply

    def describe(self) -> dict[str, Any]:
        """See Session."""
        device = next(self.model.parameters()).device
        on_gpu = device.type == "cuda"
        return {
            "backend": "transformers",
            "engine": self.engine.label if self.engine else "row by row",
            "prefix_tokens": self.prefix,
            "batch_sizes": sorted(self.batches),
            "largest_batch": self.largest,
            "dtype": str(self.model.dtype).removeprefix("torch."),
            "device": torch.cuda.get_device_name(device) if on_gpu else device.type,
            "threads": torch.get_num_threads(),
        }


def with_draws(
    requests: list[GenerationRequest], cut: int, sampling: Sampling | None
) -> list[Prompt]:
    """The prompts without the `cut` tokens that the engine holds, with their random numbers."""
    return [
        Prompt(
            ask.index,
            ask.tokens[cut:],
            ask.max_new,
            ask.samples,
            {s: sampling.numbers(ask.id, s, ask.max_new) for s in ask.samples}
            if sampling
            else None,
            ask.budget,
        )
        for ask in requests
    ]


@backend
def open_transformers(state: LoadableState) -> TransformersSession:
    """A session of the default backend, whose model and engine can be used directly."""
    spec = state.model
    load_config(spec, "causal")
    model = load_state(spec, state.quantisation, state.weights, state.files, pick_device())
    tokenizer = load_tokenizer(spec)
    # Weights that were trained as a whole come without a generation config: the base has it.
    configs = [model.generation_config, *generation_configs(model_folder(spec))]
    ends = end_tokens(tokenizer, configs, spec.id)
    return TransformersSession(spec.id, tokenizer, ends, context_length(model.config), model)
