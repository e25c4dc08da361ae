"""What a training holds while it runs, and what it does where memory runs out: the same, in
smaller parts.
"""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from snaketune.config.model import Preset
from snaketune.runtime.errors import UserError, first_line, is_out_of_memory
from snaketune.training.batches import BatchLayout, Order, TokenRow
from snaketune.training.graphs import GraphedGradients
from snaketune.training.loss import SummedLoss
from snaketune.training.parallel import Lanes, World
from snaketune.training.saving import TrainingState
from snaketune.training.trainable import recompute_activations


@dataclass
class Training:
    """Everything that the loop needs; `state` is where it stands."""

    model: nn.Module
    loss: SummedLoss
    optimizer: torch.optim.Optimizer
    layout: BatchLayout
    order: Order
    train: list[TokenRow]
    dev: list[TokenRow]
    preset: Preset
    seed: int
    device: torch.device
    dtype: torch.dtype
    world: World
    lanes: Lanes
    state: TrainingState
    folder: Path
    """Where checkpoints go."""
    snapshots: dict[int, list[str]]
    """Steps after which snapshots are saved, and their names."""
    save: Callable[[str], None]
    """Saves the weights as a folder of this name under `folder`."""
    save_every: float
    """Seconds between checkpoints at least; 0: one after every step."""
    parts: Sequence[str] = ()
    """The datasets whose rows are mixed, where there are several."""
    kernels: str | None = None
    """The package whose fused kernels stand in for the model's own operations."""
    graphs: GraphedGradients | None = None
    """Records micro-batches, where the device and the layout allow it."""

    def __post_init__(self) -> None:
        self.parameters = [p for p in self.model.parameters() if p.requires_grad]
        half = self.dtype is torch.float16
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=half)
        # It makes its scale at the first call of this, and wants it from then on.
        self.scaler.scale(torch.zeros((), device=self.device))

    def cast(self) -> contextlib.AbstractContextManager[None]:
        """Around every call of the model."""
        return cast(self.preset.method, self.dtype, self.device)


def cast(
    method: str, dtype: torch.dtype, device: torch.device
) -> contextlib.AbstractContextManager[None]:
    """Casts the computation where the weights are float32 (method full). Under an adapter the base
    has the computation's dtype already, and the layers cast the adapter."""
    if method != "full" or dtype is torch.float32:
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=dtype)


_SMALLEST_BUDGET = 64


def within_memory(
    job: Training, rows: Sequence[TokenRow], attempt: Callable[[], torch.Tensor]
) -> torch.Tensor:
    """What `attempt` finds in the `rows`. Where memory runs out in one of the job's processes, all
    of them begin it again with smaller micro-batches.

    Raises `UserError` where a micro-batch of one row is too much.
    """
    while True:
        found, trouble = _tried(attempt)
        failed = job.world.any(trouble is not None)
        if found is not None and not failed:
            return found
        _use_less(job, rows, trouble or "another process ran out of memory")


def _tried(attempt: Callable[[], torch.Tensor]) -> tuple[torch.Tensor | None, str | None]:
    """What it found, or a message where memory ran out."""
    try:
        return attempt(), None
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return None, first_line(error)


def _use_less(job: Training, rows: Sequence[TokenRow], message: str) -> None:
    """Halves the micro-batches; where they are single rows already, recomputes activations, which
    only a step keeps."""
    job.optimizer.zero_grad()
    if job.graphs:
        job.graphs.forget()
    if job.device.type == "cuda":
        torch.cuda.empty_cache()
    longest = max(row.inputs for row in rows)
    if job.layout.budget > max(_SMALLEST_BUDGET, longest // 2):
        job.layout.budget = job.state.budget = job.layout.budget // 2
        print(f"out of memory: going on with micro-batches of {job.layout.budget} tokens")
    elif (
        torch.is_grad_enabled()
        and job.preset.gradient_checkpointing == "auto"
        and not job.state.recompute
    ):
        job.state.recompute = True
        job.graphs = None
        recompute_activations(job.loss.model)
        print("out of memory: going on with gradient checkpointing")
    else:
        raise UserError(
            f"out of memory with a single row of up to {longest} tokens in a micro-batch "
            f"({message}); expected room for it: lower the preset's max_length, "
            "use qlora, or use a device with more memory"
        )
