"""The training loop."""

import math
import sys
import time

import torch

from snaketune.runtime.errors import UserError
from snaketune.runtime.job import Progress
from snaketune.runtime.preemption import Preempted, preemption_signal
from snaketune.training import dev as candidates
from snaketune.training.adapter_layers import forget_sums
from snaketune.training.batches import TokenRow, rows_of_part
from snaketune.training.dev import (
    best_point,
    candidates_kept,
    dev_scores,
    drop_others,
    evaluation_steps,
    kept_steps,
)
from snaketune.training.job import Training, within_memory
from snaketune.training.saving import Timer, save_checkpoint
from snaketune.training.step import add_gradients, gradient_norm, learning_rate
from snaketune.training.tracking import Trackers
from snaketune.training.trainable import set_rate, unmoved_adapters


def take_remaining_steps(job: Training, trackers: Trackers | None = None) -> None:
    """Takes the steps that are left, with log, scores on dev, snapshots and checkpoints."""
    total, state = job.order.total_steps, job.state
    progress = Progress(total, "steps", done=state.step)
    timer = Timer(job.save_every)
    evaluations = evaluation_steps(job)
    while state.step < total:
        row = _take_step(job, state.step)
        state.step += 1
        state.log.append(row)
        scored = state.step in evaluations
        scores = _evaluate(job, row["epoch"]) if scored else {}
        if job.world.leads:
            _keep(job, timer, scored)
            if trackers:
                trackers.log(row | scores)
            rate = f"{row['tokens_per_second']:,.0f} tokens/s"
            progress.advance(1, f"loss {row['loss']:.4f}, {rate}")
        if job.world.any(preemption_signal() is not None):
            _stop(job)
    job.world.wait()


def _stop(job: Training) -> None:
    """Saves a checkpoint and ends the job, which was warned in one of its processes."""
    if job.world.leads:
        _save(job)
    job.world.wait()
    signal = preemption_signal() or "another process's warning"
    raise Preempted(f"{signal} said that the job is about to be ended; saved step {job.state.step}")


def _evaluate(job: Training, epoch: float) -> dict[str, float]:
    """Scores dev, for the log and in words."""
    scores, state, best = dev_scores(job), job.state, job.preset.best
    state.log.append({"step": state.step, "epoch": epoch, **scores})
    if job.world.leads:
        said = ", ".join(f"{name.replace('_', ' ')} {scores[name]:.4f}" for name in scores)
        point = best_point(state.log, best)
        mark = ", the best so far" if point and point.step == state.step else ""
        print(f"step {state.step}: {said}{mark}", file=sys.stderr, flush=True)
    return scores


def _save(job: Training) -> None:
    job.state.scaler = job.scaler.state_dict()
    save_checkpoint(job.folder, job.state, job.model, job.optimizer)


def _keep(job: Training, timer: Timer, scored: bool) -> None:
    """Saves what is due: snapshots, the weights that were `scored`, and a checkpoint. The
    checkpoint comes before the weights of other points go, so that none is missed after a kill."""
    step = job.state.step
    names = [f"snapshots/{name}" for name in job.snapshots.get(step, [])]
    candidate = scored and candidates_kept(job.preset) > 0
    if candidate:
        names.append(f"{candidates.CANDIDATES}/{step}")
    for name in names:
        job.save(name)
    if names or timer.due() or step == job.order.total_steps:
        started = time.monotonic()
        _save(job)
        timer.saved(started)
    if candidate:
        drop_others(job.folder, kept_steps(job.state.log, job.preset))


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


def _gradients(job: Training, step: int, rows: list[TokenRow], trained: int) -> torch.Tensor:
    """Gradients of the mean loss over all trained tokens of the step, whichever process and
    micro-batch they lie in; returns the summed loss. Where memory runs out the step is begun
    again with smaller micro-batches."""
    own = rows_of_part(rows, job.world.rank, job.world.size)

    def attempt() -> torch.Tensor:
        # Dropout follows from seed and step, so that a step can be begun again or resumed at.
        torch.manual_seed(hash((job.seed, step, job.world.rank)) % 2**63)
        return _own_gradients(job, own, trained)

    found = within_memory(job, job.train, attempt)
    job.world.add([p.grad for p in job.parameters])
    job.world.add([found])
    return found


def _own_gradients(job: Training, rows: list[TokenRow], trained: int) -> torch.Tensor:
    """This process's part of the summed loss, and of the gradients, which become the
    parameters'."""
    scale = job.scaler.get_scale() / trained
    sums = [[torch.zeros_like(p) for p in job.parameters] for _ in range(job.lanes.count)]
    for parameter, gradient in zip(job.parameters, sums[0], strict=True):
        parameter.grad = gradient

    def lane(number: int) -> torch.Tensor:
        part = rows_of_part(rows, number, job.lanes.count)
        # One lane's gradients are added up by autograd itself, which so holds one parameter's
        # at a time. Lanes side by side need sums of their own.
        into = (job.parameters, sums[number]) if job.lanes.count > 1 else None
        with job.cast():
            return add_gradients(part, job.loss, job.layout, job.device, scale, into)

    found = torch.stack(job.lanes.run(lane)).sum()
    # The first lane's sums take the others', always in the same order.
    for other in sums[1:]:
        torch._foreach_add_(sums[0], other)
    return found


def _update(job: Training, rate: float) -> float:
    """Clips, steps, and returns the gradients' norm before the clipping."""
    set_rate(job.optimizer, rate)
    job.scaler.unscale_(job.optimizer)
    norm = float(gradient_norm(job.parameters, job.preset.max_grad_norm))
    if math.isfinite(norm):
        job.scaler.step(job.optimizer)
        forget_sums(job.model)
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


def _check_moved(job: Training) -> None:
    """After the first step that was taken."""
    still = unmoved_adapters(job.model)
    if still:
        raise UserError(
            f"preset: lora.targets: after the first step {len(still)} adapter weights have not "
            f"moved, first {still[0]}: those layers take no part in the loss; expected targets "
            "that do"
        )


def _tried(job: Training) -> str:
    if not job.scaler.is_enabled():
        return ""
    return f" (steps left out: {job.state.skipped}, the loss scaled by {job.scaler.get_scale():g})"


def _not_finite(job: Training, step: int, rows: list[TokenRow], loss: float, norm: float) -> str:
    ids = ", ".join(row.id for row in rows)
    return (
        f"step {step + 1}: loss {loss}, gradient norm {norm}, expected finite numbers"
        f"{_tried(job)}; rows of the step: {ids}. The last good checkpoint (step {job.state.step} "
        f"or earlier) is kept in {job.folder}. A lower learning_rate or dtype float32 may help"
    )
