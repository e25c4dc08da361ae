"""Two states on the same rows: is the difference more than chance?

Shares have one test, and the interval of all differences that it does not reject, so that p and
interval never contradict each other: Tango's score test (Statistics in Medicine 17:891, 1998; at a
difference of 0 it is McNemar's without continuity correction), two-sided. Where rows share
clusters, counts are divided by the design effect and the quantile is Student's, as in Korn and
Graubard's intervals of single shares. What it covers, counted out exactly: `docs/statistics.md`.
"""

from collections.abc import Callable, Iterable, Sequence
from math import sqrt
from statistics import NormalDist
from typing import Any, TypedDict

from snaketune.runtime.errors import UserError
from snaketune.statistics.intervals import (
    LEVEL,
    mcnemar,
    mean_of,
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
    verdict: str
    """`better`, `worse`, `no significant difference` (`p_holm` of 0.05 or more), `nothing to
    compare`"""


def compare(base: list[Scored], tuned: list[Scored], outcome: Outcome) -> Comparison:
    """Pairs the rows by id. Other ids on either side are a UserError: a comparison over different
    rows is none."""
    pairs = _pairs(base, tuned, outcome)
    rows = [row for row in pairs if None not in row]
    if not rows:
        return nothing_to_compare(left_out=len(pairs))
    scores, *outcomes = zip(*rows, strict=True)
    known = list(zip(*outcomes, strict=True))
    n = len(known)
    differences = [float(after) - float(before) for before, after in known]
    only_base, only_tuned = sum(d < 0 for d in differences), sum(d > 0 for d in differences)
    clusters = shared(scores)
    hits = all(isinstance(value, bool) for pair in known for value in pair)
    if hits:
        p, interval, draws = _of_shares(differences, clusters)
    else:
        p, interval, draws = _of_means(differences, clusters)
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
        p_exact=mcnemar(only_base, only_tuned) if hits and clusters is None else None,
        p_holm=p,
        p_fdr=p,
        groups=len(set(clusters)) if clusters else None,
        detectable=detectable(draws, (only_base + only_tuned) / n) if hits else None,
        verdict=verdict_of(difference, p),
    )


Found = tuple[float, tuple[float, float] | None, float]
"""p, the interval that goes with it, and as how many independent rows the rows count."""


def _of_shares(differences: list[float], clusters: list[str] | None) -> Found:
    losses, gains = differences.count(-1), differences.count(1)
    n = len(differences)
    if clusters is None:
        return score_test(losses, gains), score_interval(losses, gains, n), n
    found = mean_of(differences, clusters)
    assert found, "rows"
    freedom = max(1, found.groups - 1)
    plain = (losses + gains) / n**2 - (gains - losses) ** 2 / n**3
    # Where nothing tells how alike the rows of a cluster are, each cluster is one row.
    effect = found.error**2 / plain if plain > 0 and found.error > 0 else n / found.groups
    counts = losses / effect, gains / effect
    interval = score_interval(*counts, n / effect, freedom)
    return score_test(*counts, freedom), interval, n / effect


def _of_means(differences: list[float], clusters: list[str] | None) -> Found:
    """Student's test over rows or clusters, and its interval."""
    n = len(differences)
    found = mean_of(differences, clusters)
    assert found, "rows"
    if not any(differences):
        return 1.0, score_interval(0, 0, found.groups), found.groups
    if not found.error > 0:  # all differ alike: as likely as that many throws of a coin
        return min(1.0, 2 / 2.0**found.groups), None, found.groups
    half = student_quantile(found.groups - 1) * found.error
    p = student_tail(found.value / found.error, found.groups - 1)
    return p, (found.value - half, found.value + half), n


def verdict_of(gain: float, p: float) -> str:
    """In words."""
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


def nothing_to_compare(left_out: int) -> Comparison:
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


_Z = NormalDist().inv_cdf((1 + LEVEL) / 2)


def score_test(losses: float, gains: float, freedom: int | None = None) -> float:
    """The two-sided p of as many rows lost and gained; 1 where there are none. `freedom`: of
    Student's distribution in the normal one's place."""
    if not losses + gains:
        return 1.0
    return tail(abs(gains - losses) / sqrt(losses + gains), freedom)


def tail(size: float, freedom: int | None) -> float:
    """Both tails beyond `size`."""
    if freedom is None:
        return 2 * NormalDist().cdf(-size)
    return student_tail(size, freedom)


def score_interval(
    losses: float, gains: float, n: float, freedom: int | None = None
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
