"""The area under the ROC curve: how often a positive row scores above a negative one."""

from collections.abc import Sequence
from math import sqrt
from statistics import NormalDist

import numpy as np
from scipy.stats import rankdata

from snaketune.measures.intervals import LEVEL

_Z = NormalDist().inv_cdf((1 + LEVEL) / 2)


def roc_auc(scores: Sequence[float], positive: Sequence[bool]) -> float | None:
    """The share of pairs of a positive and a negative row in which the positive scores higher,
    ties as half, by ranks (Mann and Whitney). None where either has no row."""
    above, below = _placements(scores, positive)
    return float(above.mean()) if len(above) and len(below) else None


def roc_interval(scores: Sequence[float], positive: Sequence[bool]) -> tuple[float, float] | None:
    """The 95 % interval by DeLong's variance, cut to 0 and 1; None where fewer than two rows are
    on a side, or all pairs agree, so that no spread is seen."""
    above, below = _placements(scores, positive)
    if min(len(above), len(below)) < 2:
        return None
    variance = above.var(ddof=1) / len(above) + below.var(ddof=1) / len(below)
    if variance == 0:
        return None
    area, half = above.mean(), _Z * sqrt(variance)
    return float(max(0.0, area - half)), float(min(1.0, area + half))


def _placements(scores: Sequence[float], positive: Sequence[bool]) -> tuple[np.ndarray, np.ndarray]:
    """For every positive row the share of negatives below it, for every negative row the share of
    positives above it; ties are half."""
    values, is_positive = np.asarray(scores, dtype=float), np.asarray(positive, dtype=bool)
    ours, others = values[is_positive], values[~is_positive]
    ranks = rankdata(values)
    above = (ranks[is_positive] - rankdata(ours)) / max(1, len(others))
    below = 1 - (ranks[~is_positive] - rankdata(others)) / max(1, len(ours))
    return above, below
