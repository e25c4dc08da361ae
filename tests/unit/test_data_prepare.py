"""A source of every kind becomes the same examples; splits, few-shot examples, manifest."""

import csv
import hashlib
import json
import random
from dataclasses import replace

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from prepared_data import prepare, prepared, problem, problems, write_lines

from snaketune.config.dataset import DatasetSpec
from snaketune.data.draws import dev_places, require_held_out_alike
from snaketune.data.example import Example, normalise, read_examples, write_examples
from snaketune.data.formats.base import format_for
from snaketune.runtime.errors import UserError

OUTPUTS = ["train.parquet", "dev.parquet", "test.parquet", "few_shot.json", "manifest.json"]
OUTPUTS += ["rejected.jsonl"]
OUTPUTS += [f"{s}.{e}" for s in ("train", "dev", "test") for e in ("csv", "jsonl", "json")]


def _csv(path, records, bom=False):
    with path.open("w", newline="", encoding="utf-8-sig" if bom else "utf-8") as file:
        writer = csv.DictWriter(file, list(records[0]))
        writer.writeheader()
        writer.writerows(records)
    return path


def _json(path, records):
    path.write_text(json.dumps(records), encoding="utf-8")
    return path


def _parquet(path, records):
    pq.write_table(pa.Table.from_pylist(records), path)
    return path


def _saved(path, records):
    datasets.Dataset.from_list(records).save_to_disk(str(path))
    return path


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("train.jsonl", write_lines),
        ("train.json", _json),
        ("train.csv", _csv),
        ("train.csv", lambda path, records: _csv(path, records, bom=True)),
        ("train.parquet", _parquet),
        ("train", _saved),
    ],
)
def test_every_kind_of_file_gives_the_same_examples(tmp_path, name, write):
    records = [*problems(0, 5), {"question": "Two\nlines, “ü”\u2028?", "answer": "#### 1,000"}]
    found = prepared(write(tmp_path / name, records)).splits["train"]
    assert [(e.question, e.answer) for e in found] == [
        (r["question"], r["answer"]) for r in records
    ]
    assert [e.gold for e in found] == ["2", "4", "6", "8", "10", "1000"]
    assert [e.id for e in found] == [f"d-train-{n:05d}" for n in range(1, 7)]
    assert [e.record for e in found] == [1, 2, 3, 4, 5, 6]
    assert {e.source.split("/")[-1] for e in found} == {name}


def test_record_numbers_are_lines_in_jsonl(tmp_path):
    path = write_lines(tmp_path / "train.jsonl", ["", problem(1), "  ", problem(2)])
    assert [e.record for e in prepared(path).splits["train"]] == [2, 4]


def test_saved_folder_with_splits_and_ready_dev(tmp_path):
    splits = {"train": problems(0, 6), "validation": problems(6, 8), "test": problems(8, 11)}
    saved = {name: datasets.Dataset.from_list(rows) for name, rows in splits.items()}
    datasets.DatasetDict(saved).save_to_disk(str(tmp_path / "saved"))
    found = prepared(tmp_path / "saved")
    assert [len(found.splits[s]) for s in ("train", "dev", "test")] == [6, 2, 3]
    assert found.splits["dev"][0].source == "saved/validation"
    with pytest.raises(UserError, match=r"datasets\.d\.dev: found 2 .*own \(2 records\)"):
        prepared(tmp_path / "saved", dev=2)


def test_a_saved_split_is_taken_by_its_name_and_others_are_named(tmp_path):
    splits = {"train": 6, "train_augmented": 3, "test": 2, "extra": 1}
    saved = {k: datasets.Dataset.from_list(problems(0, n)) for k, n in splits.items()}
    datasets.DatasetDict(saved).save_to_disk(str(tmp_path / "saved"))
    found = prepared(tmp_path / "saved", few_shot={"count": 0})
    assert [len(found.splits[s]) for s in ("train", "dev", "test")] == [6, 0, 2]
    assert found.manifest["unused"] == ["extra", "train_augmented"]
    assert len(prepared({"test": tmp_path / "saved"}).splits["test"]) == 2
    del saved["train"]
    saved["my_train"] = saved["train_augmented"]
    datasets.DatasetDict(saved).save_to_disk(str(tmp_path / "two"))
    with pytest.raises(UserError, match=r"train_augmented, my_train in .*, which all speak of tr"):
        prepared(tmp_path / "two")
    assert len(prepared({"test": tmp_path / "two"}).splits["test"]) == 2, "of which there is one"


