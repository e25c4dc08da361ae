"""The training loop."""

import contextlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from transformers import PreTrainedModel

from snaketune.config.preset import Preset
from snaketune.errors import UserError
from snaketune.progress import Progress
from snaketune.training.adapter_layers import evaluating, forget_sums
from snaketune.training.batch import TokenRow
from snaketune.training.batching import Order
from snaketune.training.checkpoint import State, Timer, save_checkpoint
from snaketune.training.lanes import Lanes
from snaketune.training.loss import SummedLoss
from snaketune.training.memory import is_out_of_memory
from snaketune.training.optimizers import set_rate
from snaketune.training.schedules import learning_rate
from snaketune.training.step import (
    Layout,
    add_gradients,
    autocast,
    gradient_norm,
    share_of,
    summed_loss,
)
from snaketune.training.trainable import unmoved_adapters
from snaketune.training.world import World

_SMALLEST_BUDGET = 64


@dataclass
class Training:
    """Everything that the loop needs; `state` is where it stands."""

    model: nn.Module
    loss: SummedLoss
    optimizer: torch.optim.Optimizer
    layout: Layout
    order: Order
    train: list[TokenRow]
    dev: list[TokenRow]
    preset: Preset
    seed: int
    device: torch.device
    dtype: torch.dtype
    world: World
    lanes: Lanes
    state: State
    folder: Path
    """Where checkpoints go."""
    snapshots: dict[int, list[str]]
    """Steps after which snapshots are saved, and their names."""
    save_snapshot: Callable[[str], None]
    save_every: float
    """Seconds between checkpoints at least; 0: one after every step."""

    def __post_init__(self) -> None:
        self.parameters = [p for p in self.model.parameters() if p.requires_grad]
        half = self.dtype is torch.float16 and self.device.type == "cuda"
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=half)
        self.whole = self.preset.method == "full"


def train(job: Training) -> None:
    """Takes the steps that are left, with log, evaluations on dev, snapshots and checkpoints."""
    total, state = job.order.total_steps, job.state
    progress = Progress(total, "steps", done=state.step)
    timer = Timer(job.save_every)
    evaluations = evaluation_steps(job)
    while state.step < total:
        row = _take_step(job, state.step)
        state.step += 1
        state.log.append(row)
        if state.step in evaluations:
            state.log.append({"step": state.step, "epoch": row["epoch"], "dev_loss": dev_loss(job)})
        if job.world.leads:
            _keep(job, timer)
            rate = f"{row['tokens_per_second']:,.0f} tokens/s"
            progress.advance(1, f"loss {row['loss']:.4f}, {rate}")
    job.world.wait()


def _keep(job: Training, timer: Timer) -> None:
    """Saves the snapshots that are due, and a checkpoint where one is."""
    names = job.snapshots.get(job.state.step, [])
    for name in names:
        job.save_snapshot(name)
    if names or timer.due() or job.state.step == job.order.total_steps:
        started = time.monotonic()
        save_checkpoint(job.folder, job.state, job.model, job.optimizer)
        timer.saved(started)


def evaluation_steps(job: Training) -> set[int]:
    """Steps after which the dev loss is taken: `eval_per_epoch` times an epoch, and at the end."""
    times, per_epoch = job.preset.eval_per_epoch, job.order.steps_per_epoch
    if not times or not job.dev:
        return set()
    total = job.order.total_steps
    count = math.ceil(times * total / per_epoch)
    return {min(total, math.ceil(k * per_epoch / times)) for k in range(1, count + 1)} | {total}


def dev_loss(job: Training) -> float:
    """Mean loss per trained token over all dev rows: sums are divided, batches never averaged."""
    rows = share_of(job.dev, job.world.rank, job.world.size)

    def lane(number: int) -> torch.Tensor:
        with torch.no_grad(), _cast(job):
            part = share_of(rows, number, job.lanes.count)
            return summed_loss(part, job.loss, job.layout, job.device)

    with evaluating(job.model):
        found = torch.stack(job.lanes.run(lane)).sum()
    job.world.add([found])
    return float(found) / sum(row.trained_tokens for row in job.dev)


def _take_step(job: Training, step: int) -> dict:
    """One step; returns its row of the log."""
    started = time.monotonic()
    rows = [job.train[i] for i in job.order.window(step)]
    trained = sum(row.trained_tokens for row in rows)
    rate = learning_rate(
        step,
        job.order.total_steps,
        job.preset.learning_rate,
        job.preset.schedule,
        job.preset.warmup_ratio,
    )
    summed = _gradients(job, step, rows, trained)
    mean = float(summed) / trained
    norm = _update(job, rate)
    if not math.isfinite(mean) or not (math.isfinite(norm) or job.scaler.is_enabled()):
        raise UserError(_not_finite(job, step, rows, mean, norm))
    if step == 0 and not job.scaler.is_enabled():
        _check_moved(job)
    seconds = time.monotonic() - started
    job.state.seconds += seconds
    tokens = sum(len(row.input_ids) for row in rows)
    return {
        "step": step + 1,
        "epoch": job.order.epoch_after(step),
        "loss": mean,
        "learning_rate": rate,
        "grad_norm": norm,
        "tokens": tokens,
        "trained_tokens": trained,
        "seconds": seconds,
        "tokens_per_second": tokens / seconds,
    }


