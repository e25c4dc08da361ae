"""One optimiser step over the rows of an effective batch."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from snaketune.training import batching
from snaketune.training.answers import Answers
from snaketune.training.batch import Batch, TokenRow, packed_batch, padded_batch
from snaketune.training.loss import SummedLoss


@dataclass
class BatchLayout:
    """How rows become micro-batches."""

    kind: str
    """`grouped` or `packed`."""
    budget: int
    """Padded tokens of a micro-batch at most."""
    overhead: int
    """What a micro-batch costs beyond its tokens, in tokens."""

    def batches(self, rows: list[TokenRow]) -> Iterator[tuple[list[TokenRow], Batch]]:
        """Micro-batches that hold all `rows`, each with its rows in order."""
        if not rows:
            return
        lengths = np.array([row.inputs for row in rows])
        if self.kind == "packed":
            parts, build = batching.pack_first_fit(lengths, self.budget), packed_batch
        else:
            parts, build = (
                batching.group_by_length(lengths, self.budget, self.overhead),
                padded_batch,
            )
        for part in parts:
            chosen = [rows[i] for i in part]
            yield chosen, build(chosen)


def rows_of_part(rows: list[TokenRow], part: int, parts: int) -> list[TokenRow]:
    """The rows of one process, or of one lane in it."""
    lengths = np.array([row.inputs for row in rows])
    return [rows[i] for i in batching.deal_out(lengths, part, parts)]


def sum_scores(
    rows: list[TokenRow],
    loss: SummedLoss,
    layout: BatchLayout,
    device: torch.device,
    answers: Answers | None,
) -> torch.Tensor:
    """Without gradients [2]: the loss summed over the rows' trained tokens, and the number of rows
    whose answer is right (0 without `answers`)."""
    total = torch.zeros(2, device=device)
    for part, batch in layout.batches(rows):
        batch = batch.to(device)
        if answers:
            summed, likeliest = loss.with_likeliest(batch, answers.candidates(part))
            total[1] += answers.right(likeliest == batch.targets, part)
        else:
            summed = loss(batch)
        total[0] += summed
    return total


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


def autocast(
    dtype: torch.dtype, device: torch.device, whole: bool
) -> contextlib.AbstractContextManager:
    """Casts the computation of a model whose weights are float32 (`whole`: method full). Under an
    adapter the base has the computation's dtype already, and the layers cast the adapter."""
    if not whole or dtype is torch.float32:
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=dtype)
