"""Several samples of each question: from predictions and rewards to metrics, through files."""

import json
import random
from fractions import Fraction

import numpy as np
import pytest
from test_statistics_votes import bests_of, drawn, enumerated, winners_of

from snaketune.config.evaluation import EvalSpec
from snaketune.data.example import Example, write_examples
from snaketune.runtime.errors import UserError
from snaketune.runtime.files import read_rows, write_jsonl
from snaketune.statistics.intervals import mean_interval, wilson
from snaketune.tasks.measure import measure
from snaketune.tasks.task import task_of

AT = [1, 2, 4, 6]


def lines_of(answers):
    """Predictions of questions q0, q1, …: a reply a sample."""
    return [
        {"id": f"q{i}", "sample": s, "output": f"#### {a}" if a else "", "finish": "stop"}
        for i, row in enumerate(answers)
        for s, a in enumerate(row)
    ]


def rewards_of(rewards):
    return [
        {"id": f"q{i}", "sample": s, "reward": r}
        for i, row in enumerate(rewards)
        for s, r in enumerate(row)
    ]


def questions(count, template=None):
    meta = [{} if template is None else {"original_id": template(i)} for i in range(count)]
    return [Example(f"q{i}", f"Q{i}?", gold="1", meta=json.dumps(meta[i])) for i in range(count)]


@pytest.fixture
def run(tmp_path):
    """Measures and returns (scores, metrics by subset and name, document)."""

    def _run(examples, predictions, rewards=None, rule="hashes", **sampling):
        sampling = {"samples": 6, "at": AT} | sampling
        spec = EvalSpec(task="math", dataset="d", answer_rule=rule, sampling=sampling)
        write_examples(tmp_path / "test.parquet", examples)
        write_jsonl(tmp_path / "p.jsonl", predictions)
        if rewards is not None:
            write_jsonl(tmp_path / "r.jsonl", rewards)
        measure(
            tmp_path / "test.parquet",
            tmp_path / "p.jsonl",
            None,
            tmp_path / "scores.parquet",
            tmp_path / "metrics.json",
            state="s",
            eval_name="e",
            protocol_name="e",
            protocol=spec.model_dump(mode="json"),
            rewards=None if rewards is None else tmp_path / "r.jsonl",
        )
        document = json.loads((tmp_path / "metrics.json").read_text())
        named = {(row["subset"], row["metric"]): row for row in document["rows"]}
        return read_rows(tmp_path / "scores.parquet"), named, document

    return _run


@pytest.fixture
def random_case():
    draw = random.Random(3)
    return [drawn(draw, 6) for _ in range(30)]


def measured(run, case, **kwargs):
    return run(
        questions(len(case), kwargs.pop("template", None)),
        lines_of([answers for answers, _, _ in case]),
        rewards_of([rewards for _, _, rewards in case]),
        **kwargs,
    )


def won_by_the_first(places, right):
    """Of equals the one that was drawn first."""
    return right[places[0]] if places else 0


def test_every_number_is_the_enumerated_one(run, random_case):
    scores, named, document = measured(run, random_case)
    for n in AT:
        votes = [won_by_the_first(winners_of(a[:n]), r) for a, r, _ in random_case]
        picks = [won_by_the_first(bests_of(w[:n]), r) for _, r, w in random_case]
        chances = [enumerated(a, r, w, n) for a, r, w in random_case]
        expected = {
            "majority": np.mean(votes),
            "majority_expected": np.mean([c[0] for c in chances]),
            "best_of_n": np.mean(picks),
            "best_of_n_expected": np.mean([c[1] for c in chances]),
            "pass_at_n": np.mean([c[2] for c in chances]),
        }
        found = {k: v["value"] for (subset, k), v in named.items() if subset == f"n={n}"}
        assert found == pytest.approx(expected, abs=1e-12)
    singles = [sum(r) / 6 for _, r, _ in random_case]
    assert named["all", "accuracy"]["value"] == pytest.approx(np.mean(singles))
    assert named["n=1", "majority_expected"]["value"] == pytest.approx(np.mean(singles))
    unique = [len({x for x in a if x}) for a, _, _ in random_case]
    assert named["all", "unique_answers"]["value"] == pytest.approx(np.mean(unique))
    blank = Fraction(sum(x is None for a, _, _ in random_case for x in a), 180)
    assert named["all", "unparsed"]["value"] == pytest.approx(float(blank))
    for metric in ("majority", "best_of_n", "pass_at_n"):
        assert named["all", metric] == named["n=6", metric] | {"subset": "all"}
    assert all(row["n"] == 30 for row in named.values()), "questions are counted, not samples"
    assert document["counts"] == {
        "correct": sum(s["correct"] for s in scores),
        "unparsed": sum(not any(a) for a, _, _ in random_case),
        "total": 30,
        "samples": 180,
        "unparsed_samples": blank * 180,
    }


def test_intervals_are_over_questions(run, random_case):
    scores, named, _ = measured(run, random_case)
    hits = sum(s["correct"] for s in scores)
    row = named["all", "majority"]
    assert (row["low"], row["high"]) == wilson(hits, 30)
    row = named["n=2", "majority_expected"]
    assert (row["low"], row["high"]) == mean_interval([s["majority_expected"][1] for s in scores])
    row = named["all", "accuracy"]
    assert (row["low"], row["high"]) == mean_interval([s["accuracy"] for s in scores])


