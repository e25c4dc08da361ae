"""Paired comparison of two states."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from snaketune.runtime.errors import UserError
from snaketune.statistics.intervals import (
    detectable,
    mean_interval,
    mean_of,
    mean_over_seeds,
    score_interval,
    score_test,
)
from snaketune.statistics.paired import (
    compare,
    compare_seeds,
    false_discovery,
    holm,
    seeds_interval,
)


def _scores(hits):
    return [{"id": str(i), "hit": hit} for i, hit in enumerate(hits)]


def _compare(base, tuned):
    return compare(_scores(base), _scores(tuned), lambda score: score["hit"])


def test_better():
    found = _compare([False] * 12 + [True] * 8, [True] * 10 + [False] * 2 + [True] * 8)
    assert (found["only_base"], found["only_tuned"]) == (0, 10)
    assert found["difference"] == 0.5
    assert found["p_exact"] == 2 / 2**10
    assert found["p"] == pytest.approx(2 * stats.norm.sf(10**0.5), rel=1e-9)
    assert found["low"] < 0.5 < found["high"]
    assert found["verdict"] == "better"


def test_worse():
    assert _compare([True] * 20, [False] * 20)["verdict"] == "worse"


def test_fifteen_rows_show_nothing():
    found = _compare([True] + [False] * 14, [True] * 3 + [False] * 12)
    assert found["difference"] > 0
    assert found["verdict"] == "no significant difference"


def test_equal_answers_leave_room_for_a_difference():
    found = _compare([True] * 4, [True] * 4)
    z2 = stats.norm.ppf(0.975) ** 2
    assert (found["difference"], found["p"]) == (0, 1)
    assert (found["low"], found["high"]) == pytest.approx((-z2 / (4 + z2), z2 / (4 + z2)))
    assert found["verdict"] == "no significant difference"


def test_pairs_with_a_missing_side_are_left_out_and_counted():
    found = _compare([True, None, False, True], [True, True, None, False])
    assert (found["n"], found["left_out"]) == (2, 2)
    assert (found["base"], found["tuned"]) == (1.0, 0.5)


def test_nothing_to_compare_is_missing():
    found = _compare([None], [True])
    assert found["verdict"] == "nothing to compare"
    assert found["difference"] is found["p"] is None


def test_rows_are_paired_by_id_not_by_place():
    base, tuned = _scores([True, False]), _scores([True, False])[::-1]
    assert compare(base, tuned, lambda score: score["hit"])["only_base"] == 0


def test_other_rows_are_refused():
    with pytest.raises(UserError, match="2 and 1, 1 of them on one side only, such as '1'"):
        _compare([True, True], [True])


def test_four_to_none_of_a_hundred():
    """A bootstrap gave +1 to +8 beside a p of 0.125."""
    low, high = score_interval(0, 4, 100)
    assert (low, high) == pytest.approx((0.0015, 0.0984), abs=1e-4)
    assert score_test(0, 4) == pytest.approx(0.0455, abs=1e-4)


@pytest.mark.parametrize("n", [1, 2, 6, 15, 40])
def test_p_and_interval_never_contradict(n):
    for losses in range(n + 1):
        for gains in range(n + 1 - losses):
            low, high = score_interval(losses, gains, n)
            assert -1 <= low <= (gains - losses) / n <= high <= 1
            assert low < high
            assert (low <= 0 <= high) is (score_test(losses, gains) >= 0.05), (losses, gains)


def test_the_score_test_is_mcnemars_without_correction():
    for losses, gains in [(0, 1), (3, 9), (40, 12), (5, 5)]:
        chi2 = (gains - losses) ** 2 / (gains + losses)
        assert score_test(losses, gains) == pytest.approx(stats.chi2.sf(chi2, 1), rel=1e-9)
    assert score_test(0, 0) == 1


def exact_coverage(n, lost, gained):
    """Over all outcomes of n pairs, a trinomial's."""
    covered, differing = 0.0, lost + gained
    for m in range(n + 1):
        weight = stats.binom.pmf(m, n, differing)
        if weight < 1e-9:
            continue
        gains = np.arange(m + 1)
        chances = stats.binom.pmf(gains, m, gained / differing)
        for g, chance in zip(gains[chances > 1e-9], chances[chances > 1e-9], strict=True):
            low, high = score_interval(m - int(g), int(g), n)
            covered += weight * chance * (low <= gained - lost <= high)
    return covered


