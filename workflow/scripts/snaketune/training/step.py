"""One optimiser step over the rows of an effective batch."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from snaketune.training import batching
from snaketune.training.batch import Batch, TokenRow, packed, padded
from snaketune.training.loss import SummedLoss
from snaketune.training.world import World


@dataclass
class Layout:
    """How rows become micro-batches."""

    kind: str
    """`grouped` or `packed`."""
    budget: int
    """Padded tokens of a micro-batch at most."""
    overhead: int
    """What a micro-batch costs beyond its tokens, in tokens."""

    def batches(self, rows: list[TokenRow]) -> Iterator[Batch]:
        """Micro-batches that hold all `rows`."""
        if not rows:
            return
        lengths = np.array([row.inputs for row in rows])
        if self.kind == "packed":
            parts, build = batching.packed(lengths, self.budget), packed
        else:
            parts, build = batching.grouped(lengths, self.budget, self.overhead), padded
        for part in parts:
            yield build([rows[i] for i in part])


def share_of(rows: list[TokenRow], world: World) -> list[TokenRow]:
    """The rows of this process."""
    lengths = np.array([row.inputs for row in rows])
    return [rows[i] for i in batching.share(lengths, world.rank, world.size)]


def summed_loss(
    rows: list[TokenRow], loss: SummedLoss, layout: Layout, device: torch.device, backward: float
) -> torch.Tensor:
    """Loss summed over the rows' trained tokens. With `backward` other than 0, gradients of
    `backward` × that sum are added to the parameters'."""
    total = torch.zeros((), device=device)
    for batch in layout.batches(rows):
        part = loss(batch.to(device))
        if backward:
            (part * backward).backward()
        total += part.detach()
    return total


def gradient_norm(parameters: list[nn.Parameter], limit: float) -> torch.Tensor:
    """The gradients' norm; they are scaled down to `limit` where it is larger."""
    return torch.nn.utils.clip_grad_norm_(parameters, limit, foreach=True)


def fill_missing_gradients(parameters: list[nn.Parameter]) -> None:
    """A process whose share is empty has no gradients, but has to add its zeros."""
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)


def autocast(
    dtype: torch.dtype, device: torch.device, whole: bool
) -> contextlib.AbstractContextManager:
    """Casts the computation of a model whose weights are float32 (`whole`: method full). Under an
    adapter the base has the computation's dtype already, and the layers cast the adapter."""
    if not whole or dtype is torch.float32:
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=dtype)
