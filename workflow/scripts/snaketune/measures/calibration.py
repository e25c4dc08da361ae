"""Are predictions as sure as they are right? Bins of confidence and the calibration error."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

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
    places = np.minimum((sure * BINS).astype(int), BINS - 1)
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
