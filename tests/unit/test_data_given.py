"""Predictions made elsewhere: taken as they are, or refused with the ids and fields at fault."""

import json

import pytest
from prepared_data import write_lines

from snaketune.config.dataset import SampleSpec
from snaketune.data.check import Rejected, SplitReport
from snaketune.data.example import Example, write_examples
from snaketune.data.given import import_predictions
from snaketune.data.record import RecordError
from snaketune.runtime.errors import UserError
from snaketune.runtime.files import read_jsonl


@pytest.fixture
def run(tmp_path):
    """Brings records for four examples with two options each; what was written."""
    examples = [Example(f"e{i}", f"Q{i}?", choices=["yes", "no"], label="A") for i in range(4)]
    write_examples(tmp_path / "test.parquet", examples)

    def _run(records, task="open_qa", sample=None):
        file = write_lines(tmp_path / "given.jsonl", records)
        out = tmp_path / "out.jsonl"
        import_predictions(
            file, tmp_path / "test.parquet", task, sample, out, tmp_path / "meta.json"
        )
        return list(read_jsonl(out)), json.loads((tmp_path / "meta.json").read_text())

    return _run


def texts(*numbers):
    return [{"id": f"e{i}", "output": f"answer {i}"} for i in numbers]


def test_texts_come_in_the_order_of_the_examples(run):
    records, meta = run(texts(2, 0, 3, 1))
    assert [r["output"] for r in records] == [f"answer {i}" for i in range(4)]
    assert (meta["made"], meta["file"], meta["records"]) == ("elsewhere", "given.jsonl", 4)


def test_what_the_sample_does_not_ask_is_left_aside(run):
    records, meta = run(texts(0, 1, 2, 3), sample=SampleSpec(count=2))
    assert (len(records), meta["outside_the_sample"]) == (2, 2)


def test_ids_that_do_not_match_are_listed(run):
    with pytest.raises(UserError) as error:
        run([*texts(0, 1), {"id": "x9", "output": ""}, {"id": "x8", "output": ""}])
    assert "2 that no example has: x8, x9; and 2 missing: e2, e3" in str(error.value)


def test_an_id_may_have_its_split_in_front(run):
    given = [*texts(0, 1), {"id": "test-e2", "output": "x"}, {"id": "test-e3", "output": "y"}]
    records, _ = run(given)
    assert [(r["id"], r["output"]) for r in records[2:]] == [("e2", "x"), ("e3", "y")]
    with pytest.raises(UserError, match="1 that no example has: dev-e3; and 1 missing: e3"):
        run([*texts(0, 1, 2), {"id": "dev-e3", "output": "y"}])
    with pytest.raises(UserError, match="1 that no example has: test-e3"):
        run([*texts(0, 1, 2, 3), {"id": "test-e3", "output": "another answer to e3"}])


def test_what_was_held_out_may_have_the_split_in_front_that_it_was_held_out_of(tmp_path):
    write_examples(tmp_path / "dev.parquet", [Example("7", "Q?")])
    file = write_lines(tmp_path / "given.jsonl", [{"id": "train-7", "output": "x"}])
    paths = (file, tmp_path / "dev.parquet", "open_qa", None, tmp_path / "out.jsonl")
    import_predictions(*paths, tmp_path / "meta.json", report=SplitReport({}, held_out=[7]))
    assert [r["id"] for r in read_jsonl(tmp_path / "out.jsonl")] == ["7"]
    with pytest.raises(UserError, match="1 that no example has: train-7"):
        import_predictions(*paths, tmp_path / "meta.json")


@pytest.mark.parametrize("scores", [[-2, -1.5], {"A": -2, "B": -1.5}])
def test_bare_scores_of_options_say_nothing_of_tokens(run, scores):
    given = [{"id": f"e{i}", "scores": scores} for i in range(4)]
    records, _ = run(given, "multiple_choice")
    assert records[0] == {"id": "e0", "scores": [-2, -1.5]}