def test_a_context_is_part_of_a_few_shot_question(tmp_path):
    """Where every row asks the same of another text."""
    rows = [{"q": "Good or bad?", "text": f"Review {i}", "label": "gb"[i % 2]} for i in range(9)]
    columns = {"question": "q", "context": "text", "label": "label"}
    source = {
        "train": write_lines(tmp_path / "train.jsonl", rows[:6]),
        "test": write_lines(tmp_path / "test.jsonl", rows[6:]),
    }
    found = prepared(
        source, "table", columns=columns, labels=["g", "b"], few_shot={"count": 2}, dev=2
    )
    assert [len(found.splits[s]) for s in ("train", "dev", "test")] == [4, 2, 3]
    assert all(s.question == f"Good or bad?\n\nReview {s.index}" for s in found.shots)
    shown = {s.id for s in found.shots}
    assert len(shown) == 2 and not shown & {e.id for e in found.splits["dev"]}


@pytest.mark.parametrize("with_context", [True, False])
def test_a_few_shot_file_s_question_is_known_with_or_without_its_context(tmp_path, with_context):
    rows = [{"question": f"Ask {i}", "text": f"Of {i}", "answer": "r"} for i in range(9)]
    file = tmp_path / "shots.json"
    file.write_text(json.dumps([{**rows[3], "text": "Of 3" if with_context else ""}]))
    columns = {"question": "question", "context": "text", "answer": "answer"}
    path = write_lines(tmp_path / "train.jsonl", rows)
    found = prepared(path, "table", columns=columns, few_shot={"file": str(file)}, dev=8)
    assert [(s.index, s.question) for s in found.shots] == [(3, "Ask 3\n\nOf 3")]
    assert [e.question for e in found.splits["train"]] == ["Ask 3"], "it is never held out"


def test_own_ids_are_kept_though_splits_number_alike(tmp_path):
    rows = [{"id": n, **problem(n)} for n in range(4)]
    train = write_lines(tmp_path / "train.jsonl", rows)
    assert [e.id for e in prepared(train).splits["train"]] == ["0", "1", "2", "3"]
    more = [{"original_id": n, **problem(n + 9)} for n in range(2)]
    test = write_lines(tmp_path / "test.jsonl", more)
    found = prepared({"train": train, "test": test})
    assert [e.id for e in found.splits["test"]] == ["0", "1"]
    assert [e.id for e in found.splits["train"]] == ["0", "1", "2", "3"]
    assert sorted(found.manifest["few_shot"]["ids"]) == ["0", "1", "2", "3"]


def test_few_shot_and_dev_are_drawn_as_documented(tmp_path):
    path = write_lines(tmp_path / "train.jsonl", problems(0, 60))
    found = prepared(path, dev=20, seed=7)
    shots = random.Random(42).sample(range(60), 8)
    assert [shot.index for shot in found.shots] == shots
    assert [shot.question for shot in found.shots] == [problem(i)["question"] for i in shots]
    # None that a count of up to 21 would draw: 8 and 21 begin alike.
    wide = random.Random(42).sample(range(60), 21)
    assert wide[:8] == shots
    free = [i for i in np.random.default_rng(7).permutation(60).tolist() if i not in wide]
    dev = sorted(free[:20])
    assert [e.record - 1 for e in found.splits["dev"]] == dev
    assert [e.record - 1 for e in found.splits["train"]] == sorted(set(range(60)) - set(dev))


def test_of_few_records_dev_is_what_the_few_shot_examples_leave(tmp_path):
    path = write_lines(tmp_path / "train.jsonl", problems(0, 28))
    # 7 are left beside the 21 that a larger count would draw: enough for 7, not for 8.
    for dev, drawn in ((7, 21), (8, 8)):
        found = prepared(path, dev=dev, seed=7)
        taken = random.Random(42).sample(range(28), drawn)
        free = [i for i in np.random.default_rng(7).permutation(28).tolist() if i not in taken]
        assert [e.record - 1 for e in found.splits["dev"]] == sorted(free[:dev])


