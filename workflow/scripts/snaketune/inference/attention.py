"""Attention over a prefix that all rows share and columns that each row owns.

The prefix's keys and values are read once for the whole batch, as one matrix product, instead of
once a row; the two softmaxes are joined through their log-sum-exps, which is exact. The idea is
cascade (shared-prefix) attention: Juravsky et al., Hydragen, 2024.

Shapes: B rows, T queries of a row, L columns that it owns (its cache and the queries), P tokens of
prefix, N tokens of all rows packed into one, H query heads, Hkv key heads (G = H / Hkv query heads
share one), D numbers of a head.

Costs, a layer and step: own columns are read once a row, B x Hkv x L x D; the prefix once for all
of them, Hkv x P x D instead of B times that. Decoding is bound by what is read, and
with worked examples before every question most of that is prefix.
"""

from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AttentionInterface

NAME = "snaketune"
_ALIGNED = 8  # numbers: what a GPU kernel reads at once
_SCORES_AT_ONCE = 32 * 1024 * 1024
"""Numbers: 128 MB in float32."""
KeysValues = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Packing:
    """Rows that lie end to end in one row of N tokens, without padding: only the attention, which
    is cheap, sees them as B rows of T."""

    places: Tensor
    """[B, T] where in the one row a token lies; any place for padding."""
    tokens: Tensor
    """[N] where in the flattened [B, T] a token lies."""

    def spread(self, states: Tensor) -> Tensor:
        """[1, H, N, D] as [B, H, T, D]."""
        return states[0].transpose(0, 1)[self.places].transpose(1, 2)

    def pack(self, states: Tensor) -> Tensor:
        """[B, H, T, D] as [1, H, N, D]."""
        return states.transpose(1, 2).flatten(0, 1)[self.tokens].transpose(0, 1)[None]


@dataclass
class PrefixLayout:
    """What each query may see.

    The prefix holds positions 0..P-1 and every query comes after it.
    """

    visible: Tensor | None
    """[B or 1, T, L] bool, or None where each query sees every own column."""
    query_positions: Tensor
    """[B, T]"""
    key_positions: Tensor
    """[B, L]"""
    prefix: list[KeysValues] | None = None
    """A layer: keys and values, [Hkv, P, D] each."""
    causal: bool = False
    """Several queries, and the own columns are exactly these, in order, without padding."""
    packing: "Packing | None" = None
    windows: set[int] = field(default_factory=set)
    """Collects the sliding windows that layers name (0: none), for the engine's check of itself."""
    _bias: dict[int, Tensor | None] = field(default_factory=dict)

    def own_bias(self, window: int, dtype: torch.dtype) -> Tensor | None:
        """[B or 1, 1, T, L] to add to the scores: 0 where visible, else -inf. Made once for all
        layers with the same window (0: none)."""
        if window not in self._bias:
            seen = self._within(self.key_positions, window, self._seen())
            self._bias[window] = None if seen is None else _as_bias(seen, dtype)
        return self._bias[window]

    def plainly_causal(self, window: int) -> bool:
        """Whether own columns need no bias but the flag that kernels have for causal attention."""
        return self.causal and not self.prefix and not self._reaches(window)

    def prefix_bias(self, window: int, dtype: torch.dtype) -> Tensor | None:
        """[B, 1, T, P], or None where all of the prefix, if any, is in every window."""
        if self.prefix is None:
            return None
        size = self.prefix[0][0].shape[1]
        key = -1 - window
        if key not in self._bias:
            positions = torch.arange(size, device=self.query_positions.device)[None]
            seen = self._within(positions, window, None)
            self._bias[key] = None if seen is None else _as_bias(seen, dtype)
        return self._bias[key]

    def _seen(self) -> Tensor | None:
        if not self.causal:
            return self.visible
        steps = self.query_positions.shape[1]
        ones = torch.ones(1, steps, steps, dtype=torch.bool, device=self.query_positions.device)
        return ones.tril()

    def _reaches(self, window: int) -> bool:
        """Whether the window leaves anything out."""
        return window > 0 and int(self.query_positions.max()) >= window

    def _within(self, keys: Tensor, window: int, seen: Tensor | None) -> Tensor | None:
        if not self._reaches(window):
            return seen
        near = self.query_positions[:, :, None] - keys[:, None, :] < window
        return near if seen is None else near & seen


def _as_bias(seen: Tensor, dtype: torch.dtype) -> Tensor:
    bias = _aligned(torch.zeros(seen.shape, dtype=dtype, device=seen.device))
    return bias.masked_fill_(~seen, torch.finfo(dtype).min)[:, None]


def _aligned(bias: Tensor) -> Tensor:
    """The same numbers, each row of them at a place that GPU kernels can read from."""
    columns = bias.shape[-1]
    return F.pad(bias, (0, -columns % _ALIGNED))[..., :columns]