def test_sums_of_options_come_with_their_tokens_and_characters(run):
    found = {"sums": [-2, -1.5], "tokens": {"B": 2, "A": 1}, "characters": [3, 2]}
    given = [{"id": f"e{i}", **found} for i in range(4)]
    records, _ = run(given, "multiple_choice")
    assert records[3] == {"id": "e3", "sums": [-2, -1.5], "tokens": [1, 2], "characters": [3, 2]}


SUMS = {"id": "e0", "sums": [-1, -2], "tokens": [1, 1], "characters": [3, 2]}


@pytest.mark.parametrize(
    ("record", "task", "message"),
    [
        ({"id": "e0", "scores": [1]}, "multiple_choice", "given.jsonl:1: id e0: field scores"),
        ({"id": "e0", "scores": {"A": 1, "C": 2}}, "multiple_choice", "expected 2 numbers"),
        ({"id": "e0", "scores": [1, "2"]}, "multiple_choice", "expected 2 numbers"),
        ('{"id": "e0", "scores": [1, NaN]}', "multiple_choice", "field scores: found nan (float)"),
        ('{"id": "e0", "scores": [-Infinity, 1]}', "multiple_choice", "found -inf (float)"),
        (SUMS | {"tokens": [1, 0]}, "multiple_choice", "field tokens: found 0 (int) among them"),
        (SUMS | {"tokens": [1, 1.5]}, "multiple_choice", "expected 2 whole numbers from 1"),
        (SUMS | {"characters": None}, "multiple_choice", "field characters: found null"),
        ({"id": "e0"}, "open_qa", "given.jsonl:1: id e0: field output: found null"),
        ({"output": "x"}, "open_qa", "given.jsonl:1: field id"),
        ("{", "open_qa", "given.jsonl:1: found"),
        (
            '{"id": "e0", "output": "x", "output": "y"}',
            "open_qa",
            "given.jsonl:1: field output: found this key 2 times, expected each key once",
        ),
        (
            '{"id": "e0", "scores": {"A": 1, "B": 2, "A": 3}}',
            "multiple_choice",
            "given.jsonl:1: field scores.A: found this key 2 times",
        ),
        (
            {"id": "e1", "output": "x"},
            "open_qa",
            "given.jsonl:2: field id: found 'e1', which line 1",
        ),
    ],
)
def test_a_bad_record_is_named(run, record, task, message):
    others = [{"id": f"e{i}", "output": "x", "scores": [1, 2]} for i in (1, 2, 3)]
    with pytest.raises(UserError) as error:
        run([record, *others], task)
    assert message in str(error.value)


def test_a_verdict_made_elsewhere_stays_with_its_reply(run):
    given = [r | {"verdict": "SAFE"} for r in texts(0, 1, 2)] + texts(3)
    records, _ = run(given, "safety")
    assert [r.get("verdict") for r in records] == ["SAFE", "SAFE", "SAFE", None]
    with pytest.raises(UserError, match="id e3: field verdict: found 1 "):
        run([*texts(0, 1, 2), {"id": "e3", "output": "", "verdict": 1}], "safety")


def test_a_verdict_stands_alone_too(run):
    records, _ = run([{"id": f"e{i}", "verdict": "UNSAFE"} for i in range(4)], "safety")
    assert (records[0]["output"], records[0]["verdict"]) == (None, "UNSAFE")
    with pytest.raises(UserError, match=r"id e3: field output: found 7 .*, expected text"):
        run([*texts(0, 1, 2), {"id": "e3", "output": 7, "verdict": "SAFE"}], "safety")
    with pytest.raises(UserError, match="id e3: field output: found null, expected text"):
        run([*texts(0, 1, 2), {"id": "e3", "verdict": "SAFE"}], "open_qa")


def test_a_verdict_means_nothing_to_another_task(run):
    records, _ = run([r | {"verdict": "SAFE"} for r in texts(0, 1, 2, 3)])
    assert "verdict" not in records[0]