def test_another_count_that_would_hold_out_others_is_told(tmp_path):
    rows = [Example(f"{i}", f"Q{i}", answer="A") for i in range(28)]
    form = format_for(DatasetSpec(source="train.jsonl", format="gsm8k"))

    def told(count: int, held: list[int], dev: int) -> None:
        spec = DatasetSpec(source="train.jsonl", format="gsm8k", dev=dev, few_shot={"count": count})
        require_held_out_alike(rows, held, spec, form, "datasets.d")

    for dev in (7, 8):
        spec = DatasetSpec(source="train.jsonl", format="gsm8k", dev=dev)
        held = dev_places(rows, spec, form, "datasets.d")
        told(8, held, dev)
    told(9, dev_places(rows, spec.model_copy(update={"dev": 7}), form, "datasets.d"), 7)
    with pytest.raises(UserError, match="--forcerun prepare_held_out"):
        told(20, held, 8)
    told(20, [], 0)


def test_copies_of_a_few_shot_example_stay_out_of_dev(tmp_path):
    rows = problems(0, 12)
    (shown,) = random.Random(42).sample(range(12), 1)
    copy = {**rows[shown], "question": rows[shown]["question"].upper()}
    others = [i for i in range(12) if i != shown]
    rows[others[0]] = rows[others[5]] = copy
    found = prepared(write_lines(tmp_path / "train.jsonl", rows), dev=9, few_shot={"count": 1})
    assert [shot.index for shot in found.shots] == [shown]
    texts = {normalise(e.question) for e in found.splits["dev"]}
    assert len(texts) == 9
    assert normalise(copy["question"]) not in texts


def test_few_shot_file_is_used_as_it_stands(tmp_path):
    path = write_lines(tmp_path / "train.jsonl", problems(0, 10))
    own = [problem(3), {"question": "Not among them?", "answer": "#### 1"}]
    file = _json(tmp_path / "shots.json", own)
    found = prepared(path, few_shot={"file": str(file)})
    assert [(s.index, s.id) for s in found.shots] == [(3, "d-train-00004"), (None, "few_shot-2")]
    assert found.manifest["few_shot"]["file"]["name"] == "shots.json"


def test_fewer_records_than_few_shot_examples(tmp_path):
    path = write_lines(tmp_path / "train.jsonl", problems(0, 3))
    prepare(DatasetSpec(source=str(path), format="gsm8k"), tmp_path / "d")
    shots = json.loads((tmp_path / "d" / "few_shot.json").read_text())
    order = random.Random(42).sample(range(3), 3)
    assert shots == [{"index": i, "id": f"d-train-{i + 1:05d}", **problem(i)} for i in order]


def test_a_test_row_is_never_its_own_example(tmp_path):
    train = write_lines(tmp_path / "train.jsonl", problems(0, 8))
    test = write_lines(
        tmp_path / "test.jsonl",
        [problem(90), {**problem(5), "question": problem(5)["question"].upper()}],
    )
    with pytest.raises(UserError, match=r"few_shot: .*d-train-00006 .*test\.jsonl:2"):
        prepared({"train": train, "test": test})
    found = prepared({"train": train, "test": test}, overlap="drop")
    assert [e.id for e in found.splits["test"]] == ["d-test-00001"]


def test_overlap_is_reported_or_dropped(tmp_path):
    long = "A boat leaves the harbour at nine and sails {} miles east."
    train = [*problems(0, 9), {"question": long.format("ten"), "answer": "#### 10"}]
    tests = [
        problem(50),
        {"question": problem(8)["question"].replace(" ", "  "), "answer": "#### 1"},
        {"question": long.format("six"), "answer": "#### 6"},
    ]
    source = {
        "train": write_lines(tmp_path / "train.jsonl", train),
        "test": write_lines(tmp_path / "test.jsonl", tests),
    }
    told = prepared(source, few_shot={"count": 0}).manifest
    pairs = told["leakage"]["comparisons"]["test in train"]["pairs"]
    assert [(p["left"], p["right"], p["kind"]) for p in pairs] == [
        ("d-test-00002", "d-train-00009", "exact"),
        ("d-test-00003", "d-train-00010", "near"),
    ]
    assert told["splits"]["test"] == {"in": 3, "out": 3, "rejected": {}}
    dropped = prepared(source, few_shot={"count": 0}, overlap="drop")
    assert dropped.manifest["splits"]["test"] == {"in": 3, "out": 1, "rejected": {"overlap": 2}}
    assert [(r.record, r.fault.reason) for r in dropped.rejected] == [
        (2, "overlap"),
        (3, "overlap"),
    ]


def test_dropping_overlap_must_leave_something_to_test(tmp_path):
    train = write_lines(tmp_path / "train.jsonl", problems(0, 9))
    test = write_lines(tmp_path / "test.jsonl", problems(3, 5))
    source = {"train": train, "test": test}
    with pytest.raises(UserError, match=r"datasets.d.overlap: found all 2 test records .*d-test"):
        prepared(source, few_shot={"count": 0}, overlap="drop")


