"""Multiple choice: which option is chosen, and the numbers about it, by hand."""

import math

import pytest

from snaketune.config.evaluation import EvalSpec
from snaketune.data.example import Example
from snaketune.runtime.errors import UserError
from snaketune.tasks.multiple_choice import softmax
from snaketune.tasks.task import Answered, task_of

TASK = task_of("multiple_choice")

PROTOCOL = EvalSpec(task="multiple_choice", dataset="d", prompt="Q: {question}\n{options}A:")


def scored(sums, tokens, characters, gold="A", name="e"):
    options = [f"option {i}" for i in range(len(sums))]
    example = Example(name, "Which?", choices=options, label=gold, gold=options[0])
    found = {
        "id": name,
        "sums": sums,
        "tokens": tokens,
        "characters": characters,
        "finish": "scored",
    }
    return TASK.score(Answered(example, found, None, PROTOCOL.model_dump(mode="json")))


def numbers(scores):
    return {(r["subset"], r["metric"]): r for r in TASK.metrics("e", scores)}


def test_three_ways_to_choose():
    row = scored([-4.0, -3.0, -6.0, -9.0], [4, 1, 5, 9], [8, 4, 20, 12])
    assert (row["choice"], row["choice_sum"], row["choice_per_character"]) == ("A", "B", "C")
    assert (row["correct"], row["correct_sum"], row["correct_per_character"]) == (
        True,
        False,
        False,
    )
    assert row["prompt"] == "Q: Which?\nA: option 0\nB: option 1\nC: option 2\nD: option 3\nA:"


def test_ties_go_to_the_first_letter():
    row = scored([-2.0] * 4, [1] * 4, [3] * 4, gold="B")
    assert (row["choice"], row["correct"]) == ("A", False)
    assert row["probabilities"] == [0.25] * 4


def test_brier_by_hand():
    row = scored([math.log(0.7), math.log(0.3)], [1, 1], [1, 1], gold="B")
    assert row["brier"] == pytest.approx(0.7**2 + 0.7**2)


def test_chance_is_taken_off_and_letters_are_counted():
    right = [scored([-1.0, -2.0, -3.0, -4.0], [1] * 4, [1] * 4, "A", f"r{i}") for i in range(3)]
    wrong = [scored([-1.0, -2.0, -3.0, -4.0], [1] * 4, [1] * 4, "C", "w")]
    found = numbers(right + wrong)
    assert found["all", "accuracy"]["value"] == 0.75
    assert found["all", "chance_corrected"]["value"] == pytest.approx((0.75 - 0.25) / 0.75)
    assert found["all", "picked_A"]["value"] == 1 and found["all", "picked_C"]["value"] == 0
    assert found["gold=C", "picked_A"]["value"] == 1 and found["gold=C", "accuracy"]["value"] == 0
    assert found["gold=C", "picked_A"]["n"] == 1


def test_softmax_of_far_scores():
    assert softmax([-2000.0, -1000.0]) == [0.0, 1.0]


def test_nothing_measured_is_missing_and_not_0():
    found = numbers([])
    assert found["all", "accuracy"]["value"] is None
    assert found["all", "chance_corrected"]["value"] is None
    assert found["all", "ece"]["value"] is None


def test_bare_scores_choose_and_leave_missing_what_needs_tokens():
    example = Example("e", "Which?", choices=["a", "bcd"], label="B")
    found = {"id": "e", "scores": [-2.0, -1.0]}
    row = TASK.score(Answered(example, found, None, PROTOCOL.model_dump(mode="json")))
    assert (row["choice"], row["correct"], row["scores"]) == ("B", True, [-2.0, -1.0])
    assert row["sums"] is row["choice_sum"] is row["correct_per_character"] is None
    metrics = numbers([row])
    assert metrics["all", "accuracy"]["value"] == 1
    for name in ("accuracy_sum", "accuracy_per_character"):
        assert (metrics["all", name]["value"], metrics["all", name]["n"]) == (None, 0)


@pytest.mark.parametrize("odd", [math.nan, math.inf, -math.inf])
def test_a_log_probability_that_is_no_number_is_refused(odd):
    with pytest.raises(UserError, match=r"question e: found a log-prob.* for option C"):
        scored([-1.0, -2.0, odd], [1] * 3, [1] * 3)


def test_calibration_error_by_hand():
    """Two sure and one unsure question in bins of a tenth: 0.9 to 1 and 0.6 to 0.7."""
    sure = [math.log(0.95), math.log(0.05)]
    unsure = [math.log(0.65), math.log(0.35)]
    rows = [
        scored(sure, [1] * 2, [1] * 2, "A", "right"),
        scored(sure, [1] * 2, [1] * 2, "B", "wrong"),
        scored(unsure, [1] * 2, [1] * 2, "A", "also right"),
    ]
    # |0.95 - 1/2| of two rows and |0.65 - 1| of one.
    assert numbers(rows)["all", "ece"]["value"] == pytest.approx((2 * 0.45 + 0.35) / 3)


def test_chance_of_questions_with_two_and_with_four_options():
    rows = [
        scored([-1.0, -2.0], [1] * 2, [1] * 2, "A", "two"),
        scored([-1.0, -2.0, -3.0, -4.0], [1] * 4, [1] * 4, "A", "four"),
        scored([-1.0, -2.0, -3.0, -4.0], [1] * 4, [1] * 4, "D", "wrong"),
    ]
    # Guessing is right by 1/2, 1/4 and 1/4: one in three.
    found = numbers(rows)["all", "chance_corrected"]
    assert found["value"] == pytest.approx((2 / 3 - 1 / 3) / (1 - 1 / 3))


def test_scores_of_other_options_are_refused():
    example = Example("e", "Which?", choices=["a", "b"], label="A")
    found = {"id": "e", "sums": [-1.0], "tokens": [1], "characters": [1]}
    with pytest.raises(UserError, match="question e: found scores of 1 options, expected 2"):
        TASK.score(Answered(example, found, None, PROTOCOL.model_dump(mode="json")))


def test_a_question_that_was_too_long_is_wrong_and_counted_apart():
    example = Example("l", "Which?", choices=["a", "b"], label="A", gold="a")
    found = {"id": "l", "sums": None, "tokens": [1, 1], "characters": [1, 1], "finish": "overlong"}
    long = TASK.score(Answered(example, found, None, PROTOCOL.model_dump(mode="json")))
    assert long["choice"] is None and long["correct"] is False and long["probabilities"] is None
    rows = numbers([long, scored([-1.0, -2.0], [1, 1], [1, 1])])
    assert rows["all", "accuracy"]["value"] == 0.5 and rows["all", "overlong"]["value"] == 0.5
    assert rows["all", "ece"]["n"] == rows["all", "brier"]["n"] == 1
    assert TASK.output(long).startswith("overlong")
