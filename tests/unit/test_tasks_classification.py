"""Classification: against scikit-learn, brute force and numbers by hand."""

import json
import math
import random

import numpy as np
import pytest
from sklearn import metrics as sk

from snaketune.config.evaluation import EvalSpec
from snaketune.data.example import Example
from snaketune.runtime.errors import UserError
from snaketune.statistics import predictions as confusion
from snaketune.statistics.paired import compare
from snaketune.statistics.predictions import bins, calibration_error, roc_auc, roc_interval
from snaketune.tasks.classification import parse_label
from snaketune.tasks.task import Answered, task_of

TASK = task_of("classification")

NOTHING = "unparsed"


def protocol(labels, **classes):
    spec = EvalSpec(task="classification", dataset="d", classes={"labels": labels, **classes})
    return spec.model_dump(mode="json")


def row(name, gold, found, labels, meta=None, **classes):
    example = Example(name, "Q?", context="C", label=gold, meta=json.dumps(meta or {}))
    record = {"id": name, **found}
    return TASK.score(Answered(example, record, None, protocol(labels, **classes)))


def scored(gold, p, name="e", **classes):
    """A row of two labels, the second of which has probability `p` in half of the vocabulary."""
    sums = [math.log(0.5 * (1 - p)), math.log(0.5 * p)]
    found = {"sums": sums, "tokens": [1, 1], "characters": [1, 1], "finish": "scored"}
    return row(name, gold, found, ["0", "1"], **classes)


def numbers(scores):
    return {(r["subset"], r["metric"]): r for r in TASK.metrics("e", scores)}


def drawn(seed, labels, replies=False, kinds=("a", "b")):
    """Random rows: probabilities with ties, or replies of which some are no label."""
    rng = random.Random(seed)
    rows = []
    for i in range(rng.randrange(5, 60)):
        if replies:
            found = {"output": rng.choice([*labels, labels[0], "no idea"])}
        else:
            logits = [rng.choice([-3.0, -1.0, 0.5, rng.gauss(0, 1)]) for _ in labels]
            found = {"sums": [x - 5 for x in logits], "tokens": [1] * len(labels)}
        meta = {"kind": rng.choice(kinds)}
        gold = rng.choice(labels)
        rows.append(row(f"e{i}", gold, found, labels, meta=meta, by="kind"))
    return rows


@pytest.mark.parametrize("labels", [["0", "1"], ["x", "y", "z"]])
@pytest.mark.parametrize("replies", [False, True])
def test_shares_of_labels_against_scikit_learn(labels, replies):
    for seed in range(20):
        rows = drawn(seed, labels, replies)
        gold = [r["gold"] for r in rows]
        found = [r["predicted"] or NOTHING for r in rows]
        ours = numbers(rows)
        assert ours["all", "accuracy"]["value"] == pytest.approx(sk.accuracy_score(gold, found))
        precision, recall, f1, support = sk.precision_recall_fscore_support(
            gold, found, labels=labels, zero_division=np.nan
        )
        for i, label in enumerate(labels):
            for name, theirs in [("precision", precision), ("recall", recall), ("f1", f1)]:
                value = ours[f"label={label}", name]["value"]
                assert (value is None) == np.isnan(theirs[i]), (name, label, seed)
                assert value is None or value == pytest.approx(theirs[i])
            assert ours[f"label={label}", "recall"]["n"] == support[i]
        known = [value for value in f1 if not np.isnan(value)]
        assert ours["all", "macro_f1"]["value"] == pytest.approx(np.mean(known))
        # Ours is over the labels that have rows; scikit-learn's warns of the others.
        recalls = [value for value in recall if not np.isnan(value)]
        assert ours["all", "balanced_accuracy"]["value"] == pytest.approx(np.mean(recalls))
        if set(found) <= set(gold):
            theirs = sk.balanced_accuracy_score(gold, found)
            assert ours["all", "balanced_accuracy"]["value"] == pytest.approx(theirs)
        if set(gold) == set(labels):
            matrix = sk.confusion_matrix(gold, found, labels=[*labels, NOTHING])
            counts = confusion.confusion(labels, gold, [r["predicted"] for r in rows])
            assert (counts == matrix[: len(labels)]).all()


@pytest.mark.parametrize("positive", ["0", "1"])
def test_probabilities_against_scikit_learn(positive):
    for seed in range(20):
        rows = drawn(seed, ["0", "1"])
        rows = [r | {"positive": positive} for r in rows]
        gold = [r["gold"] == positive for r in rows]
        shares = [r["probabilities"][int(positive)] for r in rows]
        ours = numbers(rows)
        brier = sk.brier_score_loss(gold, shares)
        assert ours["all", "brier"]["value"] == pytest.approx(brier)
        if len(set(gold)) == 2:
            area = sk.roc_auc_score(gold, shares)
            assert ours["all", "roc_auc"]["value"] == pytest.approx(area)


