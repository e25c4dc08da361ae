"""Points of a training at which dev was scored: which is the best, and which are kept."""

import math
import shutil
from dataclasses import dataclass
from pathlib import Path

from snaketune.config.preset import Preset

FOLDER = "candidates"
"""Of the work folder; in it lie the weights of the points that are kept, by step."""


@dataclass(frozen=True)
class DevPoint:
    """The weights after `step`, and their value of the metric."""

    step: int
    value: float


def best_point(log: list[dict], best: str) -> DevPoint | None:
    """The lowest `loss` or the highest `accuracy` on dev; of equal ones the earliest. None before
    the first finite value, and where nothing is to be chosen (`none`)."""
    if best == "none":
        return None
    rows = [row for row in log if math.isfinite(row.get(f"dev_{best}", math.nan))]
    points = [DevPoint(row["step"], row[f"dev_{best}"]) for row in rows]
    sign = -1 if best == "loss" else 1
    # `max` takes the first of equal ones, and the log is in the order of the steps.
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
    for old in (folder / FOLDER).glob("*"):
        if old.name not in {str(step) for step in kept}:
            shutil.rmtree(old)
