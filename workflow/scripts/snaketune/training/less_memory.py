"""What a training does where memory runs out: the same, in smaller parts."""

from collections.abc import Callable, Sequence

import torch
from transformers import PreTrainedModel

from snaketune.runtime.errors import UserError, first_line, is_out_of_memory
from snaketune.training.batch import TokenRow
from snaketune.training.job import Training

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
        if not job.world.any(trouble is not None):
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
        recompute_activations(job.loss.model)
        print("out of memory: going on with gradient checkpointing")
    else:
        raise UserError(
            f"out of memory with a single row of up to {longest} tokens in a micro-batch "
            f"({message}); expected room for it: lower the preset's max_length, "
            "use qlora, or use a device with more memory"
        )


def recompute_activations(causal: PreTrainedModel) -> None:
    """Gradient checkpointing; the re-entrant kind would cut adapters off from their gradients."""
    causal.activation_checkpointing_enable({"use_reentrant": False})
