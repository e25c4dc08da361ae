"""Number extraction: every trap that is known, and the reference's rule as it stands."""

import json
import os
import random
import time
from decimal import Decimal
from pathlib import Path

import pytest

from snaketune.tasks.math_rules import RULES, final_answer, flexible, rule_of, strict
from snaketune.tasks.numbers import canonical

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


KINDS = {
    # headings, and marks that count
    "#### Step 1: Eggs\n6 - 3 = 3\n#### Step 2: Money\n3 * 2 = 6\n\nShe makes $6.": "6",
    "#### 1. Eggs\n6 - 3 = 3\n#### 2. Money\n3 * 2 = 6\n\nSo 6.": "6",
    "#### 1. Eggs\n6 - 2 = 4": "4",
    "#### 7. That is all": "7",
    "#### 7\n#### Explanation\nas 3 + 4 = 7": "7",
    "#### Answer: 7": "7",
    "####\n7": "7",
    "#### **$7**": "7",
    "#### \\boxed{7}": "7",
    "#### 3 * 4 = 12": "12",
    "#### 12, because 3 * 5 = 15": "12",
    # mixed numbers, fractions
    r"\boxed{2\frac{3}{4}}": "2.75",
    r"so -2\frac34": "-2.75",
    r"\frac{-3}{4}": "-0.75",
    r"\dfrac{1.5}{2}": "0.75",
    "2¾": "2.75",
    "2 ¾": "2.75",
    "-¾": "-0.75",
    "⅛": "0.125",
    # thoughts
    "<think>#### 4</think>\n#### 6": "6",
    "so 4 it was </think> 6": "6",
    "<think>it may be 4": None,
    "a</think><think>4": None,
    "[THINK]4[/THINK]6": "6",
    # powers
    "2.5e4": "25000",
    "2.5E-3": "0.0025",
    "2.5 × 10⁴": "25000",
    r"2.5 \cdot 10^{-1}": "0.25",
    "2e5000": None,
    "it covers 12 cm^2": "12",
    "it covers 12 m²": "12",
    r"\boxed{12 \text{ cm}^2}": "12",
    r"\boxed{90^\circ}": "90",
    "2^3": "8",
    # currency, signs, digits of other scripts
    "€1,200": "1200",
    "-€5": "-5",
    "HK$3": "3",
    "Rs. 300": "300",
    "Rs.300": "300",
    "¥300": "300",
    "－3": "-3",
    "１２": "12",
    "٣٫٥": "3.5",
    # thousands
    "12 000": "12000",
    "12\u202f000": "12000",
    "12’000": "12000",
    "1.234.567": "1234567",
    "1.234,50": "1234.5",
    "3, 100": "100",
    # reasons behind the answer, and expressions
    "The answer is 9, since 4 + 5 = 9 and 5 = 5*1": "9",
    "The answer is 9 because 4 + 5 = 9": "9",
    r"\boxed{x = 5}": "5",
    r"\boxed{\text{5 apples}}": "5",
    r"\boxed{5 \text{ a } 6}": "5",
    r"\boxed{3\sqrt{2}}": None,
    r"\boxed{2\pi}": None,
    r"it is 3\sqrt{2}": None,
    r"\boxed{4} and \boxed{5": "4",
    # the head of a line
    "a = 4\n-3 are left": "-3",
    "a = 4 -3": "3",
    # a base model that runs on
    "#### 6\n\nQuestion: Ann has 2.\n#### 2": "6",
    "A: 6\n\nQ: a farm has 9 cows": "6",
    "So 6.\n### Instruction:\nAdd 5\n### Response:\n10": "6",
    "So 6.<|im_end|>\n<|im_start|>user\n9": "6",
    "Problem: Ann has 2 and gets 4.\nAnswer: 6": "6",
    "Question: how many? Answer: 6": "6",
}


@pytest.mark.parametrize(("text", "expected"), KINDS.items())
def test_kinds_that_went_wrong(text, expected):
    assert canonical(flexible(text)) == expected


def test_the_cases_that_went_wrong():
    cases = Path(os.environ.get("REAL_DATA_DIR", "nowhere")).parent / "cases/math_answers.jsonl"
    if not cases.is_file():
        pytest.skip(f"found no {cases}: REAL_DATA_DIR is unset, or has no cases beside it")
    for line in map(json.loads, cases.read_text(encoding="utf-8").splitlines()):
        assert canonical(flexible(line["reply"])) == line["number"], line


PIECES = ["1", "9" * 40, "1,111,", "1 111 ", "1/", "1/2", r"\boxed{", "{", "}", r"\frac{"]
PIECES += [r"\frac1", "####", "#### 1. a\n", "answer", "answer is 1, ", "=", "-", "- ", "$", "US$"]
PIECES += ["Rs.", "½", "<think>", "</think>", "\n", "\nQuestion:", "\nQ: a", "^{", "2^10 ", "1e5"]
PIECES += ["*10^{3}", ".", ".5", "1.111.", "⁵", "−", "(", r"\text{", "*", " ", "final answer:", "0"]
PIECES += ["because ", "٣", "x", "a ", "1'000", r"\sqrt{", "\ud800", "\0"]


@pytest.mark.parametrize("rule", RULES)
def test_any_text_reads(rule):
    draw = random.Random(0)
    for _ in range(4000):
        text = "".join(draw.choices(PIECES, k=draw.randint(0, 12)))
        found = RULES[rule].read(text)
        assert RULES[rule].right(found, Decimal(1)) in (True, False)
        spelled = RULES[rule].spelled(found)
        assert spelled is None or len(spelled) < 5000


@pytest.mark.parametrize("seed", range(12))
def test_the_time_to_read_grows_with_the_length_alone(seed):
    draw = random.Random(seed)
    for unit in [*draw.sample(PIECES, 3), "".join(draw.choices(PIECES, k=2)), "a "]:
        seconds = []
        for size in (10_000, 80_000):
            text = (unit * size)[:size] + "5"
            start = time.process_time()
            for rule in RULES.values():
                rule.read(text)
            seconds.append(time.process_time() - start)
        assert seconds[1] < 1 or seconds[1] < 24 * seconds[0], (unit, seconds)


def test_a_very_long_reply_reads():
    for unit in ("1", "1 ", "a ", "#### 1\n", "1,000,"):
        text = unit * (300_000 // len(unit))
        start = time.process_time()
        for rule in RULES.values():
            rule.read(text)
        assert time.process_time() - start < 30


def test_headline_and_votes_read_by_one_rule():
    """A recipe's rule is that of its votes too."""
    assert set(RULES) == {"hashes", "flexible", "final_answer"}
    assert rule_of({"answer_rule": "flexible"}) is RULES["flexible"]
    assert rule_of({}) is RULES["hashes"]


def test_both_readings_find_every_gold_answer_of_gsm8k():
    folder = os.environ.get("REAL_DATA_DIR")
    if not folder:
        pytest.skip("REAL_DATA_DIR is unset: no real GSM8K here")
    lines = (Path(folder) / "gsm8k" / "test.jsonl").read_text(encoding="utf-8").splitlines()
    answers = [json.loads(line)["answer"] for line in lines]
    read = [(strict(answer), flexible(answer)) for answer in answers]
    assert len(read) == 1319
    assert all(one is not None and one == other for one, other in read)
