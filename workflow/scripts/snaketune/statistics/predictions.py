"""Numbers of predicted classes: how right they are, how sure, and how well they rank.

What follows from confusion counts alone comes first. `counts` has a row a gold label and a column a
predicted one, and last the column of the unparsed. Leading axes are many tables at once, so that
the bootstrap draws tables instead of rows: resampled rows fall into the cells as a multinomial with
the cells' shares. What is undefined is NaN here. Then bins of confidence and the calibration error,
and the area under the ROC curve, which is how often a positive row scores above a negative one.
"""

from collections.abc import Callable, Iterator, Sequence
from math import sqrt
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from snaketune.statistics.intervals import LEVEL, RESAMPLES, SEED, numbered, percentiles, resampled

Counts = np.ndarray
Statistic = Callable[[Counts], np.ndarray]
"""A number a table."""


def confusion(
    labels: Sequence[str], gold: Sequence[str], predicted: Sequence[str | None]
) -> Counts:
    """The counts of pairs; None is unparsed."""
    return by_cluster(labels, gold, predicted, [""] * len(gold)).sum(0)


def by_cluster(
    labels: Sequence[str],
    gold: Sequence[str],
    predicted: Sequence[str | None],
    clusters: Sequence[str],
) -> Counts:
    """[c, rows, columns]: the counts of each cluster."""
    places = {label: i for i, label in enumerate(labels)}
    counts = np.zeros((len(set(clusters)), len(labels), len(labels) + 1), dtype=np.int64)
    for cluster, was, found in zip(numbered(clusters), gold, predicted, strict=True):
        counts[cluster, places[was], len(labels) if found is None else places[found]] += 1
    return counts


def hits(counts: Counts) -> np.ndarray:
    """Right predictions of each label."""
    return np.diagonal(counts, axis1=-2, axis2=-1)


def recalls(counts: Counts) -> np.ndarray:
    """Of the rows of a label, the share that was predicted as it."""
    return _ratio(hits(counts), counts.sum(-1))


def f1s(counts: Counts) -> np.ndarray:
    """The harmonic mean of precision and recall of each label: 0 where a label has rows or
    predictions but no hit, undefined where it has neither."""
    return _ratio(2 * hits(counts), counts.sum(-1) + counts[..., :-1].sum(-2))


def balanced_accuracy(counts: Counts) -> np.ndarray:
    """The mean recall of the labels that have rows."""
    return _mean(recalls(counts))


def macro_f1(counts: Counts) -> np.ndarray:
    """The mean F1 of the labels that have one."""
    return _mean(f1s(counts))


def kappa(counts: Counts) -> np.ndarray:
    """Cohen's: agreement beyond what two raters with these shares reach by chance; undefined where
    chance would always agree. Of two raters who both always gave a label."""
    table = counts[..., :-1]
    total = table.sum((-1, -2))
    agreed = _ratio(hits(table).sum(-1), total)
    sides = [table.sum(-1), table.sum(-2)]
    shares = [_ratio(x, np.broadcast_to(total[..., None], x.shape)) for x in sides]
    chance = (shares[0] * shares[1]).sum(-1)
    return _ratio(agreed - chance, 1 - chance)


def redrawn(counts: Counts, seed: int = SEED) -> Counts | None:
    """[RESAMPLES, rows, columns]: tables of resampled rows, or of resampled clusters where `counts`
    are those of each (`by_cluster`); None where there is no row."""
    n = int(counts.sum())
    if n == 0:
        return None
    if counts.ndim == 2:
        drawn = np.random.default_rng(seed).multinomial(n, counts.ravel() / n, size=RESAMPLES)
    else:
        drawn = resampled(counts.reshape(len(counts), -1), seed)
    return drawn.reshape(-1, *counts.shape[-2:])


def bootstrap(drawn: Counts | None, statistic: Statistic) -> tuple[float, float] | None:
    """The 95 % percentile interval of `statistic` over tables that were `redrawn`; None where they
    show no spread."""
    if drawn is None:
        return None
    values = statistic(drawn)
    return percentiles(values[~np.isnan(values)])


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    nothing = np.full(below.shape, np.nan)
    return np.divide(above, below, out=nothing, where=below > 0)


def _mean(values: np.ndarray) -> np.ndarray:
    """Over the last axis, of what is defined."""
    known = ~np.isnan(values)
    return _ratio(np.where(known, values, 0).sum(-1), known.sum(-1))


