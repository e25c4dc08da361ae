"""Forward passes of a causal model over slots and a shared prefix, where its attention can be
driven.

Shapes: B rows, T tokens of a row in this pass, L columns of its cache, P tokens of prefix,
V vocabulary, H key heads, D numbers of a head. Logits are made for the positions that are asked
for only: [B, T, V] of a long prompt would be larger than all else (a prompt of 1,000 tokens at a
vocabulary of 152,000 takes 600 MB in float32). The prefix is computed once an eval.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from snaketune.inference.attention import NAME, KeysValues, PrefixLayout
from snaketune.inference.memory import SlotCache
from snaketune.models.load import rope_switch
from snaketune.runtime.errors import is_out_of_memory

# A shorter prefix costs more as an attention of its own than as copies in each row.
_SHORTEST_PREFIX = 32
COLUMNS_AT_ONCE = 2048
"""Of long prompts: what a pass holds beside the cache grows no further with their length."""
_CHECKED = 24  # tokens in the check of the engine against the model's own attention
_LAYERS = {"full_attention", "sliding_attention"}
# What comes of an attention that a model was not written for; shapes that differ, for one.
MISFITS = (RuntimeError, ValueError, TypeError, AttributeError, LookupError)


class UnsupportedError(Exception):
    """The model's attention can't be driven by this engine."""


class Engine:
    """A causal model whose rows share a prefix.

    At the start it holds its own logits against the model's own; a model with an attention that
    it can't drive raises `UnsupportedError`, and is served with its own instead.
    """

    label = "shared prefix"
    why_limited = "where the model's positions change"

    def __init__(self, model: Any) -> None:
        self.model = model.eval()
        self.base = model.get_base_model() if hasattr(model, "get_base_model") else model
        self.device = next(model.parameters()).device
        self.vocabulary: int = self.base.config.get_text_config().vocab_size
        self.prefix: list[KeysValues] | None = None
        self.prefix_length = 0
        self.windows: set[int] = set()
        switch = rope_switch(self.base.config)
        self.limit = switch.length if switch else None
        """Tokens of the longest row that changes none beside it; None: any."""
        self.column_bytes = 0
        """Of the cache, for one token of one row."""
        self._take_over()

    @torch.inference_mode()
    def share(self, tokens: list[int], shortest: int = _SHORTEST_PREFIX) -> int:
        """Computes the prefix that all later prompts begin with; returns how many of `tokens` it
        holds: those that a prompt then leaves out (0 for fewer than `shortest`)."""
        self.prefix, self.prefix_length = None, 0
        if len(tokens) >= shortest:
            self._set_prefix(tokens)
        return self.prefix_length

    @torch.inference_mode()
    def prefill(self, prompts: list[list[int]]) -> tuple[SlotCache, Tensor]:
        """Own tokens of each prompt, none empty; returns their cache and the logits [B, V] of the
        next token."""
        width = max(map(len, prompts))
        starts = [width - len(prompt) for prompt in prompts]
        padded = [[0] * start + prompt for start, prompt in zip(starts, prompts, strict=True)]
        ids = torch.tensor(padded, device=self.device)
        cache = SlotCache(len(prompts), starts)
        if width > COLUMNS_AT_ONCE:
            cache.reserve(width)  # once, before there is anything to copy
        for part in ids.split(COLUMNS_AT_ONCE, dim=1):
            logits = self.forward(part, cache)
            cache.end += part.shape[1]
        return cache, logits

    @torch.inference_mode()
    def step(self, tokens: list[int], cache: SlotCache) -> Tensor:
        """One more token for each row, at column `end` of the cache, which the caller moves on once
        it has made use of the logits [B, V] of the next one: a step that failed is repeated."""
        cache.reserve(1)
        return self.forward(torch.tensor(tokens, device=self.device)[:, None], cache)

    def forward(self, ids: Tensor, cache: SlotCache) -> Tensor:
        """ids [B, T] for columns `end` to `end + T` of the cache, which the caller then moves on;
        returns the last column's logits [B, V]."""
        layout = layout_of(cache, ids.shape[1], self.prefix_length, self.device)
        layout.prefix, layout.windows = self.prefix, self.windows
        return self.call(ids, layout.query_positions, layout, cache, keep=1)[:, -1]

    def call(
        self,
        ids: Tensor,
        positions: Tensor,
        layout: PrefixLayout,
        cache: SlotCache | None,
        keep: Any,
    ) -> Tensor:
        """Logits [B, kept, V] for ids and positions [B, T]; `keep` is the model's
        `logits_to_keep`."""
        rows, steps = ids.shape
        # The model hands a mask of four dimensions through untouched and makes none of its own;
        # `attend` looks at the layout instead.
        mask = torch.ones((), dtype=torch.bool, device=ids.device).expand(rows, 1, steps, 1)
        return self.model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=cache is not None,
            logits_to_keep=keep,
            layout=layout,
        ).logits

    @contextmanager
    def own_attention(self) -> Iterator[None]:
        """The model as it came, for rows that go by themselves."""
        self.base.set_attn_implementation(self.own)
        try:
            yield
        finally:
            self.base.set_attn_implementation(NAME)

    def _set_prefix(self, tokens: list[int]) -> None:
        cache, _ = self.prefill([tokens])
        # A layer: [H, P, D], without the row.
        self.prefix = [
            (keys[0, :, : cache.end].contiguous(), values[0, :, : cache.end].contiguous())
            for keys, values in zip(cache.keys, cache.values, strict=True)
        ]
        self.prefix_length = len(tokens)

    def _take_over(self) -> None:
        config = self.base.config.get_text_config()
        if not set(getattr(config, "layer_types", None) or []) <= _LAYERS:
            raise UnsupportedError(f"layers of types {sorted(set(config.layer_types))}")
        self.own = config._attn_implementation
        try:
            self._check(config)
        except UnsupportedError:
            self.base.set_attn_implementation(self.own)
            raise
        except MISFITS as error:
            self.base.set_attn_implementation(self.own)
            if is_out_of_memory(error):
                raise
            raise UnsupportedError(f"{type(error).__name__}: {error}") from error

    @torch.inference_mode()
    def _check(self, config: Any) -> None:
        """The engine's logits with prefix, padding and cache against one plain pass."""
        ids = [i * 7919 % config.vocab_size for i in range(1, _CHECKED + 1)]
        plain = self.model(input_ids=torch.tensor([ids], device=self.device), use_cache=False)
        expected = torch.stack([plain.logits[0, -1], plain.logits[0, -4]]).float()
        self.base.set_attn_implementation(NAME)
        if config._attn_implementation != NAME:
            raise UnsupportedError("its attention can't be exchanged")
        self._set_prefix(ids[:8])
        cache, _ = self.prefill([ids[8:-1], ids[8:-4]])
        self.column_bytes = cache.bytes_per_column()
        found = self.step([ids[-1], ids[-4]], cache).float()
        self.prefix, self.prefix_length = None, 0
        if _slides(config) and not any(self.windows):
            raise UnsupportedError("its layers do not name their sliding window")
        allowed = 1e-3 if plain.logits.dtype == torch.float32 else 0.1
        error = (found - expected).abs().max() / expected.abs().max().clamp(min=1e-3)
        if not float(error) <= allowed:
            raise UnsupportedError(f"its logits differ by {float(error):.1e} of the largest one")


