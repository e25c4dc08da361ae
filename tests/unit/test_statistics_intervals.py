"""Intervals and tests held against SciPy's."""

import numpy as np
import pytest
from scipy import stats

from snaketune.statistics.intervals import (
    mcnemar,
    mean_interval,
    mean_of,
    student_quantile,
    student_tail,
    wilson,
)


@pytest.mark.parametrize(
    ("hits", "n"), [(0, 1), (1, 1), (24, 24), (0, 240), (1, 7), (152, 240), (645, 1319)]
)
def test_wilson_is_scipys(hits, n):
    expected = stats.binomtest(hits, n).proportion_ci(0.95, method="wilson")
    assert wilson(hits, n) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_wilson_does_not_collapse_at_the_end():
    low, high = wilson(24, 24)
    assert low < 0.9
    assert high == 1.0


def test_wilson_of_nothing_is_missing():
    assert wilson(0, 0) is None


@pytest.mark.parametrize(("b", "c"), [(0, 1), (1, 0), (3, 3), (2, 9), (40, 12), (300, 250)])
def test_mcnemar_is_the_exact_binomial_test(b, c):
    assert mcnemar(b, c) == pytest.approx(stats.binomtest(b, b + c).pvalue, rel=1e-9)


def test_mcnemar_without_discordant_pairs():
    assert mcnemar(0, 0) == 1.0


def test_a_mean_beyond_0_and_1_has_students_interval():
    values = np.random.default_rng(1).normal(size=40)
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert mean_interval(values) == pytest.approx((expected.low, expected.high), rel=1e-9)


def test_a_mean_of_hits_is_nearly_wilsons():
    """Only its quantile is Student's, and its variance has n - 1 below."""
    hits = [1.0] * 300 + [0.0] * 700
    assert mean_interval(hits) == pytest.approx(wilson(300, 1000), abs=2e-4)


def test_the_error_over_clusters_is_the_jackknifes():
    values, names = [1, 0, 1, 1, 0, 1], list("aabbcc")
    found = mean_of(values, names)
    rest = [np.mean([v for v, n in zip(values, names, strict=True) if n != c]) for c in "abc"]
    spread = sum((r - np.mean(values)) ** 2 for r in rest) * 2 / 3
    assert (found.value, found.groups) == (pytest.approx(2 / 3), 3)
    assert found.error == pytest.approx(spread**0.5, rel=1e-12)


@pytest.mark.parametrize("values", [[], [0.5], [0.3] * 24])
def test_a_mean_without_spread_claims_no_certainty(values):
    assert mean_interval(values) is None


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_at_the_ends_a_mean_has_wilsons_interval(value):
    assert mean_interval([value] * 24) == wilson(24 * value, 24)


@pytest.mark.parametrize("freedom", [1, 2, 19, 99, 1318])
def test_students_distribution_is_scipys(freedom):
    assert student_quantile(freedom) == pytest.approx(stats.t.ppf(0.975, freedom), rel=1e-9)
    assert student_tail(2.1, freedom) == pytest.approx(2 * stats.t.sf(2.1, freedom), rel=1e-9)


@pytest.mark.parametrize("n", [15, 100, 1000])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.98])
def test_wilson_covers(n, share):
    """Counted out exactly; above 96.5 % nowhere here."""
    chances = stats.binom.pmf(np.arange(n + 1), n, share)
    covered = [low <= share <= high for low, high in (wilson(k, n) for k in range(n + 1))]
    assert 0.935 <= chances[covered].sum() <= 0.965