def attend(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    layout: PrefixLayout | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """The attention function for transformers: query [B, H, T, D], own keys and values
    [B, Hkv, L, D]; returns [B, T, H, D]. The layout comes through the model's keyword arguments.
    """
    if layout is None or softcap is not None or kwargs.get("s_aux") is not None:
        raise NotImplementedError("attention that this engine has no form of")
    window = sliding_window or 0
    layout.windows.add(window)
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    packing = layout.packing
    if packing is not None:
        query, key, value = (packing.spread(states) for states in (query, key, value))
    prefix = layout.prefix[module.layer_idx] if layout.prefix else None
    if prefix is None:
        out = _own(query, key, value, layout, window, scale)
    else:
        out = _joined(query, key, value, prefix, layout, window, scale)
    if packing is not None:
        out = packing.pack(out)
    return out.transpose(1, 2).contiguous(), None


def _own(
    query: Tensor, key: Tensor, value: Tensor, layout: PrefixLayout, window: int, scale: float
) -> Tensor:
    """Own columns only, [B, H, T, D]. A single query's heads become rows of its key head, which
    spares copying keys for grouped heads."""
    if layout.plainly_causal(window):
        return F.scaled_dot_product_attention(
            query, key, value, scale=scale, is_causal=True, enable_gqa=True
        )
    bias = layout.own_bias(window, query.dtype)
    rows, heads, steps, size = query.shape
    if steps > 1:
        # Kernels that share key heads among query heads take no mask on most GPUs, and the slow
        # one that does holds all scores: there the keys are repeated.
        if query.device.type == "cuda":
            key, value = (part.repeat_interleave(heads // key.shape[1], 1) for part in (key, value))
        return F.scaled_dot_product_attention(
            query, key, value, attn_mask=bias, scale=scale, enable_gqa=True
        )
    packed = query.reshape(rows, key.shape[1], -1, size)  # [B, Hkv, G, D]
    out = F.scaled_dot_product_attention(packed, key, value, attn_mask=bias, scale=scale)
    return out.reshape(rows, heads, 1, size)


def _joined(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    prefix: KeysValues,
    layout: PrefixLayout,
    window: int,
    scale: float,
) -> Tensor:
    """Prefix and own columns, [B, H, T, D]: the weights of the two parts follow from their
    log-sum-exps."""
    rows, heads, steps, size = query.shape
    groups = heads // key.shape[1]
    own_bias = layout.own_bias(window, query.dtype)
    own, own_lse = _with_lse(*_grouped(query, key, value), _tiled(own_bias, groups), scale)
    own, own_lse = own.reshape(rows, heads, steps, size), own_lse.reshape(rows, heads, steps, 1)
    bias = layout.prefix_bias(window, query.dtype)
    if bias is None:
        # All rows as one: [1, Hkv, B * G * T, D] against the prefix's [1, Hkv, P, D].
        folded = query.reshape(rows, -1, groups * steps, size).transpose(0, 1).flatten(1, 2)[None]
        far, lse = _with_lse(folded, prefix[0][None], prefix[1][None], None, scale)
        far = far[0].unflatten(1, (rows, -1)).transpose(0, 1).reshape(rows, heads, steps, size)
        lse = lse[0].unflatten(1, (rows, -1)).transpose(0, 1).reshape(rows, heads, steps, 1)
    else:
        keys, values = (part[None].expand(rows, -1, -1, -1) for part in prefix)
        far, lse = _with_lse(*_grouped(query, keys, values), _tiled(bias, groups), scale)
        far, lse = far.reshape(rows, heads, steps, size), lse.reshape(rows, heads, steps, 1)
    # exp(own) / (exp(own) + exp(far)) of the log-sum-exps, [B, H, T, 1]: the own columns' share.
    share = torch.sigmoid(own_lse - lse).to(query.dtype)
    return torch.lerp(far, own, share.expand_as(far))


def _grouped(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Heads that share a key head become rows of it: query [B, Hkv, G * T, D]."""
    rows, _, _, size = query.shape
    return query.reshape(rows, key.shape[1], -1, size), key, value


def _tiled(bias: Tensor | None, groups: int) -> Tensor | None:
    """The bias for the rows that `_grouped` makes."""
    if bias is None or groups == 1:
        return bias
    if bias.shape[2] == 1:
        return bias.expand(-1, -1, groups, -1)
    return _aligned(bias.repeat(1, 1, groups, 1))


def _with_lse(
    query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None, scale: float
) -> tuple[Tensor, Tensor]:
    """Attention and the log-sum-exp of its scores, [B, H, T] in float32. PyTorch's public function
    keeps the latter to itself: its kernels are called directly. None of them holds the scores, so
    memory grows with T + L."""
    if query.device.type == "cpu":
        return torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            query, key, value, 0.0, False, attn_mask=bias, scale=scale
        )
    if query.device.type != "cuda" or query.shape[-1] % 8 or value.shape[-1] % 8:
        return plain_with_lse(query, key, value, bias, scale)
    shape = (*query.shape[:3], key.shape[2])
    given = None if bias is None else bias.expand(shape)
    out, lse, *_ = torch.ops.aten._scaled_dot_product_efficient_attention(
        query, key, value, given, True, scale=scale
    )
    # The kernel rounds the number of queries up to its blocks.
    return out, lse[..., : query.shape[2]]


def plain_with_lse(
    query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None, scale: float
) -> tuple[Tensor, Tensor]:
    """The same in plain operations, for some queries at a time. Scores are float32 from the first
    product on: rounded to 16 bits those of large keys (Qwen2's) are off by whole units, and
    overflow float16."""
    rows, heads, steps, _ = query.shape
    at_once = max(1, _SCORES_AT_ONCE // (rows * heads * key.shape[2]))
    keys = key.float().transpose(-1, -2)
    outs, lses = [], []
    for start in range(0, steps, at_once):
        part = slice(start, start + at_once)
        scores = torch.matmul(query[:, :, part].float() * scale, keys)
        if bias is not None:
            scores += bias[:, :, part]
        lse = scores.logsumexp(-1)
        weights = (scores - lse[..., None]).exp_().to(value.dtype)
        outs.append(torch.matmul(weights, value))
        lses.append(lse)
    return torch.cat(outs, 2), torch.cat(lses, 2)


AttentionInterface.register(NAME, attend)
