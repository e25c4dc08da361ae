"""Intervals and tests for small samples, the same ones everywhere, and for two states on
the same rows: is the difference more than chance?

Rows that stand or fall together, those of one template or of one problem, are not independent (trap
33): two solutions of a problem, or instances of a template, are one draw, not two. Where an eval
has some, clusters are resampled instead of rows.
"""

from collections.abc import Callable, Iterable, Sequence
from math import comb, sqrt
from statistics import NormalDist
from typing import Any, TypedDict

import numpy as np

from snaketune.runtime.errors import UserError

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


Scored = dict[str, Any]
"""A row that has an `id`, and a `cluster` where it shares one with others."""
Outcome = Callable[[Scored], bool | float | None]
"""Whether a row is a hit, or how much it scored; None: it takes no part."""

BETTER, WORSE = "better", "worse"
SAME, NOTHING = "no significant difference", "nothing to compare"


class Comparison(TypedDict):
    """A tuned state against its base. Numbers are None where n is 0."""

    n: int
    """Pairs."""
    left_out: int
    """Rows on which one of the two has no outcome, such as an unparsed verdict."""
    base: float | None
    """The metric over the pairs, and so for `tuned`: with rows left out they can differ from the
    states' own values."""
    tuned: float | None
    difference: float | None
    low: float | None
    """The difference's 95 % interval by the paired bootstrap, over clusters where rows share some;
    None where no pair is discordant."""
    high: float | None
    only_base: int
    """Pairs in which only the base is a hit (of a mean: in which it scores more), and so for
    `only_tuned`."""
    only_tuned: int
    p: float | None
    """Two-sided: exact McNemar for shares, sign flips for means. Where rows share a cluster, sign
    flips of the clusters' summed differences for both."""
    verdict: str
    """`better`, `worse`, `no significant difference` (p of 0.05 or more), `nothing to compare`"""


def compare(base: list[Scored], tuned: list[Scored], outcome: Outcome) -> Comparison:
    """Pairs the rows by id. Other ids on either side are a UserError: a comparison over different
    rows is none."""
    pairs = _pairs(base, tuned, outcome)
    rows = [row for row in pairs if None not in row]
    if not rows:
        return _nothing(left_out=len(pairs))
    scores, *outcomes = zip(*rows, strict=True)
    known = list(zip(*outcomes, strict=True))
    n = len(known)
    differences = [float(after) - float(before) for before, after in known]
    only_base, only_tuned = sum(d < 0 for d in differences), sum(d > 0 for d in differences)
    if clusters := shared(scores):
        interval = clustered(differences, clusters)
        p = sign_flip(np.bincount(numbered(clusters), weights=differences).tolist())
    else:
        interval = bootstrap_mean(differences)
        hits = all(isinstance(value, bool) for pair in known for value in pair)
        p = mcnemar(only_base, only_tuned) if hits else sign_flip(differences)
    low, high = interval or (None, None)
    difference = sum(differences) / n
    return Comparison(
        n=n,
        left_out=len(pairs) - n,
        base=sum(before for before, _ in known) / n,
        tuned=sum(after for _, after in known) / n,
        difference=difference,
        low=low,
        high=high,
        only_base=only_base,
        only_tuned=only_tuned,
        p=p,
        verdict=_in_words(difference, p),
    )


def _in_words(gain: float, p: float) -> str:
    if p >= 1 - LEVEL:
        return SAME
    return BETTER if gain > 0 else WORSE


def _pairs(
    base: list[Scored], tuned: list[Scored], outcome: Outcome
) -> list[tuple[Scored, bool | float | None, bool | float | None]]:
    """The tuned model's row, and both outcomes."""
    before, after = _outcomes(base, outcome), _outcomes(tuned, outcome)
    rows = {score["id"]: score for score in tuned}
    if before.keys() != after.keys():
        odd = sorted(before.keys() ^ after.keys())
        raise UserError(
            f"base and tuned model were evaluated on different rows: {len(before)} and "
            f"{len(after)}, {len(odd)} of them on one side only, such as {odd[0]!r}"
        )
    return [(rows[id_], before[id_], after[id_]) for id_ in sorted(before)]


def _outcomes(scores: Iterable[Scored], outcome: Outcome) -> dict[str, bool | float | None]:
    return {score["id"]: outcome(score) for score in scores}


def _nothing(left_out: int) -> Comparison:
    return Comparison(
        n=0,
        left_out=left_out,
        base=None,
        tuned=None,
        difference=None,
        low=None,
        high=None,
        only_base=0,
        only_tuned=0,
        p=None,
        verdict=NOTHING,
    )
