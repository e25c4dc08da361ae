"""Number extraction: every trap that is known, and the reference's rule as it stands."""

import json
import os
from decimal import Decimal
from pathlib import Path

import pytest

from snaketune.tasks.math import RULES, canonical, final_answer, flexible, strict

STRICT = {
    "6 * 3 = 18\n#### 18": "18",
    "#### 18.": "18",
    "#### 18.0": "18",
    "#### 2,125": "2125",
    "#### -3": "-3",
    "#### 18. Then\n#### 19": "18",  # the first one, as the reference does
    "#### $29.00": None,  # the reference takes no currency sign
    "####18": None,
    "#### .": None,
    "#### 1.2.3": None,
    "The answer is 18": None,
    "": None,
}

FLEXIBLE = {
    # the answer after the last mark, whatever stands around it
    "#### 18": "18",
    "#### $29.00": "29",
    "#### 2,125": "2125",
    "#### 1,234.50": "1234.5",
    "Example: #### 5\nMine: #### 7": "7",
    "####18": "18",
    "#### 18 apples in 3 boxes": "18",
    "#### -7": "-7",
    "so it is 7 ####": "7",  # an empty mark: what was said before counts
    # "the answer is"
    "The answer is 18": "18",  # lm-eval: must not become 1
    "The answer is 18.": "18",
    "The answer is $1,234.": "1234",
    "The answer is 18. She had 5 more.": "18",
    "The answer is 3 * 6 = 18 dollars. Check: 5": "18",
    "The answer is 5. No, the answer is 6.": "6",
    "Answer: 18\nThat took 2 steps": "18",
    r"Thus \boxed{2{,}125} in 3 steps": "2125",
    r"\boxed{\$18}": "18",
    r"\boxed{\frac{1}{2}}": "0.5",
    # the last number
    "She has 3, then 5.": "5",
    "It costs $29.00": "29",
    "**18**": "18",
    "So...18": "18",
    "20cm": "20",
    "the 3rd": "3",
    ".5": "0.5",
    "1,000,000": "1000000",
    "2,12": "12",
    # minus, or no minus
    "7-3": "3",
    "7 - 3": "3",
    "(2+5)-3": "3",
    "from 10-12": "12",
    "10–12": "12",
    "- 3 apples": "3",
    "it is -3": "-3",
    "= -3": "-3",
    "−4": "-4",
    "-$5": "-5",
    "$-5": "-5",
    # fractions and percent
    "3/4": "0.75",
    "1 1/2 cups": "1.5",
    r"\frac{3}{4}": "0.75",
    "9/3=3": "3",
    "5/0": "0",
    "on 10/2/2020": "2020",
    "24/7/365": "365",
    "25%": "25",
    r"25\%": "25",
    # nothing
    "": None,
    "no idea": None,
    "x2": None,
}


FINAL = {
    "3 + 4 = 7\nFinal answer: 7.": "7",
    "Final answer: 2,125": "2125",
    "Final answer: $1,234.50 in 2024": "2024",  # the last number, as the rule says
    "Final answer: 5. Final answer: 6.": "6",
    "Final Answer: 8": "8",
    "**Final answer:** 8": "8",
    "**Final Answer**: 8": "8",
    "Answer: 5\nFinal answer: 6": "6",
    "Final answer: 6\nAnswer: 7": "7",  # the last number after the mark, as the rule says
    "Answer: 5 or rather 6\nThat took me long": "6",
    "Answer: Let's think step by step. 3 and 4 make 7": "7",
    "3 + 4 = 7\nFinal answer:": None,  # it broke off: 7 was a step
    "Answer: 5\nFinal answer: none": None,
    "3 + 4 = 7\nAnswer: many": None,
    "Answer: many\nFinal answer: 7": "7",
    "Final answer: 7\nFinal answer: 8": "8",
    "Final answer: 7\nFinal answer:": None,
    "Final answer: 7\nAnswer: many": "7",
    "final answer 6, I think 9": "9",  # no colon: the last number
    "She has 3, then 5.": "5",
    "Final answer: -3": "-3",
    "no idea": None,
    "": None,
}


@pytest.mark.parametrize(("text", "expected"), FINAL.items())
def test_final_answer(text, expected):
    assert canonical(final_answer(text)) == expected


@pytest.mark.parametrize(
    ("rule", "found", "gold", "right"),
    [
        ("final_answer", "0.3333333333", "0.333333", True),
        ("final_answer", "18.000001", "18", True),
        ("final_answer", "18.0000011", "18", False),
        ("final_answer", "2125.00", "2125", True),
        ("final_answer", "125", "2125", False),
        ("hashes", "18.0", "18", True),
        ("hashes", "18.0000001", "18", False),
    ],
)
def test_equal_within_the_rules_tolerance(rule, found, gold, right):
    assert RULES[rule].right(Decimal(found), Decimal(gold)) is right
    assert RULES[rule].right(None, Decimal(gold)) is False


def test_votes_spell_equal_numbers_alike():
    spelled = RULES["final_answer"].spelled
    assert spelled(Decimal("18.00000004")) == spelled(Decimal("18")) == "18"
    assert spelled(Decimal("-0.0000001")) == "0"
    assert spelled(Decimal(1) / 3) == "0.333333"
    digits = "1234567890" * 5
    assert spelled(Decimal(digits)) == digits
    assert RULES["hashes"].spelled(Decimal("18.00000004")) == "18.00000004"


def test_long_text_of_marks_takes_no_time():
    assert final_answer("answer" + " " * 100_000 + "final answer" * 50_000 + " 5") == 5


@pytest.mark.parametrize(("text", "expected"), STRICT.items())
def test_strict(text, expected):
    assert canonical(strict(text)) == expected


@pytest.mark.parametrize(("text", "expected"), FLEXIBLE.items())
def test_flexible(text, expected):
    assert canonical(flexible(text)) == expected


@pytest.mark.parametrize(
    ("number", "text"),
    [("18.00", "18"), ("-0.0", "0"), ("0.50", "0.5"), ("1E+3", "1000"), ("100", "100")],
)
def test_canonical_has_one_spelling(number, text):
    assert canonical(Decimal(number)) == text


def test_canonical_keeps_every_digit():
    digits = "1234567890" * 5
    assert canonical(strict(f"#### {digits}.10")) == f"{digits}.1"


def test_long_text_of_minus_signs_takes_no_time():
    assert flexible("1-" * 100_000 + "5") == 5


def test_both_readings_find_every_gold_answer_of_gsm8k():
    folder = os.environ.get("REAL_DATA_DIR")
    if not folder:
        pytest.skip("REAL_DATA_DIR is unset: no real GSM8K here")
    lines = (Path(folder) / "gsm8k" / "test.jsonl").read_text(encoding="utf-8").splitlines()
    answers = [json.loads(line)["answer"] for line in lines]
    read = [(strict(answer), flexible(answer)) for answer in answers]
    assert len(read) == 1319
    assert all(one is not None and one == other for one, other in read)