def test_limit_takes_the_first_records_of_each_split(tmp_path):
    write_lines(tmp_path / "train.jsonl", [*problems(0, 5), "no JSON"])
    write_lines(tmp_path / "test.jsonl", problems(20, 29))
    found = prepared(tmp_path, limit=4)
    assert [e.record for e in found.splits["test"]] == [1, 2, 3, 4]
    assert found.manifest["splits"]["train"]["in"] == 4


def test_in_is_out_plus_rejected_and_the_rejected_are_listed(tmp_path):
    bad = [{"question": "No answer?"}, "{", {**problem(3), "answer": "none"}]
    path = write_lines(tmp_path / "train.jsonl", [*problems(10, 20), *bad])
    spec = DatasetSpec(source=str(path), format="gsm8k", rejected_at_most=0.3, dev=2, licence="MIT")
    prepare(spec, tmp_path / "d")
    told = json.loads((tmp_path / "d" / "manifest.json").read_text())
    reasons = {"missing": 1, "no_final_number": 1, "not_json": 1}
    assert told["splits"]["train"] == {"in": 11, "out": 8, "rejected": reasons}
    assert told["splits"]["dev"] == {"in": 2, "out": 2, "rejected": {}}
    (source,) = told["sources"]
    assert source["records"] == 13
    assert source["files"] == [
        {
            "name": "train.jsonl",
            "bytes": path.stat().st_size,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        }
    ]
    rows = [json.loads(x) for x in (tmp_path / "d" / "rejected.jsonl").read_text().splitlines()]
    assert [(r["record"], r["reason"], r["field"]) for r in rows] == [
        (11, "missing", "answer"),
        (12, "not_json", None),
        (13, "no_final_number", "answer"),
    ]
    assert [r["raw"] for r in rows] == [bad[0], "{", bad[2]]
    assert len(read_examples(tmp_path / "d" / "train.parquet")) == 8


def test_same_input_same_bytes_wherever_it_lies(tmp_path):
    for place in ("one", "two"):
        write_lines(tmp_path / place / "train.jsonl", problems(0, 30))
        write_lines(tmp_path / place / "test.jsonl", problems(40, 50))
        write_lines(tmp_path / place / "notes.jsonl", problems(0, 1))
        spec = DatasetSpec(source=str(tmp_path / place), format="gsm8k", dev=4)
        prepare(spec, tmp_path / "out" / place / "d")
    one, two = tmp_path / "out" / "one" / "d", tmp_path / "out" / "two" / "d"
    assert sorted(p.name for p in one.iterdir()) == sorted(OUTPUTS)
    for name in OUTPUTS:
        assert (one / name).read_bytes() == (two / name).read_bytes(), name
    assert str(tmp_path) not in (one / "manifest.json").read_text()
    assert json.loads((one / "manifest.json").read_text())["unused"] == ["notes.jsonl"]


def test_ailuminate_keeps_hazard_and_persona(tmp_path):
    rows = [
        {"release_prompt_id": "p1", "prompt_text": "Say a, b", "hazard": "spc_fin", "persona": ""},
        {"release_prompt_id": "p2", "prompt_text": "Say c", "hazard": "cse", "persona": "skilled"},
    ]
    found = prepared(_csv(tmp_path / "prompts.csv", rows), "ailuminate").splits["test"]
    assert [(e.id, e.question) for e in found] == [("p1", "Say a, b"), ("p2", "Say c")]
    kept = [{"hazard": "spc_fin"}, {"hazard": "cse", "persona": "skilled"}]
    assert [json.loads(e.meta) for e in found] == kept
    short = _csv(tmp_path / "short.csv", [{"prompt": "Say d"}])
    assert [e.id for e in prepared(short, "ailuminate").splits["test"]] == ["d-test-00001"]


def test_schema_keeps_every_kind_of_value(tmp_path):
    full = Example("a", "q", "c", "r", "1", ["x", ""], "x", '{"h": 1}', "f.jsonl", 7)
    rows = [full, replace(full, id="b", context=None, answer=None, gold=None, choices=None)]
    write_examples(tmp_path / "x.parquet", rows)
    assert read_examples(tmp_path / "x.parquet") == rows
    write_examples(tmp_path / "x.parquet", [])
    assert read_examples(tmp_path / "x.parquet") == []
