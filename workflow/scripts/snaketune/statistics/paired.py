"""Two states on the same rows: is the difference more than chance?

Shares have one test, and the interval of all differences that it does not reject, so that p and
interval never contradict each other: Tango's score test (Statistics in Medicine 17:891, 1998; at a
difference of 0 it is McNemar's without continuity correction), two-sided. Where rows share
clusters, counts are divided by the design effect and the quantile is Student's, as in Korn and
Graubard's intervals of single shares. What it covers, counted out exactly: `docs/statistics.md`.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypedDict

import numpy as np

from snaketune.runtime.errors import UserError
from snaketune.statistics.intervals import (
    LEVEL,
    around,
    detectable,
    mcnemar,
    mean_over_seeds,
    score_interval,
    score_test,
    shared,
    student_quantile,
    student_tail,
)

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
    """The difference's 95 % interval: of shares all differences that the score test of `p` does not
    reject, of means Student's."""
    high: float | None
    only_base: int
    """Pairs in which only the base is a hit (of a mean: in which it scores more), and so for
    `only_tuned`."""
    only_tuned: int
    p: float | None
    """Two-sided: the score test for shares, Student's for means, of clusters where rows share some.
    Below 0.05 exactly where the interval does not hold 0."""
    p_exact: float | None
    """Exact McNemar, of shares of rows that share no cluster: beside it, more cautious."""
    p_holm: float | None
    """Adjusted for all runs that are compared on the eval by this metric (Holm)."""
    p_fdr: float | None
    """Adjusted for all comparisons of the experiment (Benjamini and Hochberg)."""
    groups: int | None
    """Clusters; None where rows share none."""
    detectable: float | None
    """The smallest difference that so many rows show with 80 % power; shares only."""
    seeds: int
    """Tuned states that are joined: each row counts by its mean over them."""
    between_seeds: float | None
    """The standard deviation between the seeds' values; None of a single one."""
    verdict: str
    """`better`, `worse`, `no significant difference` (`p_holm` of 0.05 or more), `nothing to
    compare`"""


def compare(base: list[Scored], tuned: list[Scored], outcome: Outcome) -> Comparison:
    """Pairs the rows by id. Other ids on either side are a UserError: a comparison over different
    rows is none."""
    return compare_seeds(base, [tuned], outcome)


def compare_seeds(
    base: list[Scored], tuned: Sequence[list[Scored]], outcome: Outcome
) -> Comparison:
    """The base against trainings that differ in their seeds alone, joined: over rows and seeds."""
    pairs = _pairs(base, tuned, outcome)
    rows = [row for row in pairs if None not in row]
    if not rows:
        return nothing_to_compare(len(pairs), len(tuned))
    scores, before, *after = zip(*rows, strict=True)
    table = np.array(after, dtype=float).T
    differences = table - np.array(before, dtype=float)[:, None]
    means = differences.mean(axis=1)
    n, gain = len(rows), float(means.mean())
    only_base, only_tuned = int((means < 0).sum()), int((means > 0).sum())
    clusters = shared(scores)
    hits = all(isinstance(value, bool) for _, *values in rows for value in values)
    p, interval, draws, between = (of_shares if hits else _of_means)(differences, clusters)
    low, high = interval or (None, None)
    alone = hits and clusters is None and len(tuned) == 1
    return Comparison(
        n=n,
        left_out=len(pairs) - n,
        base=sum(before) / n,
        tuned=float(table.mean()),
        difference=gain,
        low=low,
        high=high,
        only_base=only_base,
        only_tuned=only_tuned,
        p=p,
        p_exact=mcnemar(only_base, only_tuned) if alone else None,
        p_holm=p,
        p_fdr=p,
        groups=len(set(clusters)) if clusters else None,
        detectable=detectable(draws, float(abs(differences).mean())) if hits else None,
        seeds=len(tuned),
        between_seeds=between,
        verdict=verdict_of(gain, p),
    )


Found = tuple[float, tuple[float, float] | None, float, float | None]
"""p, the interval that goes with it, as how many independent rows the rows count, and the standard
deviation between seeds."""


