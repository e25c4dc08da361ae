"""Two states on the same rows: is the difference more than chance?"""

from collections.abc import Callable, Iterable
from typing import Any, TypedDict

import numpy as np

from snaketune.runtime.errors import UserError
from snaketune.statistics.intervals import (
    LEVEL,
    bootstrap_mean,
    clustered,
    mcnemar,
    numbered,
    shared,
    sign_flip,
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
        return nothing_to_compare(left_out=len(pairs))
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
        verdict=NOTHING,
    )