def test_questions_of_one_template_stand_or_fall_together(run, random_case):
    def template(i):
        return i // 3

    scores, named, _ = measured(run, random_case, template=template)
    hits, templates = [s["correct"] for s in scores], [s["cluster"] for s in scores]
    assert templates[:4] == ["0", "0", "0", "1"]
    row = named["all", "majority"]
    assert (row["low"], row["high"]) == mean_interval(hits, templates)
    assert (row["low"], row["high"]) != wilson(sum(hits), 30)
    # A template of its own for each question: as if there were none.
    _, alone, _ = measured(run, random_case, template=lambda i: i)
    assert alone["all", "majority"]["low"] == wilson(sum(hits), 30)[0]


def test_clusters_of_one_are_plain_rows_and_copies_widen_nothing():
    values = [0.0, 0.25, 1.0, 0.5, 1.0, 0.0, 0.75]
    names = [str(i) for i in range(len(values))]
    assert mean_interval(values, names) == pytest.approx(mean_interval(values))
    assert mean_interval(values * 4, names * 4) == pytest.approx(mean_interval(values, names))
    assert mean_interval([0, 1, 0, 1], ["a", "a", "b", "b"]) is None


def test_without_rewards_there_is_no_best_of_n(run, random_case):
    case = [answers for answers, _, _ in random_case]
    scores, named, _ = run(questions(30), lines_of(case))
    assert not [metric for _, metric in named if metric.startswith("best")]
    assert scores[0]["rewards"] is scores[0]["best_right"] is None
    assert task_of("math_samples").paired["best_of_n"](scores[0]) is None


def test_rewards_that_came_with_the_samples_count(run):
    lines = lines_of([["2", "1", "2", "2", "2", "2"]])
    for line, reward in zip(lines, [0.5, 0.9, None, 0.1, 0.2, 0.3], strict=True):
        line["reward"] = reward
    scores, named, _ = run(questions(1), lines)
    assert (scores[0]["correct"], scores[0]["best_correct"], scores[0]["present"]) == (0, 1, 1)
    assert scores[0]["best"] == [0, 1, 1, 1]
    assert named["all", "best_of_n"]["value"] == 1
    del lines[3]["reward"]
    with pytest.raises(UserError, match="question q0: found rewards of 5 of 6 samples"):
        run(questions(1), lines)


def test_a_question_without_any_number_is_wrong_and_unparsed(run):
    scores, named, document = run(questions(1), lines_of([[None] * 6]))
    assert (scores[0]["parsed"], scores[0]["correct"], scores[0]["unique_answers"]) == (None, 0, 0)
    assert named["all", "majority"]["value"] == 0
    assert document["counts"]["unparsed"] == 1


def test_spellings_of_one_number_are_one_vote(run):
    replies = ["So 1,000.", "It is 1000.0", "1000.0000001", "7", "7", "none"]
    lines = [
        {"id": "q0", "sample": s, "output": f"Final answer: {text}"}
        for s, text in enumerate(replies)
    ]
    examples = [Example("q0", "Q?", gold="1000")]
    scores, _, _ = run(examples, lines, rule="final_answer")
    assert scores[0]["answers"] == ["1000", "1000", "1000", "7", "7", None]
    assert scores[0]["right"] == [True, True, True, False, False, False]
    assert (scores[0]["correct"], scores[0]["unique_answers"]) == (True, 2)


def test_missing_samples_are_listed(run):
    lines = lines_of([["1"] * 6, ["1"] * 6])
    with pytest.raises(UserError, match=r"p.jsonl: found 10 samples, expected 12; 2 missing: "
                                        r"4 of 'q0', 5 of 'q1'\."):  # fmt: skip
        run(questions(2), lines[:4] + lines[5:11])
    with pytest.raises(UserError, match="6 that nothing asks for: 0 of 'q1', 1 of 'q1'"):
        run(questions(1), lines)
    with pytest.raises(UserError, match="line 13: sample 0 of 'q0' comes twice"):
        run(questions(2), [*lines, lines[0]])
    rewards = rewards_of([[0.0] * 6, [0.0] * 6])
    with pytest.raises(UserError, match=r"r.jsonl: found 11 samples, .* 1 missing: 5 of 'q1'"):
        run(questions(2), lines, rewards[:-1])
    plain = [{"id": "q0", "output": "1"}]
    with pytest.raises(UserError, match="line 1: found no sample"):
        run(questions(1), plain)


def test_fewer_samples_than_the_largest_n_are_refused(run):
    lines = [line | {"of": 4} for line in lines_of([["1"] * 4])]
    with pytest.raises(UserError, match=r"found 4 samples of each question, expected at least 6"):
        run(questions(1), lines)
    _, named, _ = run(questions(1), lines, samples=6, at=[1, 4])
    assert named["n=4", "majority"]["value"] == 1


def test_of_more_samples_than_the_largest_n_the_first_ones_vote(run):
    scores, named, _ = run(questions(1), lines_of([["2", "3", "1", "1", "1", "1"]]), at=[1, 2])
    assert (scores[0]["correct"], scores[0]["present"], scores[0]["unique_answers"]) == (0, 0, 2)
    assert named["all", "accuracy"]["value"] == pytest.approx(4 / 6)
    # {1, 1}: C(4, 2); of the eight with one 1 each of both wins in half.
    assert named["n=2", "majority_expected"]["value"] == pytest.approx((6 + 8 / 2) / 15)


def test_samples_that_the_reward_model_did_not_score_are_counted(run):
    predictions = lines_of([["1"] * 6, ["2"] * 6])
    rewards = rewards_of([[1.0, None, 2.0, None, None, 0.5], [1.0] * 6])
    _, numbers, _ = run(questions(2), predictions, rewards)
    assert numbers["all", "unrewarded"]["value"] == 0.25
