"""Attention over rows that lie end to end in one line, each of which sees itself alone.

On a GPU it is PyTorch's own flash attention over rows of any lengths: no padding, no mask, memory
that grows with the line. On the CPU each row is a call of its own.

Shapes: T tokens of the line, R rows in it, H query heads, Hkv key heads, D numbers of a head.
What a layer costs: 2 x 2 x H x D operations for each pair of a token and one before it in its row,
T x (H + 2 Hkv) x D numbers read; with a block mask it would be every pair of the line.
"""

from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AttentionInterface, PreTrainedModel

NAME = "snaketune_packed"
_LARGEST_HEAD = 256  # of the flash kernel


def can_pack(causal: PreTrainedModel, device: torch.device, dtype: torch.dtype) -> bool:
    """Whether the flash kernel runs here: 16 bits, and a GPU from Ampere on."""
    if device.type != "cuda" or dtype not in (torch.float16, torch.bfloat16):
        return False
    text: Any = causal.config.get_text_config()
    heads = getattr(text, "num_attention_heads", 0)
    size: int = getattr(text, "head_dim", None) or (text.hidden_size // heads if heads else 0)
    fits = 0 < size <= _LARGEST_HEAD and size % 8 == 0
    return fits and torch.cuda.get_device_capability(device) >= (8, 0)


def attend_packed(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    bounds: Tensor | None = None,
    longest: int = 0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """The attention function for transformers: query [1, H, T, D], keys and values [1, Hkv, T, D];
    returns [1, T, H, D]. `bounds` [R + 1] are the places where rows begin, and the end of the last;
    they come through the model's keyword arguments."""
    if bounds is None or softcap is not None or dropout or kwargs.get("s_aux") is not None:
        raise NotImplementedError("attention over packed rows has no form of this")
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    # Under autocast rotary positions bring float32 with them.
    flat = [s[0].transpose(0, 1).to(value.dtype) for s in (query, key, value)]  # [T, H, D]
    window = sliding_window or 0
    if query.device.type == "cuda":
        sides = {"window_size_left": window - 1, "window_size_right": 0} if window else {}
        out = torch.ops.aten._flash_attention_forward(
            *flat, bounds, bounds, longest, longest, 0.0, True, False, scale=scale, **sides
        )[0]
    else:
        ends = bounds.tolist()
        parts = pairwise(ends)
        out = torch.cat([_row([s[a:b] for s in flat], window, scale) for a, b in parts if b > a])
    return out[None], None


def _row(states: list[Tensor], window: int, scale: float) -> Tensor:
    """One row's attention [T, H, D]."""
    query, key, value = (part.transpose(0, 1)[None] for part in states)
    steps = query.shape[2]
    near = None
    if 0 < window < steps:
        places = torch.arange(steps, device=query.device)
        apart = places[:, None] - places
        near = (apart >= 0) & (apart < window)
    out = F.scaled_dot_product_attention(
        query, key, value, near, is_causal=near is None, scale=scale, enable_gqa=True
    )
    return out[0].transpose(0, 1)


AttentionInterface.register(NAME, attend_packed)