def _gradients(job: Training, step: int, rows: list[TokenRow], trained: int) -> torch.Tensor:
    """Gradients of the mean loss over all trained tokens of the step, whichever process and
    micro-batch they lie in; returns the summed loss. Where memory runs out the step is begun
    again with smaller micro-batches."""
    own = share_of(rows, job.world.rank, job.world.size)
    while True:
        # Dropout follows from seed and step, so that a step can be begun again or resumed at.
        torch.manual_seed(hash((job.seed, step, job.world.rank)) % 2**63)
        found, trouble = _try_gradients(job, own, trained)
        if not job.world.any(trouble is not None):
            break
        _use_less_memory(job, trouble or "another process ran out of memory")
    job.world.add([p.grad for p in job.parameters])
    job.world.add([found])
    return found


def _try_gradients(
    job: Training, rows: list[TokenRow], trained: int
) -> tuple[torch.Tensor, str | None]:
    """This process's part of the summed loss, and of the gradients, which become the parameters';
    a message where memory ran out."""
    scale = job.scaler.get_scale() / trained
    try:
        sums = [[torch.zeros_like(p) for p in job.parameters] for _ in range(job.lanes.count)]

        def lane(number: int) -> torch.Tensor:
            part = share_of(rows, number, job.lanes.count)
            to_add = (part, job.loss, job.layout, job.device, scale, sums[number], job.parameters)
            with _cast(job):
                return add_gradients(*to_add)

        found = torch.stack(job.lanes.run(lane)).sum()
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        return torch.zeros((), device=job.device), str(error)
    # The first lane's sums take the others', always in the same order.
    for other in sums[1:]:
        torch._foreach_add_(sums[0], other)
    for parameter, gradient in zip(job.parameters, sums[0], strict=True):
        parameter.grad = gradient
    return found, None


def _update(job: Training, rate: float) -> float:
    """Clips, steps, and returns the gradients' norm before the clipping."""
    set_rate(job.optimizer, rate)
    job.scaler.unscale_(job.optimizer)
    norm = float(gradient_norm(job.parameters, job.preset.max_grad_norm))
    if math.isfinite(norm):
        job.scaler.step(job.optimizer)
        forget_sums(job.model)
    job.scaler.update()
    return norm


def _use_less_memory(job: Training, message: str) -> None:
    """Halves the micro-batches; where they are single rows already, recomputes activations."""
    if job.device.type == "cuda":
        torch.cuda.empty_cache()
    longest = max(row.inputs for row in job.train)
    if job.layout.budget > max(_SMALLEST_BUDGET, longest // 2):
        job.layout.budget = job.state.budget = job.layout.budget // 2
        print(f"out of memory: going on with micro-batches of {job.layout.budget} tokens")
    elif job.preset.gradient_checkpointing == "auto" and not job.state.recompute:
        job.state.recompute = True
        recompute_activations(job.loss.model)
        print("out of memory: going on with gradient checkpointing")
    else:
        raise UserError(
            f"out of memory with a single row of up to {longest} tokens in a micro-batch "
            f"({message.splitlines()[0]}); expected room for it: lower the preset's max_length, "
            "use qlora, or use a device with more memory"
        )


def recompute_activations(causal: PreTrainedModel) -> None:
    """Gradient checkpointing; the re-entrant kind would cut adapters off from their gradients."""
    causal.activation_checkpointing_enable({"use_reentrant": False})


def _check_moved(job: Training) -> None:
    still = unmoved_adapters(job.model)
    if still:
        raise UserError(
            f"preset: lora.targets: after the first step {len(still)} adapter weights have not "
            f"moved, first {still[0]}: those layers take no part in the loss; expected targets "
            "that do"
        )


def _not_finite(job: Training, step: int, rows: list[TokenRow], loss: float, norm: float) -> str:
    ids = ", ".join(row.id for row in rows)
    return (
        f"step {step + 1}: loss {loss}, gradient norm {norm}, expected finite numbers; rows of the "
        f"step: {ids}. The last good checkpoint (step {job.state.step} or earlier) is kept in "
        f"{job.folder}. A lower learning_rate or dtype float32 may help"
    )


def _cast(job: Training) -> contextlib.AbstractContextManager:
    return autocast(job.dtype, job.device, job.whole)
