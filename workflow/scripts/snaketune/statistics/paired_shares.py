"""Shares of two states on the same rows: one test, and the interval of all differences that it does
not reject, so that p and interval never contradict each other.

It is Tango's score test (Statistics in Medicine 17:891, 1998; at a difference of 0 it is McNemar's
without continuity correction), two-sided. Where rows share clusters, counts are divided by the
design effect and the quantile is Student's, as in Korn and Graubard's intervals of single shares.
`docs/statistics.md` shows what the interval covers, counted out exactly.
"""

from math import sqrt
from statistics import NormalDist

from snaketune.statistics.intervals import LEVEL, student_quantile, student_tail

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