def shares(before, after, alike):
    """Of rows lost and gained, where answers go together as far as `alike` says (1: as far as the
    two shares allow)."""
    both = before * after + alike * (min(before, after) - before * after)
    return before - both, after - both


@pytest.mark.parametrize("before", [0.02, 0.5, 0.98])
@pytest.mark.parametrize("alike", [0, 0.5, 0.8])
@pytest.mark.parametrize("gain", [0, 0.1])
def test_the_paired_interval_covers_at_15(before, alike, gain):
    after = before - gain if before > 0.9 else before + gain
    assert exact_coverage(15, *shares(before, after, alike)) >= 0.935


@pytest.mark.parametrize("before", [0.5, 0.98])
def test_the_paired_interval_covers_at_100(before):
    assert 0.935 <= exact_coverage(100, *shares(before, before, 0.5)) <= 0.99
    # Above 96.5 % only where hardly a row differs: 2 in 100 leave few outcomes.
    assert exact_coverage(100, *shares(0.5, 0.6, 0)) <= 0.965


def test_the_paired_interval_covers_at_1000():
    draw = np.random.default_rng(0)
    for before in (0.02, 0.5, 0.98):
        lost, gained = shares(before, before, 0.5)
        counts = draw.multinomial(1000, [lost, gained, 1 - lost - gained], size=1500)
        found = [score_interval(int(x), int(g), 1000) for x, g, _ in counts]
        covered = np.mean([low <= 0 <= high for low, high in found])
        assert 0.935 <= covered <= 0.965 + 0.01


def test_means_have_students_test_and_its_interval():
    draw = np.random.default_rng(0)
    before, after = draw.random(30), draw.random(30)
    found = compare(_scores(before.tolist()), _scores(after.tolist()), lambda score: score["hit"])
    theirs = stats.ttest_rel(after, before)
    ends = theirs.confidence_interval(0.95)
    assert found["p"] == pytest.approx(theirs.pvalue, rel=1e-9)
    assert (found["low"], found["high"]) == pytest.approx((ends.low, ends.high), rel=1e-9)
    assert found["p_exact"] is found["detectable"] is None