BINS = 10
"""Equal widths from 0 to 1; 1 itself is in the last one."""
DRAWS = 4000


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
    """The error's 95 % interval: all true errors under which one as that found is likely; None
    where clusters (rows, where each is its own) show no spread.

    As gaps are never below 0, the error that is found lies above the true one, and resampling it
    adds the same again. So chance is drawn instead: to the gaps of the bins, shrunk or grown to a
    true error, comes normal noise with the spread between clusters. How the true error is shared
    out to the bins decides how much chance adds, and isn't known: the interval holds those of
    several ways (`_shares_of_error`). A well calibrated model's begins at 0."""
    sure, right = np.asarray(confidence, dtype=float), np.asarray(correct, dtype=float)
    if not len(sure):
        return None
    places = numbered(clusters)
    # By cluster: the summed gaps in each bin, and the number of rows.
    columns = np.zeros((places.max() + 1, BINS))
    np.add.at(columns, (places, _bins_of(sure)), sure - right)
    count, total = len(columns), len(sure)
    gaps = columns.sum(0) / total
    apart = (columns - columns.mean(0)) / total
    if count < 2 or not np.any(np.abs(apart) > 1e-12):
        return None
    # Noise with the covariance of the bins' sums.
    covariance = count / (count - 1) * apart.T @ apart
    values, vectors = np.linalg.eigh(covariance)
    spread = vectors * np.sqrt(np.maximum(values, 0))
    noise = np.random.default_rng(SEED).normal(size=(DRAWS, BINS)) @ spread.T
    found, tail = float(np.abs(gaps).sum()), (1 - LEVEL) / 2
    lows, highs = [], []
    for shape in _shares_of_error(gaps, np.bincount(_bins_of(sure), minlength=BINS), covariance):

        def share_above(error: float, shape: np.ndarray = shape) -> float:
            return float((np.abs(error * shape + noise).sum(1) >= found).mean())

        lows.append(0.0 if share_above(0) > tail else _crossing(share_above, tail, 0, found))
        highs.append(_crossing(share_above, 1 - tail, 0.0, 1.0))
    # Never below what was found, which a reader sees beside it.
    return min(lows), max(found, *highs)


def _shares_of_error(
    gaps: np.ndarray, rows: np.ndarray, covariance: np.ndarray
) -> Iterator[np.ndarray]:
    """Ways in which the bins may share the true error: as the gaps that were found, as these less
    what chance adds to their squares, and as the bins' rows, which chance adds least to."""
    certain = np.sign(gaps) * np.sqrt(np.maximum(gaps**2 - np.diag(covariance), 0))
    for shape in (gaps, certain, rows / rows.sum()):
        if total := float(np.abs(shape).sum()):
            yield shape / total


def _crossing(rising: Callable[[float], float], at: float, low: float, high: float) -> float:
    for _ in range(25):
        middle = (low + high) / 2
        low, high = (middle, high) if rising(middle) < at else (low, middle)
    return (low + high) / 2


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
    """The 95 % interval: DeLong's variance, or where rows share `clusters` Obuchowski's
    (Biometrics 53:567, 1997), which is the same where none do, held as Wilson's against the
    variance at each area (Newcombe's method 5, Statistics in Medicine 25:559, 2006), so that it
    covers near 1 and does not vanish where all pairs agree. None where fewer than two clusters are
    on a side."""
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
    return _within(float(area), max(0.0, float(variance)), *counts)


def _within(area: float, variance: float, ups: int, downs: int) -> tuple[float, float]:
    """The areas that lie within the quantile of the standard error that they would have: Newcombe's
    variance at each, scaled by how much larger the one that was found is at the one found."""
    scale = 1.0
    if 0 < area < 1:
        scale = max(1.0, variance / _newcombe(area, ups, downs))

    def far(at: float) -> bool:
        return abs(at - area) > _Z * sqrt(scale * _newcombe(at, ups, downs))

    return _edge(area, 0.0, far), _edge(area, 1.0, far)


def _newcombe(area: float, ups: int, downs: int) -> float:
    even = (ups + downs) / 2 - 1
    pairs = 1 + even * ((1 - area) / (2 - area) + area / (1 + area))
    return area * (1 - area) * pairs / (ups * downs)


def _edge(inside: float, end: float, far: Callable[[float], bool]) -> float:
    if inside == end:
        return end
    for _ in range(60):
        middle = (inside + end) / 2
        inside, end = (inside, middle) if far(middle) else (middle, end)
    return inside


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