def test_brier_of_three_labels_against_scikit_learn():
    rows = drawn(3, ["x", "y", "z"])
    theirs = sk.brier_score_loss(
        [r["gold"] for r in rows], [r["probabilities"] for r in rows], labels=["x", "y", "z"]
    )
    assert numbers(rows)["all", "brier"]["value"] == pytest.approx(theirs)
    assert ("all", "roc_auc") not in numbers(rows)


def test_probabilities_by_hand():
    found = scored("1", 0.7)
    assert (found["predicted"], found["correct"]) == ("1", True)
    assert found["probabilities"] == pytest.approx([0.3, 0.7])
    assert (found["confidence"], found["mass"]) == pytest.approx((0.7, 0.5))
    assert found["brier"] == pytest.approx(0.3**2)
    tie = scored("1", 0.5)
    assert (tie["predicted"], tie["correct"]) == ("0", False), "ties go to the first label"


def test_probabilities_made_elsewhere():
    found = row("e", "b", {"probabilities": [0.2, 0.6]}, ["a", "b"])
    assert found["probabilities"] == pytest.approx([0.25, 0.75])
    assert (found["mass"], found["confidence"]) == pytest.approx((0.8, 0.75))


def test_roc_and_delong_against_every_pair():
    """The area and its variance from the matrix of all pairs, as DeLong, DeLong and
    Clarke-Pearson (1988) write them."""
    rng = random.Random(0)
    for _ in range(20):
        positive = [True, True, False, False, *(rng.random() < 0.4 for _ in range(30))]
        scores = [rng.choice([0.1, 0.5, 0.9, rng.random()]) + 0.2 * p for p in positive]
        ups = [s for s, p in zip(scores, positive, strict=True) if p]
        downs = [s for s, p in zip(scores, positive, strict=True) if not p]
        pairs = np.array([[(u > d) + 0.5 * (u == d) for d in downs] for u in ups])
        area = pairs.mean()
        assert roc_auc(scores, positive) == pytest.approx(area)
        variance = pairs.mean(1).var(ddof=1) / len(ups) + pairs.mean(0).var(ddof=1) / len(downs)
        low, high = roc_interval(scores, positive)
        assert 0 <= low < area < high <= 1
        # At a bound the found area lies 1.96 standard errors away: DeLong's, which grow and shrink
        # as Newcombe's do, and never below them.
        scale = max(1, variance / newcombe(area, len(ups), len(downs)))
        for bound in (low, high):
            error = math.sqrt(scale * newcombe(bound, len(ups), len(downs)))
            assert abs(area - bound) == pytest.approx(1.959963984540054 * error, rel=1e-6)


def newcombe(area, m, n):
    """Method 5 of Newcombe (2006)."""
    even = (m + n) / 2 - 1
    inner = 1 + even * (1 - area) / (2 - area) + even * area / (1 + area)
    return area * (1 - area) * inner / (m * n)


def test_roc_needs_both_labels_and_some_spread():
    assert roc_auc([0.1, 0.2], [True, True]) is None
    assert roc_interval([0.1, 0.9], [False, True]) is None
    low, high = roc_interval([0.1, 0.2, 0.8, 0.9], [False, False, True, True])
    assert low < 0.7 and high == 1, "four rows that agree prove little"
    found = numbers([scored("1", 0.4, "a"), scored("1", 0.6, "b")])
    assert (found["all", "roc_auc"]["value"], found["all", "roc_auc"]["n"]) == (None, 0)


def test_the_bootstrap_of_tables_is_that_of_rows():
    """Its interval against one from resampled rows with scikit-learn's own numbers."""
    labels, rng = ["0", "1"], np.random.default_rng(1)
    gold = rng.choice(labels, size=80, p=[0.7, 0.3])
    found = np.where(rng.random(80) < 0.75, gold, "0")
    counts = confusion.confusion(labels, gold.tolist(), found.tolist())
    draws = [rng.integers(80, size=80) for _ in range(600)]
    for statistic, theirs in [
        (confusion.balanced_accuracy, sk.balanced_accuracy_score),
        (confusion.macro_f1, lambda a, b: sk.f1_score(a, b, average="macro")),
    ]:
        values = [theirs(gold[d], found[d]) for d in draws]
        low, high = confusion.bootstrap(confusion.redrawn(counts), statistic)
        expected = tuple(np.quantile(values, [0.025, 0.975]))
        assert (low, high) == pytest.approx(expected, abs=0.025)


def test_calibration_error_against_every_row():
    rng = random.Random(5)
    for _ in range(20):
        n = rng.randrange(1, 50)
        sure = [rng.choice([0.0, 0.5, 1.0, rng.random()]) for _ in range(n)]
        right = [rng.random() < s for s in sure]
        expected = 0.0
        for place in range(10):
            last = place == 9
            members = [
                (s, r)
                for s, r in zip(sure, right, strict=True)
                if place <= 10 * s < place + 1 or (last and s == 1)
            ]
            expected += abs(sum(s - r for s, r in members)) / n
        assert calibration_error(sure, right) == pytest.approx(expected)
        assert sum(b.n for b in bins(sure, right)) == n


