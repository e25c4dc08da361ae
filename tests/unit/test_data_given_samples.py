"""Samples drawn elsewhere: in either form, with or without rewards, or refused."""

import json

import pytest
from prepared_data import write_lines

from snaketune.config.dataset import SampleSpec
from snaketune.data.example import Example, write_examples
from snaketune.data.given import import_predictions
from snaketune.runtime.errors import UserError
from snaketune.runtime.files import read_jsonl


@pytest.fixture
def run(tmp_path):
    """Brings records for two examples; what was written."""
    write_examples(tmp_path / "test.parquet", [Example(f"e{i}", "Q?", gold="1") for i in (0, 1)])

    def _run(records, largest=2, sample=None):
        file, out = write_lines(tmp_path / "given.jsonl", records), tmp_path / "out.jsonl"
        meta = tmp_path / "meta.json"
        import_predictions(
            file, tmp_path / "test.parquet", "math", sample, out, meta, largest=largest
        )
        return list(read_jsonl(out)), json.loads(meta.read_text())

    return _run


def lists(*samples):
    return [{"id": f"e{i}", "samples": list(texts)} for i, texts in enumerate(samples)]


def test_a_question_a_line_and_a_sample_a_line_are_the_same(run):
    rewards = [[0.5, None], [1, -2.0]]
    records = [r | {"rewards": w} for r, w in zip(lists("ab", "cd"), rewards, strict=True)]
    found, meta = run(records)
    assert found[1] == {"id": "e0", "sample": 1, "of": 2, "output": "b", "reward": None}
    assert [line["output"] for line in found] == list("abcd")
    assert meta["records"] == 4
    by_sample = [{k: v for k, v in line.items() if k != "of"} for line in found]
    assert run(by_sample[::-1])[0] == found


def test_rewards_stand_under_either_name_or_with_their_samples(run):
    texts = lists("ab", "cd")
    beside = [r | {"rewards": [0.5, None]} for r in texts]
    expected = run(beside)[0]
    assert expected[0]["reward"] == 0.5
    assert run([r | {"reward": [0.5, None]} for r in texts])[0] == expected
    within = [
        {"id": r["id"], "samples": [{"output": t, "reward": w} for t, w in pairs]}
        for r in texts
        for pairs in [list(zip(r["samples"], [0.5, None], strict=True))]
    ]
    assert run(within)[0] == expected


def test_samples_may_be_objects_without_rewards(run):
    records = [{"id": f"e{i}", "samples": [{"output": "a"}, {"output": "b"}]} for i in (0, 1)]
    assert run(records)[0] == run(lists("ab", "ab"))[0]


def test_without_rewards_there_are_none(run):
    found, _ = run(lists("abc", "def"), largest=2)
    assert [line["sample"] for line in found] == [0, 1, 2] * 2
    assert found[0] == {"id": "e0", "sample": 0, "of": 3, "output": "a"}


def test_what_the_sample_does_not_ask_is_left_aside(run):
    found, meta = run(lists("ab", "cd"), sample=SampleSpec(count=1))
    assert (len(found), meta["records"], meta["outside_the_sample"]) == (2, 2, 1)


LINE = {"id": "e0", "sample": 0, "output": "x"}


@pytest.mark.parametrize(
    ("records", "message"),
    [
        (lists("ab", "c"), "found 1 samples of e1, expected at least 2, the largest number"),
        (lists("ab", "cde"), r"found \[2, 3\] samples of a question, expected one number of all"),
        (lists("ab"), "1 missing: e1"),
        ([*lists("ab", "cd"), {"id": "x", "samples": ["a", "b"]}], "1 that no example has: x"),
        ([{"id": "e0", "samples": "ab"}], "given.jsonl:1: field samples: found the text"),
        ([{"id": "e0", "samples": ["a", 1]}], r"field samples\[1\]: found 1 .*expected text, or"),
        ([{"id": "e0", "samples": [{"text": "a"}]}], r"field samples\[0\].output: found null"),
        (
            [{"id": "e0", "samples": ["a", {"output": "b", "reward": "c"}]}],
            r"field samples\[1\].reward: found the text",
        ),
        (
            [{"id": "e0", "samples": ["a"], "reward": [1], "rewards": [1]}],
            "field rewards: found rewards in another place too",
        ),
        (
            [{"id": "e0", "samples": [{"output": "a", "reward": 1}], "reward": [1]}],
            "field reward: found rewards in another place too",
        ),
        ([{"id": "e0", "samples": ["a"], "reward": 1}], "field reward: found 1 .*one a sample"),
        ([{"id": "e0", "samples": ["a"], "rewards": []}], "expected 1 numbers, one a sample"),
        ([{"id": "e0", "samples": ["a"], "rewards": ["1"]}], "a number or null for each"),
        (['{"id": "e0", "samples": ["a"], "rewards": [NaN]}'], "a number or null for each"),
        ([LINE, LINE], "given.jsonl:2: field sample: found 0, expected each sample of a question"),
        ([LINE | {"sample": 1}], "id e0: field sample: found none of number 0"),
        ([{"id": "e0", "output": "x"}], "field sample: found null"),
        ([LINE | {"sample": True}], "field sample: found True"),
        ([LINE | {"output": None}], "field output: found null, expected text"),
        ([LINE | {"reward": "high"}], "field reward"),
        ([{"samples": ["a", "b"]}], "given.jsonl:1: field id"),
        ([LINE, LINE | {"sample": 1, "reward": 2}], "found no reward of 1 samples, such as 0 of"),
        (["{"], "given.jsonl:1: found"),
        ([], "2 missing: e0, e1"),
    ],
)
def test_bad_records_are_named(run, records, message):
    with pytest.raises(UserError, match=message):
        run(records)
