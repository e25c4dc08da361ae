"""One optimiser step of a training: the rows of an effective batch → gradients → new weights. What
a micro-batch's loss is, `loss.py` says; what comes between steps, `loop.py`.

The loss of a step is the mean over all its trained tokens, whichever process, lane or micro-batch
they lie in. So every part adds up gradients of (its summed loss) / (trained tokens of the whole
step), and parts are summed, never averaged: how the rows are cut changes nothing but rounding.

    rows of the step ─ processes (World) ─ lanes (CPU threads) ─ micro-batches ─ SummedLoss

What it costs: with P numbers in the model and T tokens of the micro-batches (padding included)
about 2 P T operations forward and 2 P T for the gradients of what the layers read; 2 P T more for
gradients of weights only under method full (an adapter's are small beside them), and another
forward pass with gradient checkpointing. Norm, clipping and update touch trained numbers alone.
"""

import math
import sys
import time
from typing import Any

import torch
from torch import nn

from snaketune.models.finite import not_finite
from snaketune.runtime.errors import UserError
from snaketune.training.adapter_layers import renew_sums
from snaketune.training.batches import TokenRow, rows_of_part
from snaketune.training.job import Training, within_memory
from snaketune.training.trainable import unmoved_adapters


def take_step(job: Training, step: int) -> dict[str, Any]:
    """Takes the step (counted from 0); returns its row of the log."""
    started = time.monotonic()
    rows = [job.train[i] for i in job.order.window(step)]
    trained = sum(row.trained_tokens for row in rows)
    preset = job.preset
    rate = learning_rate(
        step, job.order.total_steps, preset.learning_rate, preset.schedule, preset.warmup_ratio
    )
    summed = _gradients(job, step, rows, trained)
    mean = float(summed) / trained
    norm = _update(job, rate)
    _check_finite(job, step, rows, mean, norm)
    if math.isfinite(norm) and step == job.state.skipped:
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


def _gradients(job: Training, step: int, rows: list[TokenRow], trained: int) -> torch.Tensor:
    """Gradients of the mean loss over all trained tokens of the step, whichever process and
    micro-batch they lie in; returns the summed loss []. Where memory runs out the step is begun
    again with smaller micro-batches."""
    own = rows_of_part(rows, job.world.rank, job.world.size)

    def attempt() -> torch.Tensor:
        # Dropout follows from seed and step, so that a step can be begun again or resumed at.
        torch.manual_seed(hash((job.seed, step, job.world.rank)) % 2**63)
        return _own_gradients(job, own, trained)

    found = within_memory(job, job.train, attempt)
    job.world.add([p.grad for p in job.parameters if p.grad is not None])
    job.world.add([found])
    return found


def _own_gradients(job: Training, rows: list[TokenRow], trained: int) -> torch.Tensor:
    """This process's part of the summed loss [], and of the gradients, which become the
    parameters'."""
    scale = job.scaler.get_scale() / trained
    # A copy of what is trained for each lane, so that sums are taken in one order, always.
    if job.graphs:
        sums = [job.graphs.begin()]
    else:
        sums = [[torch.zeros_like(p) for p in job.parameters] for _ in range(job.lanes.count)]
    for parameter, gradient in zip(job.parameters, sums[0], strict=True):
        parameter.grad = gradient

    def lane(number: int) -> torch.Tensor:
        part = rows_of_part(rows, number, job.lanes.count)
        # One lane's gradients are added up by autograd itself, which so holds one parameter's
        # at a time. Lanes side by side need sums of their own.
        into = sums[number] if job.lanes.count > 1 else None
        with job.cast():
            return _add_gradients(job, part, scale, into)

    found = torch.stack(job.lanes.run(lane)).sum()
    # The first lane's sums take the others', always in the same order.
    for other in sums[1:]:
        torch._foreach_add_(sums[0], other)
    return found


def _add_gradients(
    job: Training, rows: list[TokenRow], scale: float, into: list[torch.Tensor] | None
) -> torch.Tensor:
    """The loss [] summed over the rows' trained tokens, one micro-batch's graph at a time; adds
    the gradients of `scale` × that sum to the parameters' own, or to the tensors in `into`."""
    total = torch.zeros((), device=job.device)
    for _, batch in job.layout.batches(rows):
        if job.graphs:
            total += job.graphs.add(batch, scale)
            continue
        part = job.loss(batch.to(job.device))
        if into is None:
            (part * scale).backward()
        else:
            _add_apart(part * scale, job.parameters, into)
        total += part.detach()
    return total


def _add_apart(
    loss: torch.Tensor, parameters: list[nn.Parameter], sums: list[torch.Tensor]
) -> None:
    found = torch.autograd.grad(loss, parameters, allow_unused=True)
    pairs = [(g, f) for g, f in zip(sums, found, strict=True) if f is not None]
    torch._foreach_add_([g for g, _ in pairs], [f for _, f in pairs])


def _update(job: Training, rate: float) -> float:
    """Clips, steps, and returns the gradients' norm before the clipping."""
    for group in job.optimizer.param_groups:
        group["lr"] = rate
    job.scaler.unscale_(job.optimizer)
    limit = job.preset.max_grad_norm
    norm = float(torch.nn.utils.clip_grad_norm_(job.parameters, limit, foreach=True))
    if math.isfinite(norm):
        job.scaler.step(job.optimizer)
        renew_sums(job.model)
    job.scaler.update()
    job.optimizer.zero_grad()
    return norm


def _check_finite(job: Training, step: int, rows: list[TokenRow], loss: float, norm: float) -> None:
    """Ends a training whose numbers are none. In float16 gradients that overflow are no fault as
    long as a smaller scale may mend them: the step is left out, counted and said."""
    if math.isfinite(loss) and math.isfinite(norm):
        return
    job.state.skipped += 1
    scale, taken = job.scaler.get_scale(), step + 1 - job.state.skipped
    hopeless = scale < 1 or (step + 1 == job.order.total_steps and not taken)
    if not math.isfinite(loss) or not job.scaler.is_enabled() or hopeless:
        raise UserError(_not_finite(job, step, rows, loss, norm))
    if job.world.leads:
        said = f"step {step + 1}: gradients overflow float16: the step is left out"
        print(f"{said}, the loss is scaled by {scale:g} from now on", file=sys.stderr, flush=True)


def _not_finite(job: Training, step: int, rows: list[TokenRow], loss: float, norm: float) -> str:
    ids = ", ".join(row.id for row in rows)
    tried = (
        f" (steps left out: {job.state.skipped}, the loss scaled by {job.scaler.get_scale():g})"
        if job.scaler.is_enabled()
        else ""
    )
    where = "" if math.isfinite(loss) else f", {_where(job, rows)}"
    return (
        f"step {step + 1}: loss {loss}, gradient norm {norm}{where}, expected finite numbers"
        f"{tried}; rows of the step: {ids}. The last good checkpoint (step {job.state.step} "
        f"or earlier) is kept in {job.folder}. A lower learning_rate or dtype float32 may help"
    )


def _where(job: Training, rows: list[TokenRow]) -> str:
    """The layer in which the step's numbers stop being finite."""

    def again() -> None:
        with job.cast():
            for _, batch in job.layout.batches(rows):
                job.loss(batch.to(job.device))

    return not_finite(job.loss.model, again)


def _check_moved(job: Training) -> None:
    """After the first step that was taken."""
    still = unmoved_adapters(job.model)
    if still:
        raise UserError(
            f"preset: lora.targets: after the first step {len(still)} adapter weights have not "
            f"moved, first {still[0]}: those layers take no part in the loss; expected targets "
            "that do"
        )