def of_shares(differences: np.ndarray, clusters: list[str] | None = None) -> Found:
    """The score test of differences of -1, 0 and 1, a row an example and a column a seed."""
    losses, gains = int((differences < 0).sum()), int((differences > 0).sum())
    n, seeds = differences.size, differences.shape[1]
    if clusters is None and seeds == 1:
        return score_test(losses, gains), score_interval(losses, gains, n), n, None
    found = mean_over_seeds(differences, clusters)
    assert found, "rows"
    plain = (losses + gains) / n**2 - (gains - losses) ** 2 / n**3
    # Where nothing tells how alike the rows of a cluster are, each cluster is one row.
    effect = found.error**2 / plain if plain > 0 and found.error > 0 else n / found.groups
    counts = losses / effect, gains / effect
    interval = score_interval(*counts, n / effect, found.freedom)
    return score_test(*counts, found.freedom), interval, n / effect, found.between


def _of_means(differences: np.ndarray, clusters: list[str] | None) -> Found:
    """Student's test over rows or clusters, and its interval."""
    found = mean_over_seeds(differences, clusters)
    assert found, "rows"
    if not differences.any():
        return 1.0, score_interval(0, 0, found.groups), found.groups, found.between
    if not found.error > 0:  # all differ alike: as likely as that many throws of a coin
        return min(1.0, 2 / 2.0**found.groups), None, found.groups, found.between
    half = student_quantile(found.freedom) * found.error
    p = student_tail(found.value / found.error, found.freedom)
    return p, (found.value - half, found.value + half), len(differences), found.between


def seeds_interval(
    seeds: Sequence[list[Scored]], outcome: Outcome, value: float
) -> dict[str, float | None]:
    """How many rows have an outcome under every seed, and the 95 % interval of the mean `value`
    over rows and seeds, as spread as these rows are."""
    rows = [row for row in _pairs(seeds[0], seeds, outcome) if None not in row]
    if not rows:
        return {"n": 0, "low": None, "high": None}
    scores, _, *outcomes = zip(*rows, strict=True)
    table = np.array(outcomes, dtype=float).T
    found = mean_over_seeds(table, shared(scores))
    assert found, "rows"
    interval = around(found._replace(value=value), float(table.min()), float(table.max()))
    low, high = interval or (None, None)
    return {"n": len(rows), "low": low, "high": high}


def verdict_of(gain: float, p: float) -> str:
    """In words."""
    if p >= 1 - LEVEL:
        return SAME
    return BETTER if gain > 0 else WORSE


def _pairs(
    base: list[Scored], tuned: Sequence[list[Scored]], outcome: Outcome
) -> list[tuple[Any, ...]]:
    """The tuned model's row, the base's outcome, and that of each tuned model."""
    before = _outcomes(base, outcome)
    after = [_outcomes(scores, outcome) for scores in tuned]
    rows = {score["id"]: score for score in tuned[0]}
    for found in after:
        if before.keys() != found.keys():
            odd = sorted(before.keys() ^ found.keys())
            raise UserError(
                f"base and tuned model were evaluated on different rows: {len(before)} and "
                f"{len(found)}, {len(odd)} of them on one side only, such as {odd[0]!r}"
            )
    return [(rows[id_], before[id_], *(found[id_] for found in after)) for id_ in sorted(before)]


def _outcomes(scores: Iterable[Scored], outcome: Outcome) -> dict[str, bool | float | None]:
    return {score["id"]: outcome(score) for score in scores}


def nothing_to_compare(left_out: int, seeds: int = 1) -> Comparison:
    """Where no row has an outcome on both sides, or a state has no such number."""
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
        p_exact=None,
        p_holm=None,
        p_fdr=None,
        groups=None,
        detectable=None,
        seeds=seeds,
        between_seeds=None,
        verdict=NOTHING,
    )


def holm(ps: Sequence[float]) -> list[float]:
    """Adjusted so that of all true null hypotheses together hardly one in twenty families loses
    any (Holm 1979)."""
    order = sorted(range(len(ps)), key=lambda i: ps[i])
    adjusted, worst = [0.0] * len(ps), 0.0
    for rank, i in enumerate(order):
        worst = max(worst, min(1.0, (len(ps) - rank) * ps[i]))
        adjusted[i] = worst
    return adjusted


def false_discovery(ps: Sequence[float]) -> list[float]:
    """Adjusted so that of what is found so small hardly one in twenty is none (Benjamini and
    Hochberg 1995)."""
    order = sorted(range(len(ps)), key=lambda i: -ps[i])
    adjusted, least = [0.0] * len(ps), 1.0
    for rank, i in enumerate(order):
        least = min(least, len(ps) / (len(ps) - rank) * ps[i])
        adjusted[i] = least
    return adjusted
