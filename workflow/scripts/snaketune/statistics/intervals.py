"""Intervals and tests for small samples, the same ones everywhere.

Rows that stand or fall together, those of one template or of one problem, are not independent (trap
33): two solutions of a problem, or instances of a template, are one draw, not two. Where an eval
has some, spread is that between clusters, not between rows. What each interval covers stands in
`docs/statistics.md`, with the command that simulates it.
"""

from collections.abc import Sequence
from math import comb, sqrt
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np

LEVEL = 0.95
RESAMPLES = 10_000
SEED = 0

_Z = NormalDist().inv_cdf((1 + LEVEL) / 2)
_BLOCK = 1 << 20  # drawn indices at a time: 8 MB


def wilson(hits: float, n: float, quantile: float = _Z) -> tuple[float, float] | None:
    """The 95 % Wilson score interval of `hits / n`; None where n is 0.

    It keeps its coverage near 0 and 1, where the usual p ± 1.96 s collapses to a point.
    """
    if n == 0:
        return None
    p, z2 = hits / n, quantile * quantile
    centre = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = quantile * sqrt(p * (1 - p) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    # At the ends the bound is exact; rounding would leave 1e-17.
    return (0.0 if hits == 0 else centre - half, 1.0 if hits == n else centre + half)


def mcnemar(only_first: int, only_second: int) -> float:
    """The exact two-sided McNemar p of two discordant counts: a fair coin thrown that often
    falls at least as unevenly. 1 where nothing is discordant."""
    n = only_first + only_second
    tail = sum(comb(n, k) for k in range(min(only_first, only_second) + 1))
    return min(1.0, 2 * tail / 2**n)


def student_quantile(freedom: int) -> float:
    """Of which the middle 95 % lie below, in size."""
    from scipy.special import stdtrit  # takes longer to import than most measuring takes

    return float(stdtrit(freedom, (1 + LEVEL) / 2))


def student_tail(size: float, freedom: int) -> float:
    """Both tails of Student's distribution beyond `size`."""
    from scipy.special import stdtr

    return float(2 * stdtr(freedom, -abs(size)))


class Mean(NamedTuple):
    """A mean over rows, some of which may stand or fall together."""

    value: float
    error: float
    """Its standard error: the jackknife's over clusters, of the usual kind where each row is its
    own."""
    groups: int
    """Clusters, or rows."""


def mean_of(values: Sequence[float], clusters: Sequence[str] | None = None) -> Mean | None:
    """None where there are no values. With one cluster the error is NaN."""
    data = np.asarray(values, dtype=np.float64)
    if not len(data):
        return None
    places = np.arange(len(data)) if clusters is None else numbered(clusters)
    sums, sizes = np.bincount(places, weights=data), np.bincount(places)
    groups, value = len(sums), float(data.mean())
    if groups < 2:
        return Mean(value, float("nan"), groups)
    without = (sums.sum() - sums) / (len(data) - sizes)
    error = sqrt((groups - 1) / groups * float(((without - value) ** 2).sum()))
    # Rounding is no spread.
    return Mean(value, 0.0 if error < 1e-12 else error, groups)


def mean_interval(
    values: Sequence[float], clusters: Sequence[str] | None = None
) -> tuple[float, float] | None:
    """The 95 % interval of the mean. Of what lies from 0 to 1: Wilson's, of as many draws as would
    give the standard error that was found, with Student's quantile; else Student's own. None
    where all are equal but neither 0 nor 1: an interval without width would claim certainty."""
    found = mean_of(values, clusters)
    if found is None:
        return None
    ends = set(values)
    if ends <= {0} or ends <= {1}:
        return wilson(found.groups * found.value, found.groups)
    if not found.error > 0:
        return None
    quantile = student_quantile(found.groups - 1)
    if min(ends) < 0 or max(ends) > 1:
        half = quantile * found.error
        return found.value - half, found.value + half
    draws = found.value * (1 - found.value) / found.error**2
    return wilson(found.value * draws, draws, quantile)


def resampled(columns: np.ndarray, seed: int = SEED) -> np.ndarray:
    """[RESAMPLES, m]: sums over as many rows of `columns` [c, m] as it has, drawn anew each time
    with replacement."""
    count = len(columns)
    generator = np.random.default_rng(seed)
    rows = max(1, _BLOCK // count)
    found = []
    for start in range(0, RESAMPLES, rows):
        size = min(rows, RESAMPLES - start)
        drawn = generator.integers(count, size=(size, count)) + count * np.arange(size)[:, None]
        times = np.bincount(drawn.ravel(), minlength=size * count).reshape(size, count)
        found.append(times @ columns)
    return np.concatenate(found)


def percentiles(values: np.ndarray) -> tuple[float, float] | None:
    """The middle 95 % of resampled values; None where they show no spread, or there are none."""
    if len(np.unique(values)) < 2:
        return None
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def numbered(clusters: Sequence[str]) -> np.ndarray:
    """Each row's cluster as a number from 0, in the order of first sight."""
    numbers = {name: place for place, name in enumerate(dict.fromkeys(clusters))}
    return np.array([numbers[name] for name in clusters], dtype=np.int64)


def shared(scores: Sequence[dict[str, Any]]) -> list[str] | None:
    """The cluster of every row; None where no two rows share one."""
    names = [f"of {s['id']}" if s.get("cluster") is None else s["cluster"] for s in scores]
    return None if len(set(names)) == len(names) else names


def spread(values: Sequence[float], scores: Sequence[dict[str, Any]]) -> dict[str, float | None]:
    """The interval of the mean of `values`, which belong to `scores`, where rows share a cluster;
    else nothing. Without any spread between clusters it is missing."""
    if (names := shared(scores)) is None:
        return {}
    low, high = mean_interval(values, names) or (None, None)
    return {"low": low, "high": high}