def _slides(config: Any) -> bool:
    """Whether some layers see a window only; the check's few tokens would not show it."""
    kinds = getattr(config, "layer_types", None)
    if kinds:
        return "sliding_attention" in kinds
    return bool(getattr(config, "sliding_window", None))


def layout_of(cache: SlotCache, steps: int, prefix: int, device: torch.device) -> PrefixLayout:
    """What `steps` new tokens of each row of the cache see: their own row up to themselves."""
    begin, end, starts = cache.begin, cache.end + steps, cache.starts
    columns = torch.arange(begin, end, device=device)
    first = torch.tensor(starts, device=device)[:, None]
    positions = (columns[None] - first).clamp_(min=0) + prefix  # [B, L]
    aligned = min(starts) == max(starts)
    visible = None
    if steps > 1 and not aligned:
        visible = columns[None, None, :] >= first[:, :, None]  # [B, 1, L]
        visible = visible & (columns[None, None, :] <= columns[-steps:][None, :, None])
    elif not aligned:
        visible = (columns[None] >= first)[:, None, :]  # [B, 1, L]
    causal = steps > 1 and aligned
    if causal and end - begin > steps:
        visible, causal = (columns[None, :] <= columns[-steps:][:, None])[None], False
    return PrefixLayout(visible, positions[:, -steps:], positions, causal=causal)


def common_prefix(prompts: list[list[int]]) -> list[int]:
    """The tokens with which all prompts begin, leaving at least one token to each."""
    low, high = min(prompts), max(prompts)
    most = min(len(prompt) for prompt in prompts) - 1
    count = 0
    while count < most and low[count] == high[count]:
        count += 1
    return low[:count]
