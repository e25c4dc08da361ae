"""Micro-batches of one shape as one CUDA graph: their thousands of kernels are launched at once.

A micro-batch of a 1.5B model takes about 6,700 kernels. Launched one by one from Python they keep
a GPU waiting (H100 on a slow host: 600 ms of launches for 130 ms of work). A graph records them
the second time that a shape comes, and replays them from then on. For that packed lines are filled
up to few shapes: tokens, learned places and rows each to a multiple.

Memory: the graphs share one pool, which holds the activations of the largest.
"""

import sys
from dataclasses import dataclass

import torch
from torch import nn

from snaketune.runtime.errors import first_line, is_out_of_memory
from snaketune.training.batches import Batch
from snaketune.training.loss import SummedLoss

_TOKENS, _PLACES, _ROWS, _LONGEST = 512, 512, 16, 256
Shape = tuple[int, int, int, int]


def can_record(loss: SummedLoss, method: str, device: torch.device) -> bool:
    """Whether micro-batches can be recorded: on a GPU, with the attention over packed rows (others
    look at numbers on the way) and the chunked loss. Autocast (method full) makes copies of
    weights that a graph would not renew."""
    return device.type == "cuda" and bool(loss.given) and loss.apart and method != "full"


@dataclass(frozen=True)
class _Recorded:
    """A graph with what it reads and writes: always the same memory."""

    graph: torch.cuda.CUDAGraph
    batch: Batch
    loss: torch.Tensor


class GraphedGradients:
    """Adds gradients of a micro-batch to `sums`, which are always the same tensors."""

    def __init__(
        self, loss: SummedLoss, parameters: list[nn.Parameter], device: torch.device
    ) -> None:
        self._loss, self._parameters, self._device = loss, parameters, device
        self.sums = [torch.zeros_like(p) for p in parameters]
        self._scale = torch.ones((), device=device)
        self._seen: set[Shape] = set()
        self._recorded: dict[Shape, _Recorded] = {}
        self._pool = torch.cuda.graph_pool_handle()
        self.works = True

    def begin(self) -> list[torch.Tensor]:
        """The sums, all 0."""
        torch._foreach_zero_(self.sums)
        return self.sums

    def add(self, batch: Batch, scale: float) -> torch.Tensor:
        """The summed loss [] of the micro-batch; gradients of `scale` x that loss are added."""
        batch = filled(batch)
        shape = shape_of(batch)
        self._scale.fill_(scale)
        if shape in self._seen and self.works and shape not in self._recorded:
            self._record(shape, batch)
        self._seen.add(shape)
        if (recorded := self._recorded.get(shape)) is None:
            return self._add(batch.to(self._device)).detach()
        recorded.batch.take(batch)
        recorded.graph.replay()
        return recorded.loss.clone()

    def forget(self) -> None:
        """Gives the graphs' memory back."""
        self._recorded.clear()
        self._pool = torch.cuda.graph_pool_handle()
        torch.cuda.empty_cache()

    def _add(self, batch: Batch) -> torch.Tensor:
        loss = self._loss(batch)
        # Not `backward`: what adds up there is bound to the stream that it was first used on.
        found = torch.autograd.grad(loss * self._scale, self._parameters, allow_unused=True)
        pairs = [(s, f) for s, f in zip(self.sums, found, strict=True) if f is not None]
        torch._foreach_add_([s for s, _ in pairs], [f for _, f in pairs])
        return loss

    def _record(self, shape: Shape, batch: Batch) -> None:
        held = batch.to(self._device)
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, pool=self._pool):
                loss = self._add(held).detach()
        except RuntimeError as error:
            if is_out_of_memory(error):
                self.forget()
            self.works = False
            print(
                f"note: steps are not recorded as CUDA graphs ({first_line(error)}): slower, with "
                "the same numbers",
                file=sys.stderr,
            )
            return
        self._recorded[shape] = _Recorded(graph, held, loss)


def shape_of(batch: Batch) -> Shape:
    """What two micro-batches must share to be one graph."""
    assert batch.bounds is not None
    return (batch.input_ids.shape[1], len(batch.places), len(batch.bounds), batch.longest)


def filled(batch: Batch) -> Batch:
    """The packed line with filler at its end: tokens that form a row of their own, learned places
    that count for nothing, and empty rows."""
    assert batch.bounds is not None and batch.position_ids is not None
    tokens = batch.input_ids.shape[1]
    more = -tokens % _TOKENS
    end = tokens + more
    places = -len(batch.places) % _PLACES
    bounds = [*batch.bounds.tolist(), end]
    bounds += [end] * (-len(bounds) % _ROWS)
    longest = max(batch.longest, more)
    fill = torch.nn.functional.pad
    return Batch(
        fill(batch.input_ids, (0, more)),
        fill(batch.places, (0, places)),
        fill(batch.targets, (0, places)),
        torch.cat([batch.position_ids, torch.arange(more)[None]], 1),
        torch.tensor(bounds, dtype=torch.int32),
        longest + -longest % _LONGEST,
        fill(torch.ones(len(batch.places)), (0, places)),
    )
