"""Learning rates over the steps."""

import math


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