def classed(tmp_path, records):
    """Brings records for three examples with the labels 0 and 1."""
    examples = [Example(f"e{i}", f"Q{i}?", answer="0", label="0") for i in range(3)]
    write_examples(tmp_path / "test.parquet", examples)
    file, out = write_lines(tmp_path / "given.jsonl", records), tmp_path / "out.jsonl"
    paths = (file, tmp_path / "test.parquet", "classification", None, out, tmp_path / "meta.json")
    import_predictions(*paths, ["0", "1"])
    return list(read_jsonl(out))


def test_probabilities_of_labels(tmp_path):
    given = [
        {"id": "e2", "probabilities": {"1": 0.75, "0": 0.25}},
        {"id": "e0", "probabilities": [0, 1]},
        {"id": "e1", "output": "1"},
    ]
    assert classed(tmp_path, given) == [
        {"id": "e0", "probabilities": [0.0, 1.0]},
        {"id": "e1", "output": "1", "finish": None, "new_tokens": None},
        {"id": "e2", "probabilities": [0.25, 0.75]},
    ]
    sums = [{"id": f"e{i}", "sums": [-1, -2.5]} for i in range(3)]
    assert classed(tmp_path, sums)[1] == {"id": "e1", "sums": [-1.0, -2.5]}


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ([0.5], "found a list of 1, expected 2 numbers, one a label, as a list or by label (0, 1)"),
        ({"0": 0.5, "2": 0.5}, "found an object (2 fields: 0, 2), expected 2 numbers"),
        ([0.5, True], "expected 2 numbers"),
        ([0.5, "0.5"], "expected 2 numbers"),
        ([0.7, 0.6], "which add up to 1.3, expected probabilities from 0 to 1"),
        ([-0.1, 0.6], "found -0.1 to 0.6"),
        ([0, 0], "which add up to 0"),
        (None, "found null"),
    ],
)
def test_bad_probabilities_are_named(tmp_path, found, message):
    good = [{"id": f"e{i}", "probabilities": [0.5, 0.5]} for i in (0, 1)]
    with pytest.raises(UserError) as error:
        classed(tmp_path, [*good, {"id": "e2", "probabilities": found}])
    assert "given.jsonl:3: id e2: field probabilities: " in str(error.value)
    assert message in str(error.value)


def test_what_was_left_out_for_its_overlap_may_be_answered_too(tmp_path):
    examples = [Example("e0", "Q0?"), Example("e1", "Q1?")]
    write_examples(tmp_path / "test.parquet", examples)
    rejected = [
        Rejected("t.jsonl", 3, RecordError(reason, None, "a", "b"), {"id": name}).row()
        for reason, name in (("overlap", "e2"), ("missing", "e3"))
    ]
    report = SplitReport({}, rejected=rejected)

    def answered(*numbers):
        file, out = write_lines(tmp_path / "g.jsonl", texts(*numbers)), tmp_path / "out.jsonl"
        meta = tmp_path / "meta.json"
        import_predictions(
            file, tmp_path / "test.parquet", "open_qa", None, out, meta, report=report
        )
        return [r["id"] for r in read_jsonl(out)], json.loads(meta.read_text())

    ids, meta = answered(0, 1, 2)
    assert (ids, meta["overlapping"], meta["outside_the_sample"]) == (["e0", "e1"], 1, 0)
    assert answered(0, 1)[1]["overlapping"] == 0
    with pytest.raises(UserError, match="1 that no example has: e3"):
        answered(0, 1, 3)


def test_thoughts_are_cut_and_kept(run):
    given = texts(0, 1, 2, 3)
    given[1]["output"] = "<think>\nhm\n</think>\n\nyes"
    given[2]["output"] = "<think>\nhm, yes"
    records, _ = run(given)
    assert [r["output"] for r in records] == ["answer 0", "yes", "", "answer 3"]
    assert [r.get("thoughts") for r in records] == [None, "<think>\nhm\n", "<think>\nhm, yes", None]
    assert [r.get("thoughts_ended") for r in records] == [None, True, False, None]
