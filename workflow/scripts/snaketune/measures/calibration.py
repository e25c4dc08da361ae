"""Are predictions as sure as they are right? Bins of confidence and the calibration error."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from snaketune.measures.intervals import numbered, percentiles, resampled

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
    np.add.at(columns, (places, BINS), 1)
    drawn = resampled(columns)
    return percentiles(np.abs(drawn[:, :BINS]).sum(1) / drawn[:, BINS])


def _bins_of(sure: np.ndarray) -> np.ndarray:
    return np.minimum((sure * BINS).astype(int), BINS - 1)
