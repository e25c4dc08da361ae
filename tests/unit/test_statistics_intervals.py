"""Intervals and tests held against SciPy's."""

import numpy as np
import pytest
from scipy import stats

from snaketune.statistics.intervals import bootstrap_mean, mcnemar, wilson


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


def test_bootstrap_is_near_scipys():
    values = np.random.default_rng(1).choice([-1.0, 0.0, 1.0], size=200, p=[0.1, 0.6, 0.3])
    expected = stats.bootstrap(
        (values,), np.mean, method="percentile", n_resamples=10_000, rng=np.random.default_rng(2)
    ).confidence_interval
    assert bootstrap_mean(values) == pytest.approx((expected.low, expected.high), abs=0.01)


def test_bootstrap_is_the_same_each_time_and_follows_its_seed():
    values = [0.0, 1.0, 0.5, 0.25] * 40
    assert bootstrap_mean(values) == bootstrap_mean(values)
    assert bootstrap_mean(values) != bootstrap_mean(values, seed=1)


def test_bootstrap_draws_all_resamples_in_blocks():
    # 3,000 rows make several blocks; the standard error shows whether all of them count.
    values = np.random.default_rng(3).normal(size=3000)
    low, high = bootstrap_mean(values)
    assert high - low == pytest.approx(2 * 1.96 * values.std() / np.sqrt(3000), rel=0.05)


@pytest.mark.parametrize("values", [[], [0.5], [0.0] * 24])
def test_bootstrap_without_spread_claims_no_certainty(values):
    assert bootstrap_mean(values) is None
