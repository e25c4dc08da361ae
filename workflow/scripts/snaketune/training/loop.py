"""The loop of a training: steps, and what comes between them.

One optimiser step in three files: here (when what happens) → `step.py` (the rows of a step → new
weights) → `loss.py` (a micro-batch → its summed loss). After a step come, where they are due:
scores on dev, snapshots and the weights that were scored, a checkpoint, and the end of a job that
was preempted.
"""

import sys
import time

from snaketune.runtime.job import Preempted, Progress, preemption_signal
from snaketune.training.dev import (
    CANDIDATES,
    best_point,
    candidates_kept,
    dev_scores,
    drop_others,
    evaluation_steps,
    kept_steps,
)
from snaketune.training.job import Training
from snaketune.training.saving import Timer, save_checkpoint
from snaketune.training.step import take_step
from snaketune.training.tracking import Trackers


def take_remaining_steps(job: Training, trackers: Trackers | None = None) -> None:
    """Takes the steps that are left, with log, scores on dev, snapshots and checkpoints."""
    total, state = job.order.total_steps, job.state
    progress = Progress(total, "steps", done=state.step)
    timer = Timer(job.save_every)
    evaluations = evaluation_steps(job)
    while state.step < total:
        row = take_step(job, state.step)
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
        names.append(f"{CANDIDATES}/{step}")
    for name in names:
        job.save(name)
    if names or timer.due() or step == job.order.total_steps:
        started = time.monotonic()
        _save(job)
        timer.saved(started)
    if candidate:
        drop_others(job.folder, kept_steps(job.state.log, job.preset))
