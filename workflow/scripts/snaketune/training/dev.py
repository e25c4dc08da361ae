"""Scores on the dev split while the training runs: the loss, and of short answers the accuracy."""

import math

import torch

from snaketune.training.adapter_layers import evaluating
from snaketune.training.answers import Answers
from snaketune.training.batch import TokenRow
from snaketune.training.job import Training
from snaketune.training.less_memory import within_memory
from snaketune.training.step import rows_of_part, sum_scores

_SHORT = 8
"""Tokens of an answer that is right or wrong as a whole: a label, a letter, a number."""


def evaluation_steps(job: Training) -> set[int]:
    """Steps after which dev is scored: `eval_per_epoch` times an epoch, and at the end."""
    times, per_epoch = job.preset.eval_per_epoch, job.order.steps_per_epoch
    if not times or not job.dev:
        return set()
    total = job.order.total_steps
    count = math.ceil(times * total / per_epoch)
    return {min(total, math.ceil(k * per_epoch / times)) for k in range(1, count + 1)} | {total}


def dev_scores(job: Training) -> dict[str, float]:
    """`dev_loss`, the mean loss per trained token over all dev rows: sums are divided, batches
    never averaged. Where all answers are short, or the preset asks, `dev_accuracy` too: the share
    of rows whose every answer token, given those before it, is the likeliest one. Where the preset
    asks, answers are labels: of several tokens only those are compared that a label can go on
    with, as the eval compares labels and nothing else."""
    closed = job.preset.best == "accuracy"
    accuracy = closed or _are_short(job.dev)
    answers = Answers([*job.train, *job.dev], closed) if accuracy else None
    rows = rows_of_part(job.dev, job.world.rank, job.world.size)

    def lane(number: int) -> torch.Tensor:
        with torch.no_grad(), job.cast():
            part = rows_of_part(rows, number, job.lanes.count)
            return sum_scores(part, job.loss, job.layout, job.device, answers)

    with evaluating(job.model):
        found = within_memory(job, job.dev, lambda: torch.stack(job.lanes.run(lane)).sum(0))
    job.world.add([found])
    loss, right = found.tolist()
    scores = {"dev_loss": loss / sum(row.trained_tokens for row in job.dev)}
    return scores | {"dev_accuracy": right / len(job.dev)} if accuracy else scores


def _are_short(rows: list[TokenRow]) -> bool:
    return all(row.trained_tokens - 1 <= _SHORT for row in rows)
