"""Rows that share a problem or a template are no independent draws (trap 33)."""

import json
import random

import numpy as np
import pytest
from scipy import stats

from snaketune.config.evaluation import EvalSpec
from snaketune.data.example import Example
from snaketune.statistics.intervals import mcnemar, mean_interval, wilson
from snaketune.statistics.paired import compare
from snaketune.statistics.predictions import (
    calibration_error,
    calibration_interval,
    roc_auc,
    roc_interval,
)
from snaketune.tasks.task import Answered, cluster_of, task_of

PROBLEMS = 60


def pairs(seed: int = 0, alike: bool = True) -> list[dict]:
    """Rows of a verifier: a right and a flawed solution to each problem, as the data has them.
    `alike`: both are judged right or both wrong."""
    draw = random.Random(seed)
    protocol = EvalSpec(
        task="classification", dataset="d", classes={"labels": ["0", "1"]}
    ).protocol()
    rows = []
    for problem in range(PROBLEMS):
        fine = draw.random() < 0.7
        for label in ("0", "1"):
            fine = fine if alike else draw.random() < 0.7
            sure = draw.uniform(0.5, 1)
            share = sure if fine == (label == "1") else 1 - sure
            example = Example(
                f"{problem}-{label}", "Q?", label=label, meta=json.dumps({"index": problem})
            )
            sums = [float(np.log(1 - share)), float(np.log(share))]
            prediction = {"id": example.id, "sums": sums}
            rows.append(Answered(example, prediction, None, protocol))
    return [task_of("classification").score(row) for row in rows]


def named(task: str, scores: list[dict]) -> dict:
    return {(m["subset"], m["metric"]): m for m in task_of(task).metrics("e", scores)}


def drawn(scores: list[dict], statistic, times: int = 2000) -> tuple[float, float]:
    """The plain bootstrap over problems, one resample after the other."""
    by_problem: dict[str, list[dict]] = {}
    for score in scores:
        by_problem.setdefault(score["cluster"], []).append(score)
    groups, draw = list(by_problem.values()), random.Random(1)
    found = [
        statistic([s for group in draw.choices(groups, k=len(groups)) for s in group])
        for _ in range(times)
    ]
    return tuple(np.quantile(found, [0.025, 0.975]))


STATISTICS = {
    ("all", "accuracy"): lambda rows: np.mean([s["correct"] for s in rows]),
    ("all", "balanced_accuracy"): lambda rows: np.mean(
        [np.mean([s["correct"] for s in rows if s["gold"] == label]) for label in "01"]
    ),
    ("all", "brier"): lambda rows: np.mean([s["brier"] for s in rows]),
    ("all", "roc_auc"): lambda rows: roc_auc(
        [s["probabilities"][1] for s in rows], [s["gold"] == "1" for s in rows]
    ),
    ("label=1", "precision"): lambda rows: np.mean(
        [s["correct"] for s in rows if s["predicted"] == "1"]
    ),
    ("label=1", "f1"): lambda rows: (
        2
        * sum(s["gold"] == s["predicted"] == "1" for s in rows)
        / sum((s["gold"] == "1") + (s["predicted"] == "1") for s in rows)
    ),
}


@pytest.mark.parametrize("key", STATISTICS)
def test_intervals_of_a_classification_are_over_problems(key):
    scores = pairs()
    metric = named("classification", scores)[key]
    assert metric["value"] == pytest.approx(STATISTICS[key](scores))
    assert metric["n"] <= 2 * PROBLEMS
    low, high = drawn(scores, STATISTICS[key])
    assert (metric["low"], metric["high"]) == pytest.approx((low, high), abs=0.02)


def test_taking_rows_for_independent_would_claim_too_much():
    scores = pairs()
    accuracy = named("classification", scores)["all", "accuracy"]
    low, high = wilson(sum(s["correct"] for s in scores), len(scores))
    assert accuracy["high"] - accuracy["low"] > 1.3 * (high - low)
    apart = [s | {"cluster": None} for s in scores]
    accuracy = named("classification", apart)["all", "accuracy"]
    assert (accuracy["low"], accuracy["high"]) == (low, high)


def test_a_label_has_one_row_a_problem_and_its_recall_is_wilsons():
    scores = pairs()
    members = [s["correct"] for s in scores if s["gold"] == "1"]
    recall = named("classification", scores)["label=1", "recall"]
    assert (recall["low"], recall["high"]) == wilson(sum(members), PROBLEMS)


