"""Are predictions as sure as they are right, and do they rank rows rightly?

Bins of confidence and the calibration error; the area under the ROC curve, which is how often a
positive row scores above a negative one.
"""

from collections.abc import Sequence
from math import sqrt
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from snaketune.statistics.intervals import LEVEL, numbered, percentiles, resampled

BINS = 10
"""Equal widths from 0 to 1; 1 itself is in the last one."""


class Bin(NamedTuple):
    """The predictions whose confidence lies in a bin."""

    n: int
    confidence: float
    """Their mean."""
    accuracy: float


def bins(confidence: Sequence[float], correct: Sequence[bool]) -> list[Bin]:
    """The bins that hold a prediction, the least sure first."""
    sure, right = np.asarray(confidence, dtype=float), np.asarray(correct, dtype=float)
    places = _bins_of(sure)
    members = [places == place for place in range(BINS)]
    return [
        Bin(int(m.sum()), float(sure[m].mean()), float(right[m].mean())) for m in members if m.any()
    ]


def calibration_error(confidence: Sequence[float], correct: Sequence[bool]) -> float | None:
    """The expected calibration error: the gap between a bin's mean confidence and its accuracy,
    weighted by its rows. None where there is no row."""
    if not len(confidence):
        return None
    gaps = (b.n * abs(b.confidence - b.accuracy) for b in bins(confidence, correct))
    return sum(gaps) / len(confidence)


def calibration_interval(
    confidence: Sequence[float], correct: Sequence[bool], clusters: Sequence[str]
) -> tuple[float, float] | None:
    """The error's 95 % percentile interval over resampled clusters (rows, where each is its own);
    None where they show no spread. The error is never below 0, so that of a well calibrated model
    lies towards the interval's lower end."""
    sure, right = np.asarray(confidence, dtype=float), np.asarray(correct, dtype=float)
    if not len(sure):
        return None
    places = numbered(clusters)
    # By cluster: the summed gaps in each bin, and the number of rows.
    columns = np.zeros((places.max() + 1, BINS + 1))
    np.add.at(columns, (places, _bins_of(sure)), sure - right)
    np.add.at(columns[:, BINS], places, 1)
    drawn = resampled(columns)
    return percentiles(np.abs(drawn[:, :BINS]).sum(1) / drawn[:, BINS])


def _bins_of(sure: np.ndarray) -> np.ndarray:
    return np.minimum((sure * BINS).astype(int), BINS - 1)


_Z = NormalDist().inv_cdf((1 + LEVEL) / 2)


def roc_auc(scores: Sequence[float], positive: Sequence[bool]) -> float | None:
    """The share of pairs of a positive and a negative row in which the positive scores higher,
    ties as half, by ranks (Mann and Whitney). None where either has no row."""
    above, below = _placements(scores, positive)
    return float(above.mean()) if len(above) and len(below) else None


def roc_interval(
    scores: Sequence[float], positive: Sequence[bool], clusters: Sequence[str] | None = None
) -> tuple[float, float] | None:
    """The 95 % interval by DeLong's variance, or where rows share `clusters` by Obuchowski's
    (Biometrics 53:567, 1997), which is the same where none do; cut to 0 and 1. None where fewer
    than two clusters are on a side, or all pairs agree, so that no spread is seen."""
    above, below = _placements(scores, positive)
    is_positive = np.asarray(positive, dtype=bool)
    places = np.arange(len(scores)) if clusters is None else numbered(clusters)
    ups, downs = places[is_positive], places[~is_positive]
    counts = len(set(ups)), len(set(downs))
    if min(counts) < 2:
        return None
    area, total = above.mean(), int(places.max()) + 1
    # What each cluster's rows are above or below the mean placement, summed.
    up = np.bincount(ups, above - area, minlength=total) / len(ups)
    down = np.bincount(downs, below - area, minlength=total) / len(downs)
    variance = sum(n / (n - 1) * (x @ x) for n, x in zip(counts, (up, down), strict=True))
    variance += 2 * total / (total - 1) * (up @ down)
    if variance <= 0:
        return None
    half = _Z * sqrt(variance)
    return float(max(0.0, area - half)), float(min(1.0, area + half))


def _placements(scores: Sequence[float], positive: Sequence[bool]) -> tuple[np.ndarray, np.ndarray]:
    """For every positive row the share of negatives below it, for every negative row the share of
    positives above it; ties are half."""
    from scipy.stats import rankdata  # takes longer to import than most measuring takes

    values, is_positive = np.asarray(scores, dtype=float), np.asarray(positive, dtype=bool)
    ours, others = values[is_positive], values[~is_positive]
    ranks = rankdata(values)
    above = (ranks[is_positive] - rankdata(ours)) / max(1, len(others))
    below = 1 - (ranks[~is_positive] - rankdata(others)) / max(1, len(ours))
    return above, below
