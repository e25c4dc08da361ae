"""Two states on the same rows: is the difference more than chance?"""

from collections.abc import Callable, Iterable, Sequence
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
from snaketune.statistics.paired_shares import detectable, score_interval, score_test

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
