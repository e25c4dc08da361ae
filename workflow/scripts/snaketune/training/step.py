"""Learning rates over the steps.

One optimiser step over the rows of an effective batch.
"""

import math

import torch
from torch import nn

from snaketune.training.batches import BatchLayout, TokenRow
from snaketune.training.loss import SummedLoss


def learning_rate(step: int, total: int, peak: float, schedule: str, warmup_ratio: float) -> float:
    """The rate of `step` (counted from 0): up to `peak` in equal parts over
    ceil(warmup_ratio × total) steps, then down to 0 at `total` along a cosine or a line, or
    constant. The first step's rate is never 0, so that no step is lost."""
    warmup = math.ceil(warmup_ratio * total)
    if step < warmup:
        return peak * (step + 1) / warmup
    done = (step - warmup) / max(1, total - warmup)
    if schedule == "cosine":
        return peak * 0.5 * (1 + math.cos(math.pi * done))
    return peak * (1 - done) if schedule == "linear" else peak


def add_gradients(
    rows: list[TokenRow],
    loss: SummedLoss,
    layout: BatchLayout,
    device: torch.device,
    scale: float,
    into: tuple[list[nn.Parameter], list[torch.Tensor]] | None = None,
) -> torch.Tensor:
    """The loss summed over the rows' trained tokens; adds the gradients of `scale` × that sum to
    the parameters' own, or those of the parameters in `into` to the tensors beside them."""
    total = torch.zeros((), device=device)
    for _, batch in layout.batches(rows):
        part = loss(batch.to(device))
        if into is None:
            (part * scale).backward()
        else:
            _add_apart(part * scale, *into)
        total += part.detach()
    return total


def _add_apart(
    loss: torch.Tensor, parameters: list[nn.Parameter], sums: list[torch.Tensor]
) -> None:
    found = torch.autograd.grad(loss, parameters, allow_unused=True)
    pairs = [(g, f) for g, f in zip(sums, found, strict=True) if f is not None]
    torch._foreach_add_([g for g, _ in pairs], [f for _, f in pairs])


def gradient_norm(parameters: list[nn.Parameter], limit: float) -> torch.Tensor:
    """The gradients' norm; they are scaled down to `limit` where it is larger."""
    return torch.nn.utils.clip_grad_norm_(parameters, limit, foreach=True)
