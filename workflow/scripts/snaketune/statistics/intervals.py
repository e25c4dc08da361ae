"""Intervals and tests for small samples, the same ones everywhere.

Rows that stand or fall together, those of one template or of one problem, are not independent (trap
33): two solutions of a problem, or instances of a template, are one draw, not two. Where an eval
has some, spread is that between clusters, not between rows. What each interval covers stands in
`docs/statistics.md`, with the command that simulates it.
"""

from collections.abc import Sequence
from math import comb, exp, sqrt
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


def student_quantile(freedom: float) -> float:
    """Of which the middle 95 % lie below, in size."""
    from scipy.special import stdtrit  # takes longer to import than most measuring takes

    return float(stdtrit(freedom, (1 + LEVEL) / 2))


def student_tail(size: float, freedom: float) -> float:
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
    freedom: float
    """Degrees of freedom of the error, for Student's distribution."""
    between: float | None = None
    """The standard deviation between seeds; None of a single one."""


def mean_of(values: Sequence[float], clusters: Sequence[str] | None = None) -> Mean | None:
    """None where there are no values. With one cluster the error is NaN."""
    data = np.asarray(values, dtype=np.float64)
    if not len(data):
        return None
    places = np.arange(len(data)) if clusters is None else numbered(clusters)
    sums, sizes = np.bincount(places, weights=data), np.bincount(places)
    groups, value = len(sums), float(data.mean())
    if groups < 2:
        return Mean(value, float("nan"), groups, 1)
    without = (sums.sum() - sums) / (len(data) - sizes)
    error = sqrt((groups - 1) / groups * float(((without - value) ** 2).sum()))
    if error < 1e-12:  # rounding is no spread
        return Mean(value, 0.0, groups, groups - 1)
    freedom = groups - 1.0
    if clusters is not None:
        freedom = min(freedom, _freedom_of_spread((sums - value * sizes) ** 2))
    return Mean(value, error, groups, freedom)


def _freedom_of_spread(squares: np.ndarray) -> float:
    """As many degrees of freedom as a normal variance has that is known as well as the sum of
    `squares`, a cluster's each (Satterthwaite's, by the kurtosis that they show: O'Neill, The
    American Statistician 68:282, 2014). Near 0 and 1 a few clusters make all of the spread."""
    variance = len(squares) * float(squares.var(ddof=1))
    return max(1.0, 2 * float(squares.sum()) ** 2 / variance) if variance > 0 else len(squares)


def mean_over_seeds(table: np.ndarray, clusters: Sequence[str] | None = None) -> Mean | None:
    """The mean of `table`, which has a row an example and a column a seed: over examples and seeds
    that could as well have been drawn, both at once.

    The error has the part of the rows, which is that of their means over seeds, and the part of the
    seeds: how far their means lie apart, less what rows that come out by chance would make of it.
    Each part is as sure as its number allows. So its freedom is what gives Student's interval the
    half-width whose square is the sum of both squares (Howe 1974; Graybill and Wang 1980)."""
    found = mean_of(table.mean(axis=1), clusters)
    seeds = table.shape[1]
    if found is None or seeds < 2 or found.groups < 2:
        return found
    means = table.mean(axis=0)
    between = float(means.std(ddof=1))
    rest = table - table.mean(axis=1, keepdims=True) - means + means.mean()
    errors = [mean_of(column, clusters) for column in rest.T]
    chance = sum(e.error**2 for e in errors if e) / (seeds - 1)
    apart = max(0.0, between**2 - chance) / seeds
    error = sqrt(found.error**2 + apart)
    if not error:
        return found._replace(between=between)
    half = sqrt(
        (student_quantile(found.freedom) * found.error) ** 2
        + student_quantile(seeds - 1) ** 2 * apart
    )
    return Mean(found.value, error, found.groups, _freedom_of(half / error), between)


def _freedom_of(quantile: float) -> float:
    """The degrees of freedom that have this quantile, by bisection."""
    low, high = 0.0, 20.0  # of their logarithm
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if student_quantile(exp(middle)) > quantile else (low, middle)
    return exp(high)


def mean_interval(
    values: Sequence[float], clusters: Sequence[str] | None = None
) -> tuple[float, float] | None:
    """The 95 % interval of the mean of the rows (`around`)."""
    found = mean_of(values, clusters)
    return around(found, min(values), max(values)) if found else None


def around(found: Mean, least: float, most: float) -> tuple[float, float] | None:
    """The 95 % interval of a mean of values from `least` to `most`. Of what lies from 0 to 1:
    Wilson's, of as many draws as would give the standard error that was found, with Student's
    quantile; else Student's own. None where all are equal but neither 0 nor 1: an interval without
    width would claim certainty."""
    if least == most and most in (0, 1):
        return wilson(found.groups * found.value, found.groups)
    if not found.error > 0:
        return None
    quantile = student_quantile(found.freedom)
    if least < 0 or most > 1:
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


def score_test(losses: float, gains: float, freedom: float | None = None) -> float:
    """The two-sided p of as many rows lost and gained; 1 where there are none. `freedom`: of
    Student's distribution in the normal one's place."""
    if not losses + gains:
        return 1.0
    return tail(abs(gains - losses) / sqrt(losses + gains), freedom)


def tail(size: float, freedom: float | None) -> float:
    """Both tails beyond `size`."""
    if freedom is None:
        return 2 * NormalDist().cdf(-size)
    return student_tail(size, freedom)


def score_interval(
    losses: float, gains: float, n: float, freedom: float | None = None
) -> tuple[float, float] | None:
    """The 95 % interval of the difference (gains - losses) / n; None where n is 0. It holds 0
    exactly where `score_test` gives 0.05 or more, and has a width where no row differs."""
    if not n:
        return None
    z = _Z if freedom is None else student_quantile(freedom)
    found = (gains - losses) / n
    low = -1.0 if losses == n else _bound(losses, gains, n, z, -1.0, found)
    high = 1.0 if gains == n else _bound(losses, gains, n, -z, found, 1.0)
    return low, high


def _bound(losses: float, gains: float, n: float, at: float, low: float, high: float) -> float:
    """Where the score, which falls with the difference, is `at`: by bisection."""
    for _ in range(200):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        if _score(losses, gains, n, middle) > at:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _score(losses: float, gains: float, n: float, difference: float) -> float:
    """How far the counts lie above `difference`, in standard errors under it."""
    b = -losses - gains + (2 * n - gains + losses) * difference
    c = -losses * difference * (1 - difference)
    lost = (sqrt(max(0.0, b * b - 8 * n * c)) - b) / (4 * n)
    variance = n * (2 * lost + difference * (1 - difference))
    above = gains - losses - n * difference
    if variance <= 0:
        return 0.0 if above == 0 else above / 1e-150
    return above / sqrt(variance)


def detectable(n: float, differing: float, power: float = 0.8) -> float | None:
    """The smallest difference of shares that `n` pairs show with this power at p < 0.05, where so
    large a share of the rows differ (Miettinen 1968; Connor 1987). A difference can't be larger
    than the rows that differ: then these are as many as it needs. None without rows."""
    if n <= 0:
        return None
    beta = NormalDist().inv_cdf(power)

    def needed(difference: float) -> float:
        share = max(differing, difference)
        return (_Z * sqrt(share) + beta * sqrt(max(0.0, share - difference**2))) ** 2

    low, high = 0.0, 1.0
    if needed(high) > n:
        return None
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if needed(middle) > n * middle**2 else (low, middle)
    return high
