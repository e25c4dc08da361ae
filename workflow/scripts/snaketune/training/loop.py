"""The loop of a training. After a step come, where they are due: scores on dev, snapshots and the
weights that were scored, a checkpoint, and the end of a job that was preempted.

A checkpoint may lie between a step and its scores, as one is made before a long evaluation: a
training that goes on from there begins with the scores.
"""

import json
import sys
import time
from typing import Any

from snaketune.runtime.job import Preempted, Progress, preemption_reason, preemption_signal
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
from snaketune.training.saving import Checkpoints
from snaketune.training.step import take_step
from snaketune.training.tracking import Trackers

LONG = 30.0
"""Seconds of an evaluation from which on a checkpoint is made before it."""


def take_remaining_steps(job: Training, trackers: Trackers | None = None) -> None:
    """Takes the steps that are left, with log, scores on dev, snapshots and checkpoints."""
    loop = _Loop(job, trackers)
    try:
        loop.run()
    finally:
        loop.checkpoints.close()
    job.world.wait()


class _Loop:
    def __init__(self, job: Training, trackers: Trackers | None) -> None:
        self.job, self.trackers = job, trackers
        self.checkpoints = Checkpoints(job.folder, job.save_every)
        self.evaluations = set(evaluation_steps(job))
        self.seconds_of_one: float | None = None
        """What the last evaluation took."""
        state = job.state
        self.unscored = bool(
            state.step in self.evaluations and state.log and "tokens_per_second" in state.log[-1]
        )
        """Whether the checkpoint lies before the scores of its step."""
        done = state.step - self.unscored
        self.progress = Progress(job.order.total_steps, "steps", done=done)

    def run(self) -> None:
        job = self.job
        if self.unscored:
            self._after_step(job.state.log[-1])
        while job.state.step < job.order.total_steps:
            row = take_step(job, job.state.step)
            job.state.step += 1
            job.state.log.append(row)
            self._after_step(row)

    def _after_step(self, row: dict[str, Any]) -> None:
        job, scores = self.job, {}
        scored = job.state.step in self.evaluations
        if scored:
            if job.world.leads and self._may_be_long(row):
                self._save()
            scores = self._evaluate(row["epoch"])
        if job.world.leads:
            self._keep(scored)
            if self.trackers:
                self.trackers.log(row | scores)
            rate = f"{row['tokens_per_second']:,.0f} tokens/s"
            self.progress.advance(1, f"loss {row['loss']:.4f}, {rate}")
        if job.world.any(preemption_signal() is not None):
            self._stop()

    def _may_be_long(self, row: dict[str, Any]) -> bool:
        """Whether an evaluation takes long, by the last one; before the first by dev's tokens at
        the rate of training, which is slower. Nothing is saved twice within so short a time."""
        seconds = self.seconds_of_one
        if seconds is None:
            tokens = sum(len(row.input_ids) for row in self.job.dev)
            seconds = tokens / row["tokens_per_second"]
        return min(seconds, self.checkpoints.age) >= LONG

    def _evaluate(self, epoch: float) -> dict[str, Any]:
        """Scores dev, for the log and in words."""
        started, job = time.monotonic(), self.job
        scores, state, best = dev_scores(job), job.state, job.preset.best
        self.seconds_of_one = time.monotonic() - started
        state.log.append({"step": state.step, "epoch": epoch, **scores})
        if job.world.leads:
            shown = {name: value for name, value in scores.items() if isinstance(value, float)}
            shown |= {f"of {k}": v for k, v in json.loads(scores.get("dev_losses", "{}")).items()}
            said = ", ".join(
                f"{name.replace('_', ' ')} {value:.4f}" for name, value in shown.items()
            )
            point = best_point(state.log, best)
            mark = ", the best so far" if point and point.step == state.step else ""
            print(f"step {state.step}: {said}{mark}", file=sys.stderr, flush=True)
        return scores

    def _save(self, aside: bool = True) -> None:
        job = self.job
        job.state.scaler = job.scaler.state_dict()
        self.checkpoints.save(job.state, job.model, job.optimizer, aside)

    def _keep(self, scored: bool) -> None:
        """Saves what is due: snapshots, the weights that were `scored`, and a checkpoint. The
        checkpoint comes before the weights of other points go, so that none is missed after a
        kill."""
        job = self.job
        step = job.state.step
        names = [f"snapshots/{name}" for name in job.snapshots.get(step, [])]
        candidate = scored and candidates_kept(job.preset) > 0
        if candidate:
            names.append(f"{CANDIDATES}/{step}")
        for name in names:
            job.save(name)
        last = step == job.order.total_steps
        if names or last or self.checkpoints.due():
            self._save(aside=not (candidate or last))
        if candidate:
            drop_others(job.folder, kept_steps(job.state.log, job.preset))

    def _stop(self) -> None:
        """Saves a checkpoint and ends the job, which was warned in one of its processes."""
        job = self.job
        if job.world.leads:
            self._save(aside=False)
        job.world.wait()
        raise Preempted(f"{preemption_reason()}; saved step {job.state.step}")
