"""Intervals and tests for small samples, the same ones everywhere.

Rows that stand or fall together, those of one template or of one problem, are not independent (trap
33): two solutions of a problem, or instances of a template, are one draw, not two. Where an eval
has some, clusters are resampled instead of rows.
"""

from collections.abc import Sequence
from math import comb, sqrt
from statistics import NormalDist
from typing import Any

import numpy as np

LEVEL = 0.95
RESAMPLES = 10_000
SEED = 0

_Z = NormalDist().inv_cdf((1 + LEVEL) / 2)
_EXACT = 15
_BLOCK = 1 << 20  # drawn indices at a time: 8 MB


def wilson(hits: float, n: int) -> tuple[float, float] | None:
    """The 95 % Wilson score interval of `hits / n`; None where n is 0.

    It keeps its coverage near 0 and 1, where the usual p ± 1.96 s collapses to a point.
    """
    if n == 0:
        return None
    p, z2 = hits / n, _Z * _Z
    centre = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z * sqrt(p * (1 - p) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    # At the ends the bound is exact; rounding would leave 1e-17.
    return (0.0 if hits == 0 else centre - half, 1.0 if hits == n else centre + half)


def mcnemar(only_first: int, only_second: int) -> float:
    """The exact two-sided McNemar p of two discordant counts: a fair coin thrown that often
    falls at least as unevenly. 1 where nothing is discordant."""
    n = only_first + only_second
    tail = sum(comb(n, k) for k in range(min(only_first, only_second) + 1))
    return min(1.0, 2 * tail / 2**n)


def sign_flip(differences: Sequence[float], seed: int = SEED) -> float:
    """The two-sided p of a mean of paired differences: the share of all ways to flip their signs
    that leave the mean at least as far from 0. Exact for up to `_EXACT` differences that aren't 0,
    else over `RESAMPLES` random flips, counting the one that was found. 1 where all are 0."""
    values = np.asarray([d for d in differences if d != 0], dtype=np.float64)
    if not len(values):
        return 1.0
    found = abs(values.sum()) * (1 - 1e-12)
    if len(values) <= _EXACT:
        numbers = np.arange(1 << len(values))[:, None] >> np.arange(len(values)) & 1
        return float(np.mean(np.abs((2 * numbers - 1) @ values) >= found))
    generator = np.random.default_rng(seed)
    rows = max(1, _BLOCK // len(values))
    hits = 1
    for start in range(0, RESAMPLES, rows):
        size = (min(rows, RESAMPLES - start), len(values))
        signs = 2.0 * generator.integers(2, size=size) - 1
        hits += int(np.sum(np.abs(signs @ values) >= found))
    return hits / (RESAMPLES + 1)


def bootstrap_mean(values: Sequence[float], seed: int = SEED) -> tuple[float, float] | None:
    """The 95 % percentile interval of the mean over resampled rows.

    None where all values are equal, or there are none: resampling would show no spread, and an
    interval without width would claim certainty.

    With paired differences as `values` it is the paired bootstrap. The seed is fixed, so that
    tables made twice are the same bytes.
    """
    data = np.asarray(values, dtype=np.float64)
    if len(np.unique(data)) < 2:
        return None
    generator = np.random.default_rng(seed)
    rows = max(1, _BLOCK // len(data))
    means = [
        data[generator.integers(len(data), size=(min(rows, RESAMPLES - start), len(data)))].mean(1)
        for start in range(0, RESAMPLES, rows)
    ]
    return percentiles(np.concatenate(means))


def clustered(
    values: Sequence[float], clusters: Sequence[str], seed: int = SEED
) -> tuple[float, float] | None:
    """The 95 % percentile interval of the mean where rows of a cluster stand or fall together:
    whole clusters are resampled. None where no spread would show."""
    places = numbered(clusters)
    sums = np.bincount(places, weights=np.asarray(values, dtype=np.float64))
    sizes = np.bincount(places)
    if len(np.unique(sums / sizes)) < 2:
        return None
    drawn = resampled(np.stack([sums, sizes], axis=1), seed)
    return percentiles(drawn[:, 0] / drawn[:, 1])


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
    else nothing. Where all rows are hits or none is, it is Wilson's over as many draws as there are
    clusters; without any spread between clusters it is missing."""
    if (names := shared(scores)) is None:
        return {}
    if set(values) in ({0}, {1}):
        count = len(set(names))
        low, high = wilson(count * int(values[0]), count) or (None, None)
    else:
        low, high = clustered(values, names) or (None, None)
    return {"low": low, "high": high}
