"""Adapters: what of a record becomes what of an example."""

import ast
import csv
import json
import os
import re
from pathlib import Path

import pytest
from prepared_data import prepared, write_lines

from snaketune.runtime.errors import UserError

ROOT = os.environ.get("REAL_DATA_DIR")
real = pytest.mark.skipif(not ROOT, reason="REAL_DATA_DIR is unset: no real data here")
REAL = Path(ROOT or ".")

SYMBOLIC = {"question": "How many?", "answer": "One.\nAnd 1,000.\n#### 1,001", "original_id": 7}
PRINTED = "{{'user_id': array([None], dtype=object), 'value': array([{!r}],\n      dtype=object)}}"


def _one(tmp_path, form, record):
    path = write_lines(tmp_path / "test.jsonl", [record])
    return prepared(path, form).splits["test"][0]


def _message(tmp_path, form, record):
    with pytest.raises(UserError) as error:
        _one(tmp_path, form, record)
    assert f"{tmp_path / 'test.jsonl'}:1: " in str(error.value)
    return str(error.value)


def test_gsm_symbolic(tmp_path):
    found = _one(tmp_path, "gsm_symbolic", {**SYMBOLIC, "final_answer": "1001"})
    assert (found.id, found.gold) == ("7", "1001")
    assert found.answer == "One.\nAnd 1,000.\nFinal answer: 1001."
    found = _one(tmp_path, "gsm_symbolic", {**SYMBOLIC, "id": 3, "instance": 12})
    assert found.id == "3-12"
    assert json.loads(found.meta) == {"original_id": 7, "instance": 12, "id": 3}


def test_gsm_symbolic_refuses_two_different_answers(tmp_path):
    message = _message(tmp_path, "gsm_symbolic", {**SYMBOLIC, "final_answer": "1002"})
    assert 'field final_answer: found the text "1002", expected 1001, the number' in message
    message = _message(tmp_path, "gsm_symbolic", {**SYMBOLIC, "answer": "1001"})
    assert "field answer" in message and "`#### ` and a number" in message


@real
def test_real_gsm_symbolic_training_file():
    (path,) = (REAL / "gsm_symbolic").glob("*train_4500*")
    found = prepared(path, "gsm_symbolic").splits["train"]
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert len(found) == len(rows) == 4500
    for example, row in zip(found, rows, strict=True):
        assert float(example.gold) == float(row["final_answer"].replace(",", ""))
        solution = re.sub(r"\s*####.*$", "", row["answer"])
        assert example.answer == f"{solution.strip()}\nFinal answer: {example.gold}."


QUOTED = "it's \"N\",\n'value': array(["
ORIGINAL = {"original-instruction": "I", "original-context": "C", "original-response": "R"}


@pytest.mark.parametrize(
    ("curated", "context"),
    [
        ({}, "C"),
        ({"new-context": None}, "C"),
        ({"new-context": "N"}, "N"),
        ({"new-context": ["", "N"]}, "N"),
        ({"new-context": {"user_id": [None], "value": ["N"], "status": ["submitted"]}}, "N"),
        ({"new-context": [{"user_id": None, "value": "N"}]}, "N"),
        ({"new-context": {"value": [""]}}, "C"),
        ({"new-context": PRINTED.format("")}, "C"),
        ({"new-context": PRINTED.format(QUOTED)}, QUOTED),
        ({"new-context": "{'user_id': [None], 'value': ['N'], 'status': ['submitted']}"}, "N"),
        ({"new-context": "[{'user_id': None, 'value': 'N', 'status': 'submitted'}]"}, "N"),
        ({"new-context": '{"value": ["N"], "user_id": [null]}'}, "N"),
        ({"new-context": "['N']"}, "N"),
        ({"new-context": '["", "N"]'}, "N"),
        ({"new-context": "[None]"}, "C"),
        ({"new-context": "[]"}, "C"),
        ({"new-context": PRINTED.format("N").replace("[None]", "[nan]")}, "N"),
        ({"new-context": PRINTED.format("N").replace("array([None], dtype=object)", "f(x)")}, "N"),
        ({"new-context": "{'value': array([nan], dtype=object)}"}, "C"),
        ({"new-context": "{'value': array(['' 'N'],\n      dtype=object)}"}, "N"),
        ({"new-context": float("nan")}, "C"),
        ({"new-context": {"value": [float("nan")]}}, "C"),
        ({"original-context": float("nan")}, None),
        # Answers that are lists or dicts, or only begin like them.
        ({"new-context": "[1, 2, 3]"}, "[1, 2, 3]"),
        ({"new-context": "{'a': 1}"}, "{'a': 1}"),
        ({"new-context": "[Chorus] la la"}, "[Chorus] la la"),
        ({"new-context": "{x: y} is a set"}, "{x: y} is a set"),
        ({"new-context": " \n"}, "C"),
        ({"original-context": " \n"}, None),
        ({"original-context": ""}, None),
        ({"original-context": None, "new-context": {"value": []}}, None),
    ],
)
def test_dolly_takes_the_curated_text_in_whatever_form(tmp_path, curated, context):
    found = _one(tmp_path, "dolly", {**ORIGINAL, **curated, "category": "open_qa"})
    assert (found.question, found.context, found.answer) == ("I", context, "R")
    assert found.gold == "R"
    assert json.loads(found.meta) == {"category": "open_qa"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"original-response": ""}, ["field original-response", "empty text", "expected text"]),
        ({"new-response": {"value": [3]}}, ["field new-response", "whose `value` is text"]),
        ({"new-response": "{'value': array(['a"}, ["field new-response", "printed dict"]),
        ({"new-response": "{'value': array(print(1))}"}, ["field new-response", "printed dict"]),
        ({"new-response": "[{'user_id': None, 'value': 'a"}, ["new-response", "printed dict"]),
        ({"new-response": '{"value": "a", "value": "b"}'}, ["new-response", "printed dict"]),
        ({"new-response": "{'value': 'a', 'value': 'b'}"}, ["new-response", "printed dict"]),
        ({"new-response": '{"value": ["a"'}, ["new-response", "printed dict"]),
        ({"new-response": "{'value': 3}"}, ["new-response", "whose `value` is text"]),
        ({"new-response": "['a', 'b']"}, ["new-response", "printed list of one suggestion"]),
        ({"new-response": "['a'\n   'b'\n 'c']"}, ["printed list of one suggestion"]),
    ],
)
def test_dolly_faults(tmp_path, change, words):
    message = _message(tmp_path, "dolly", {**ORIGINAL, **change})
    assert all(word in message for word in words), message


@real
def test_real_dolly():
    found = prepared(REAL / "dolly", "dolly")
    counts = [found.manifest["splits"][s]["out"] for s in ("train", "test")]
    assert counts == [1000, 15]
    for split in ("train", "test"):
        with (REAL / "dolly" / f"{split}.csv").open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
        for example, row in zip(found.splits[split], rows, strict=True):
            assert example.id == row["id"]
            assert example.answer == (_value(row["new-response"]) or row["original-response"])
            expected = _value(row["new-context"]) or row["original-context"] or None
            assert example.context == expected


def _value(printed):
    """The printed array's text, cut out between the names beside it."""
    cut = re.search(r"'value': array\(\[(.*)\],\s*dtype=object\), 'status'", printed, re.DOTALL)
    return ast.literal_eval(cut[1])
