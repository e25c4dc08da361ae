"""Dev while the training runs: when it is scored, how, and which of its points is the best.

The score is the loss, and of short answers the accuracy too: an answer is right or wrong as a
whole, and it is known which tokens decide that, and among which. The weights of the best point and
of those to be kept lie in the work folder as candidates, until another one takes their place.

Shapes: N trained tokens of a micro-batch's rows, K tokens that may stand at one place.
"""

import json
import math
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from snaketune.config.model import Preset
from snaketune.training.adapter_layers import evaluating
from snaketune.training.batches import BatchLayout, TokenRow, rows_of_part
from snaketune.training.job import Training, within_memory
from snaketune.training.loss import SummedLoss

Tokens = tuple[int, ...]


class Answers:
    """All answers of a training, each with the token that ends its turn.

    Where one begins another (1, 10), what follows it decides which of the two it is: then the
    token that ends the turn is part of the answer, as it is when labels are scored.
    """

    def __init__(self, rows: Iterable[TokenRow], closed: bool) -> None:
        """`closed`: an answer is one of these, so that only their tokens are compared."""
        known = {_answer(row) for row in rows}
        bare = sorted({answer[:-1] for answer in known if len(answer) > 1})
        # Sorted, an answer stands right before those that it begins.
        self.ends_count = any(b[: len(a)] == a for a, b in pairwise(bare))
        self.following: dict[Tokens, list[int]] | None = _following(known) if closed else None

    def candidates(self, rows: Sequence[TokenRow]) -> torch.Tensor | None:
        """[N, K]: for each trained token of the rows the tokens that may stand there, the last one
        repeated where there are fewer; None: any token."""
        if self.following is None:
            return None
        answers = [_answer(row) for row in rows]
        found = [self.following[a[:place]] for a in answers for place in range(len(a))]
        width = max(map(len, found))
        return torch.tensor([tokens + tokens[-1:] * (width - len(tokens)) for tokens in found])

    def right(self, hits: torch.Tensor, rows: Sequence[TokenRow]) -> int:
        """Rows all of whose answer tokens are hits. `hits` [N] are those of all trained tokens; a
        row's last one ends its turn. A row that was cut may have nothing else."""
        per_row = hits.cpu().split([row.trained_tokens for row in rows])
        cut = [part if self.ends_count or len(part) == 1 else part[:-1] for part in per_row]
        return sum(bool(part.all()) for part in cut)


def _answer(row: TokenRow) -> Tokens:
    return tuple(row.targets.tolist())


def _following(known: Iterable[Tokens]) -> dict[Tokens, list[int]]:
    """By beginning of an answer: the tokens that may come next, ascending."""
    found: dict[Tokens, set[int]] = {}
    for answer in known:
        for place, token in enumerate(answer):
            found.setdefault(answer[:place], set()).add(token)
    return {start: sorted(tokens) for start, tokens in found.items()}


CANDIDATES = "candidates"
"""Of the work folder; in it lie the weights of the points that are kept, by step."""


@dataclass(frozen=True)
class DevPoint:
    """The weights after `step`, and their value of the metric."""

    step: int
    value: float


def best_point(log: list[dict], best: str) -> DevPoint | None:
    """The lowest `loss` or the highest `accuracy` on dev, the earliest of ties. None before
    the first finite value, and where nothing is to be chosen (`none`)."""
    if best == "none":
        return None
    rows = [row for row in log if math.isfinite(row.get(f"dev_{best}", math.nan))]
    points = [DevPoint(row["step"], row[f"dev_{best}"]) for row in rows]
    sign = -1 if best == "loss" else 1
    # `max` takes the first of ties, and the log is in the order of the steps.
    return max(points, key=lambda point: sign * point.value, default=None)


def kept_steps(log: list[dict], preset: Preset) -> set[int]:
    """Steps of the points that are kept: `keep` of them (one at least, where the best is to be
    chosen), the best one and then the last."""
    point = best_point(log, preset.best)
    steps = {point.step} if point else set()
    for row in reversed([row for row in log if "dev_loss" in row]):
        if len(steps) < candidates_kept(preset):
            steps.add(row["step"])
    return steps


def candidates_kept(preset: Preset) -> int:
    """How many points are kept at most."""
    return max(preset.keep, preset.best != "none")


def drop_others(folder: Path, kept: set[int]) -> None:
    """Removes the weights of all other points."""
    for old in (folder / CANDIDATES).glob("*"):
        if old.name not in {str(step) for step in kept}:
            shutil.rmtree(old)


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


def dev_scores(job: Training) -> dict[str, Any]:
    """`dev_loss`, the mean loss per trained token over all dev rows: sums are divided, batches
    never averaged. Where all answers are short, or the preset asks, `dev_accuracy` too: the share
    of rows whose every answer token, given those before it, is the likeliest one. Where the preset
    asks, answers are labels: of several tokens only those are compared that a label can go on
    with, as the eval compares labels and nothing else. Of rows of several datasets also
    `dev_losses`, the loss by each, as JSON."""
    closed = job.preset.best == "accuracy"
    accuracy = closed or _are_short(job.dev)
    answers = Answers([*job.train, *job.dev], closed) if accuracy else None
    parts = {name: [row for row in job.dev if row.part == name] for name in job.parts}
    found = {name: _summed(job, rows, answers) for name, rows in parts.items() if rows}
    found = found or {"": _summed(job, job.dev, answers)}
    loss, right = map(sum, zip(*found.values(), strict=True))
    scores: dict[str, Any] = {"dev_loss": loss / sum(row.trained_tokens for row in job.dev)}
    if parts:
        tokens = {name: sum(row.trained_tokens for row in rows) for name, rows in parts.items()}
        scores["dev_losses"] = json.dumps({k: lost / tokens[k] for k, (lost, _) in found.items()})
    return scores | {"dev_accuracy": right / len(job.dev)} if accuracy else scores


def _summed(job: Training, dev: list[TokenRow], answers: Answers | None) -> list[float]:
    """The loss over the rows, and how many are right, of all processes."""
    rows = rows_of_part(dev, job.world.rank, job.world.size)

    def lane(number: int) -> torch.Tensor:
        with torch.no_grad(), job.cast():
            part = rows_of_part(rows, number, job.lanes.count)
            return sum_scores(part, job.loss, job.layout, job.device, answers)

    with evaluating(job.model):
        found = within_memory(job, dev, lambda: torch.stack(job.lanes.run(lane)).sum(0))
    job.world.add([found])
    return found.tolist()


def sum_scores(
    rows: list[TokenRow],
    loss: SummedLoss,
    layout: BatchLayout,
    device: torch.device,
    answers: Answers | None,
) -> torch.Tensor:
    """Without gradients [2]: the loss summed over the rows' trained tokens, and the number of rows
    whose answer is right (0 without `answers`)."""
    total = torch.zeros(2, device=device)
    for part, batch in layout.batches(rows):
        batch = batch.to(device)
        if answers:
            summed, likeliest = loss.with_likeliest(batch, answers.candidates(part))
            total[1] += answers.right(likeliest == batch.targets, part)
        else:
            summed = loss(batch)
        total[0] += summed
    return total


def _are_short(rows: list[TokenRow]) -> bool:
    return all(row.trained_tokens - 1 <= _SHORT for row in rows)