def test_where_all_rows_are_hits_there_are_as_many_draws_as_problems():
    scores = [s | {"correct": True, "predicted": s["gold"]} for s in pairs()]
    found = named("classification", scores)
    accuracy, unparsed = found["all", "accuracy"], found["all", "unparsed"]
    assert (accuracy["low"], accuracy["high"]) == wilson(PROBLEMS, PROBLEMS)
    assert (unparsed["low"], unparsed["high"]) == wilson(0, PROBLEMS)


def test_plain_math_is_clustered_by_template():
    draw, rows = random.Random(2), []
    for i in range(60):
        meta = json.dumps({"original_id": i // 3, "instance": i % 3})
        example = Example(f"q{i}", "Q?", gold="1", meta=meta)
        output = f"#### {1 if draw.random() < (0.9 if i // 3 % 2 else 0.2) else 2}"
        prediction = {"id": example.id, "output": output, "finish": "stop", "new_tokens": 3}
        protocol = EvalSpec(task="math", dataset="d").protocol()
        rows.append(Answered(example, prediction, None, protocol))
    scores = [task_of("math").score(row) for row in rows]
    accuracy = named("math", scores)["all", "accuracy"]
    hits = [s["correct"] for s in scores]
    found = (accuracy["low"], accuracy["high"])
    assert found == mean_interval(hits, [str(i // 3) for i in range(60)])
    assert found != wilson(sum(hits), 60)


@pytest.mark.parametrize(("gap", "least"), [(0.0, 0.9), (0.05, 0.88), (0.2, 0.9)])
def test_the_calibration_errors_interval_holds_the_true_one(gap, least):
    """A percentile interval never holds 0."""
    draw, held, times = np.random.default_rng(0), 0, 150
    for _ in range(times):
        sure = draw.uniform(0.5, 1, 200)
        right = draw.random(200) < sure - gap
        low, high = calibration_interval(sure, right, [str(i) for i in range(200)])
        assert low <= calibration_error(sure, right) <= high + 1e-12
        held += low <= gap <= high
    assert held / times >= least


def test_the_calibration_errors_interval_is_over_problems():
    scores = pairs()
    sure, right = [s["confidence"] for s in scores], [s["correct"] for s in scores]
    metric = named("classification", scores)["all", "ece"]
    found = calibration_interval(sure, right, [s["cluster"] for s in scores])
    assert (metric["low"], metric["high"]) == found
    assert found[1] > calibration_interval(sure, right, [s["id"] for s in scores])[1]
    assert calibration_interval([], [], []) is None
    assert calibration_interval([0.9, 0.9], [True, True], ["a", "b"]) is None


@pytest.mark.parametrize("area", [0.9, 0.97, 0.99])
def test_the_roc_interval_covers_near_1(area):
    """DeLong's own held 59 to 90 % of these."""
    draw, held, times = np.random.default_rng(0), 0, 250
    apart = 2**0.5 * stats.norm.ppf(area)
    for _ in range(times):
        values = [*draw.normal(apart, 1, 15), *draw.normal(0, 1, 15)]
        low, high = roc_interval(values, [True] * 15 + [False] * 15)
        held += low <= area <= high
    assert held / times >= 0.935


@pytest.mark.parametrize(("share", "alike"), [(0.5, 0.3), (0.8, 0.1), (0.9, 0.1)])
def test_intervals_over_20_clusters_cover(share, alike):
    """A bootstrap of 3 covered 74 %."""
    draw, held, times = np.random.default_rng(0), 0, 6000
    rise = (1 - alike) / alike * share
    for _ in range(times):
        sizes = draw.integers(1, 10, 20)
        hits = draw.binomial(sizes, draw.beta(rise, rise * (1 - share) / share, 20))
        values = np.repeat(np.arange(40) % 2, np.stack([sizes - hits, hits], 1).ravel())
        low, high = mean_interval(values.tolist(), np.repeat(np.arange(20), sizes).tolist())
        held += low <= share <= high
    assert 0.935 <= held / times <= 0.965
    few = mean_interval([1, 0, 1, 1, 0, 1], list("aabbcc"))
    assert few[1] - few[0] > 0.7


@pytest.mark.parametrize("gain", [0.0, 0.1])
def test_paired_intervals_over_20_clusters_cover(gain):
    """Rows of a group are alike in how hard they are, half of it for both models."""
    draw, held, times = np.random.default_rng(1), 0, 800
    limits = stats.norm.ppf([0.5, 0.5 + gain])
    for _ in range(times):
        groups = np.repeat(np.arange(20), draw.integers(1, 10, 20))
        group, row = draw.normal(size=(20, 2, 2)), draw.normal(size=(len(groups), 2, 2))
        # Of each a part that both models share, and one of their own.
        hard = 0.15**0.5 * (group[..., :1, 1] + group[:, 0])[groups]
        hits = hard + 0.35**0.5 * (row[..., :1, 1] + row[:, 0]) < limits
        both = [
            [{"id": str(i), "cluster": str(g), "hit": bool(h)} for i, (g, h) in enumerate(pairs)]
            for pairs in (
                zip(groups, hits[:, 0], strict=True),
                zip(groups, hits[:, 1], strict=True),
            )
        ]
        found = compare(*both, lambda score: score["hit"])
        held += found["low"] <= gain <= found["high"]
        assert (found["p"] < 0.05) == (not found["low"] <= 0 <= found["high"])
    assert 0.93 <= held / times <= 0.98


def test_rows_that_stand_twice_add_nothing_to_the_roc_interval():
    """Obuchowski's interval of doubled rows is DeLong's of the rows, but for the lost degrees of
    freedom of neither."""
    scores = pairs(3, alike=False)
    shares = [s["probabilities"][1] for s in scores]
    positive = [s["gold"] == "1" for s in scores]
    names = [s["id"] for s in scores]
    once = roc_interval(shares, positive)
    assert roc_interval(shares, positive, names) == pytest.approx(once)
    twice = roc_interval(shares * 2, positive * 2, names * 2)
    assert twice == pytest.approx(once)
    assert roc_interval(shares * 2, positive * 2)[0] > once[0] + 0.005


def test_a_comparison_of_rows_that_stand_twice_is_that_of_the_rows():
    before = [{"id": str(i), "hit": i % 3 == 0} for i in range(30)]
    after = [{"id": str(i), "hit": i % 2 == 0 or i < 12} for i in range(30)]

    def doubled(rows):
        return [r | {"id": f"{r['id']}{half}", "cluster": r["id"]} for r in rows for half in "ab"]

    once = compare(before, after, lambda s: s["hit"])
    twice = compare(doubled(before), doubled(after), lambda s: s["hit"])
    assert (twice["n"], twice["difference"]) == (60, once["difference"])
    assert twice["only_tuned"] == 2 * once["only_tuned"]
    # Over more than 15 clusters that differ the flips are drawn.
    assert twice["p"] == pytest.approx(once["p"], abs=0.01)
    ends = ("low", "high")
    assert [twice[e] for e in ends] == pytest.approx([once[e] for e in ends], abs=0.03)
    assert mcnemar(twice["only_base"], twice["only_tuned"]) < twice["p"] / 2


@pytest.mark.parametrize(
    ("meta", "expected"),
    [({}, None), ({"original_id": 7, "id": 3}, "7"), ({"index": 0}, "0"), ({"index": None}, None)],
)
def test_what_a_row_shares(meta, expected):
    assert cluster_of(Example("a", "Q?", meta=json.dumps(meta))) == expected


@pytest.mark.parametrize("task", ["multiple_choice", "open_qa"])
def test_questions_with_options_or_open_answers_are_clustered_too(task):
    draw, scores = random.Random(3), []
    for i in range(60):
        meta = json.dumps({"original_id": i // 3})
        example = Example(f"q{i}", "Q?", gold="x", choices=["x", "y"], label="A", meta=meta)
        right = draw.random() < (0.9 if i // 3 % 2 else 0.2)
        found = {"output": "x" if right else "y", "scores": [1, 0] if right else [0, 1]}
        protocol = EvalSpec(task=task, dataset="d").protocol()
        scores.append(task_of(task).score(Answered(example, found, None, protocol)))
    metric = {"multiple_choice": "accuracy", "open_qa": "f1"}[task]
    row = named(task, scores)["all", metric]
    hits = [task_of(task).paired[metric](score) for score in scores]
    assert (row["low"], row["high"]) == mean_interval(hits, [str(i // 3) for i in range(60)])
    # All clusters alike: no spread, so no interval, and none of what follows from it.
    same = [s | {"cluster": str(i % 2), "correct": i < 30} for i, s in enumerate(scores)]
    if task == "multiple_choice":
        corrected = named(task, same)["all", "chance_corrected"]
        assert (corrected["value"], corrected["low"]) == (0, None)