def test_calibration_error_by_hand():
    """Two rows in the bin from 0.7 of which one is right, one of 0.9 that is right."""
    expected = (2 * abs(0.75 - 0.5) + 1 * abs(0.9 - 1)) / 3
    assert calibration_error([0.72, 0.78, 0.9], [True, False, True]) == pytest.approx(expected)
    assert calibration_error([1.0], [True]) == 0
    assert calibration_error([], []) is None


@pytest.mark.parametrize(
    ("reply", "label"),
    [
        ("1", "1"),
        (" 0.\n", "0"),
        ("**1**", "1"),
        ("<think>\n0 or 1?\n</think>\n\n1", "1"),
        ("10", None),
        ("-1", None),
        ("1 0", None),
        ("The answer is 1", None),
        ("", None),
        ("01", None),
    ],
)
def test_a_reply_is_a_whole_label_or_none(reply, label):
    assert parse_label(reply, ["0", "1"]) == label


def test_labels_of_words_and_signs():
    assert parse_label("Yes!", ["yes", "no"]) == "yes"
    assert parse_label("unsafe", ["safe", "unsafe"]) == "unsafe"
    assert parse_label(":", [":", "."]) == ":"
    assert parse_label("a", ["a", "A"]) == "a"
    assert parse_label("A.", ["a", "A"]) is None, "it could be either"


def test_an_unparsed_reply_is_wrong_and_counted_apart():
    replies = ["1", "well", "0"]
    rows = [row(f"e{i}", "1", {"output": o}, ["0", "1"]) for i, o in enumerate(replies)]
    found = numbers(rows)
    assert [r["predicted"] for r in rows] == ["1", None, "0"]
    assert found["all", "accuracy"]["value"] == pytest.approx(1 / 3)
    assert found["all", "unparsed"]["value"] == pytest.approx(1 / 3)
    assert found["label=1", "recall"]["value"] == pytest.approx(1 / 3)
    assert found["label=1", "precision"]["value"] == 1
    assert found["label=0", "recall"]["value"] is None, "missing, not 0"
    assert TASK.counts(rows) == {"correct": 1, "unparsed": 1, "total": 3}
    assert ("all", "brier") not in found and ("all", "ece") not in found


def test_what_was_never_predicted_has_no_precision():
    found = numbers([scored("0", 0.1, "a"), scored("1", 0.2, "b")])
    assert found["label=1", "precision"]["value"] is None
    assert found["label=1", "precision"]["n"] == 0
    assert found["label=1", "f1"]["value"] == 0


def test_accuracy_by_group():
    kinds = [("1", 0.9, "x"), ("1", 0.2, "x"), ("0", 0.1, "y"), ("0", 0.3, None)]
    rows = [
        scored(gold, p, f"e{i}", meta={"kind": kind}, by="kind")
        for i, (gold, p, kind) in enumerate(kinds)
    ]
    found = numbers(rows)
    assert found["kind=x", "accuracy"]["value"] == 0.5
    assert (found["kind=y", "accuracy"]["value"], found["kind=y", "accuracy"]["n"]) == (1, 1)
    assert {subset for subset, _ in found} == {"all", "label=0", "label=1", "kind=x", "kind=y"}


def test_a_group_that_no_example_has_is_named():
    with pytest.raises(UserError, match="no field error_type in example e, expected one of: kind"):
        scored("1", 0.5, meta={"kind": "x"}, by="error_type")


def test_scores_of_other_labels_are_refused():
    with pytest.raises(UserError, match="example e: found scores of 1 labels, expected 2: 0, 1"):
        row("e", "0", {"sums": [-1.0]}, ["0", "1"])
    with pytest.raises(UserError, match="example e: found label 'x', expected one of"):
        row("e", "x", {"sums": [-1.0, -2.0]}, ["0", "1"])


def test_nothing_measured_is_missing_and_not_0():
    found = numbers([])
    assert found["all", "accuracy"]["value"] is None
    assert found["all", "balanced_accuracy"]["value"] is None


def test_two_states_are_compared_row_by_row():
    golds = ["1"] * 9
    base = [scored(g, 0.2, f"e{i}") for i, g in enumerate(golds)]
    tuned = [scored(g, 0.8, f"e{i}") for i, g in enumerate(golds)]
    found = compare(base, tuned, TASK.paired["accuracy"])
    assert (found["only_tuned"], found["verdict"]) == (9, "better")
    assert found["p_exact"] == pytest.approx(2 / 2**9)
    assert found["p"] == pytest.approx(0.0027, abs=1e-4)


def test_a_prompt_that_was_too_long_is_no_prediction_and_counted_apart():
    found = {"sums": None, "tokens": [1, 1], "characters": [1, 1], "finish": "overlong"}
    long = row("l", "0", found, ["0", "1"])
    assert long["predicted"] is None and long["correct"] is False
    rows = numbers([long, scored("1", 0.9)])
    assert rows["all", "accuracy"]["value"] == rows["all", "overlong"]["value"] == 0.5
    assert rows["all", "brier"]["n"] == rows["all", "mass"]["n"] == 1
    assert TASK.counts([long])["unparsed"] == 1
    assert TASK.output(long).startswith("overlong")
