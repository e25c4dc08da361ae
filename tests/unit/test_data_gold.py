"""The final number of reference answers."""

import json

import pytest

from snaketune.config.dataset import ColumnsSpec
from snaketune.data.formats.table import NamedColumns
from snaketune.data.formats.values import canonical_number, final_number
from snaketune.data.record import Fields, RecordError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2,125", "2125"),
        ("1,450,000", "1450000"),
        ("43.750", "43.75"),
        ("-7", "-7"),
        ("\u22127", "-7"),
        ("+7", "7"),
        ("-0.0", "0"),
        (".5", "0.5"),
        ("100", "100"),
        ("0072", "72"),
        ("$29.00", "29"),
        ("-$1,200.50", "-1200.5"),
        ("$-3", "-3"),
        ("25%", "25"),
        (" 18. ", "18"),
        ("123456789012345678901234567890.10", "123456789012345678901234567890.1"),
        # What would be read wrongly is refused.
        ("2,5", None),
        ("1,00", None),
        ("3/4", None),
        ("12 apples", None),
        ("1.5 million", None),
        ("7-3", None),
        ("", None),
        ("1e3", None),
    ],
)
def test_canonical(text, expected):
    assert canonical_number(text) == expected


def test_final_number_is_what_the_answer_ends_with():
    assert final_number("as in #### 5\nbut twice\n#### 10\n") == "10"
    assert final_number("#### 10\nand so on") is None
    assert final_number("The answer is 10") is None


@pytest.mark.parametrize(
    "answer",
    [["Rome", "the city of Rome"], {"text": ["Rome", "the city of Rome"], "answer_start": [0, 3]}],
)
def test_of_a_list_of_answers_the_first_is_trained_on_and_all_are_right(answer):
    table = NamedColumns(ColumnsSpec(question="q", answer="a", keep=["topic"]), False)
    found = table.example(Fields({"q": "Where?", "a": answer, "topic": "x"}))
    assert (found.answer, found.gold) == ("Rome", "Rome")
    assert json.loads(found.meta) == {"topic": "x", "golds": ["the city of Rome"]}


@pytest.mark.parametrize("answer", [[], ["Rome", ""], ["Rome", 3], {"text": []}])
def test_a_list_that_holds_no_answers_is_rejected(answer):
    table = NamedColumns(ColumnsSpec(question="q", answer="a"), False)
    with pytest.raises(RecordError):
        table.example(Fields({"q": "Where?", "a": answer}))