def test_clusters_p_and_interval_never_contradict():
    draw = np.random.default_rng(0)
    for _ in range(200):
        rows = [{"id": str(i), "cluster": str(i // 3), "hit": bool(draw.random() < 0.7)}
                for i in range(60)]  # fmt: skip
        other = [row | {"hit": bool(draw.random() < 0.8)} for row in rows]
        found = compare(rows, other, lambda score: score["hit"])
        assert found["groups"] == 20
        assert (found["low"] <= 0 <= found["high"]) is (found["p"] >= 0.05)


def test_holm_and_false_discovery():
    ps = [0.01, 0.04, 0.03, 0.005, 0.5]
    assert holm(ps) == pytest.approx([0.04, 0.09, 0.09, 0.025, 0.5])
    assert false_discovery(ps) == pytest.approx(stats.false_discovery_control(ps), rel=1e-9)
    assert holm([]) == false_discovery([]) == []
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    assert holm(ps) == pytest.approx(multitest.multipletests(ps, method="holm")[1], rel=1e-9)


@pytest.mark.parametrize("runs", [1, 6, 20])
def test_without_any_effect_few_families_find_one(runs):
    draw = np.random.default_rng(runs)
    lost = 0
    for _ in range(600):
        counts = draw.multinomial(263, [0.06, 0.06, 0.88], size=runs)
        lost += min(holm([score_test(int(x), int(g)) for x, g, _ in counts])) < 0.05
    assert lost / 600 < 0.05 + 2 * (0.05 * 0.95 / 600) ** 0.5


def test_what_so_many_rows_can_show():
    """80 % power, by drawing."""
    difference = detectable(263, 0.12)
    draw = np.random.default_rng(0)
    chances = [(0.12 - difference) / 2, (0.12 + difference) / 2, 0.88]
    counts = draw.multinomial(263, chances, size=4000)
    found = np.mean([score_test(int(x), int(g)) < 0.05 for x, g, _ in counts])
    assert found == pytest.approx(0.8, abs=0.03)
    assert detectable(0, 0.1) is detectable(1, 0) is None


def _table(seed=0, rows=80, seeds=4, apart=0.1):
    draw = np.random.default_rng(seed)
    return (
        draw.normal(size=(rows, 1)) + draw.normal(0, apart, seeds) + draw.normal(size=(rows, seeds))
    )


def test_the_error_over_seeds_is_that_of_the_two_way_layout():
    """Against the mean squares of rows, seeds and what is left."""
    table = _table()
    rows, seeds = table.shape
    mean = table.mean()
    by_row = seeds * ((table.mean(1) - mean) ** 2).sum() / (rows - 1)
    by_seed = rows * ((table.mean(0) - mean) ** 2).sum() / (seeds - 1)
    left = table - table.mean(1, keepdims=True) - table.mean(0) + mean
    rest = (left**2).sum() / ((rows - 1) * (seeds - 1))
    found = mean_over_seeds(table)
    assert by_seed > rest, "else the seeds have no part"
    variance = (by_row + by_seed - rest) / (rows * seeds)
    assert found.error == pytest.approx(variance**0.5, rel=1e-9)
    assert found.between == pytest.approx(np.std(table.mean(0), ddof=1), rel=1e-9)
    quantiles = stats.t.ppf(0.975, [rows - 1, seeds - 1])
    parts = [by_row / (rows * seeds), (by_seed - rest) / (rows * seeds)]
    half = (quantiles**2 @ parts) ** 0.5
    assert stats.t.ppf(0.975, found.freedom) * found.error == pytest.approx(half, rel=1e-6)


def test_seeds_that_lie_apart_by_the_rows_chance_alone_have_no_part():
    table = np.tile([[1.0, 0.0], [0.0, 1.0]], (30, 1))
    found = mean_over_seeds(table)
    assert (found.error, found.between) == (0, 0)
    one = mean_over_seeds(table[:, :1])
    assert one == mean_of(table[:, 0])


def test_joined_seeds_p_and_interval_never_contradict():
    draw = np.random.default_rng(1)
    verdicts = set()
    for shares in (True, False):
        for _ in range(60):
            base = draw.random(60) < 0.5
            seeds = [np.where(draw.random(60) < 0.7, base, draw.random(60) < 0.75) for _ in "abc"]
            outcome = (lambda s: bool(s["hit"])) if shares else (lambda s: float(s["hit"]))
            found = compare_seeds(_scores(base), [_scores(s) for s in seeds], outcome)
            assert (found["low"] <= 0 <= found["high"]) is (found["p"] >= 0.05)
            assert found["low"] <= found["difference"] <= found["high"]
            assert found["seeds"] == 3 and found["p_exact"] is None
            verdicts.add(found["verdict"])
    assert verdicts == {"better", "no significant difference"}


def test_joined_seeds_are_wider_than_their_rows_where_seeds_lie_apart():
    draw = np.random.default_rng(2)
    rows = [_scores((draw.random(1000) < share).tolist()) for share in (0.5, 0.6, 0.7)]
    found = seeds_interval(rows, lambda s: s["hit"], 0.6)
    alone = mean_interval([s["hit"] for s in rows[1]])
    assert found["n"] == 1000
    assert found["high"] - found["low"] > 4 * (alone[1] - alone[0])
    assert 0 <= found["low"] < 0.6 < found["high"] <= 1


def test_the_page_of_simulations_is_that_of_its_command():
    """The quick tables made again, and every table filled."""
    root = Path(__file__).parents[2]
    spec = importlib.util.spec_from_file_location("simulate", root / "docs/simulate.py")
    simulate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(simulate)
    page = (root / "docs/statistics.md").read_text(encoding="utf-8")
    for name in simulate.TABLES:
        assert page.count(f"<!-- {name} -->\n| ") == 1, name
    for name in ("plain", "power"):
        assert simulate.table(name) in page
    for row in simulate.paired((15,)):
        assert row[5] >= 0.935
        assert " | ".join(map(simulate._shown, row)) in page
