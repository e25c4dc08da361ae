"""Bad input ends in one message that names file, place, field, what was found and expected."""

import csv
import json

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from prepared_data import prepared, problem, problems, write_lines

from snaketune.runtime.errors import UserError

GOOD = problem(1)
SECRET = "a prompt that must not be shown"


def _message(source, form="gsm8k", **settings):
    with pytest.raises(UserError) as error:
        prepared(source, form, **settings)
    return str(error.value)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"question": "a"', ["found Expecting ',' delimiter", "column", "expected one JSON obj"]),
        ("plain text", ["found Expecting value", "expected one JSON object a line"]),
        ("[1, 2]", ["found a list of 2", "expected a JSON object"]),
        ("null", ["found null", "expected a JSON object"]),
        ('{"question": "\\ud83d", "answer": "#### 1"}', ["surrogate", "expected Unicode text"]),
        ({"answer": "#### 1"}, ["field question", "1 field: answer", "expected text"]),
        ({"question": "Q?"}, ["field answer", "no such field", "question", "expected text"]),
        ({**GOOD, "answer": None}, ["field answer", "found null", "expected text"]),
        ({**GOOD, "answer": 7}, ["field answer", "found 7 (int)", "expected text"]),
        ({**GOOD, "question": " \n"}, ["field question", "found empty text", "expected text"]),
        ({**GOOD, "answer": "So 7."}, ["field answer", '"So 7."', "`#### ` and a number"]),
        ({**GOOD, "answer": "#### many"}, ["field answer", "#### many", "and a number"]),
        ({**GOOD, "answer": "#### 2,5"}, ["field answer", "#### 2,5", "and a number"]),
        ({**GOOD, "id": "x"}, ["field id", 'text "x"', "train.jsonl:1 has too", "a unique id"]),
        ({**GOOD, "id": [1]}, ["field id", "a list of 1", "text or a whole number"]),
        ({**GOOD, "id": True}, ["field id", "True (bool)", "text or a whole number"]),
        ('{"question": "Q?", "question": "R?"}', ["field question: found this key 2 times"]),
        ('{"m": [0, {"a": 1, "\\u0061": 1}]}', ["field m[1].a: found this key 2", "key once"]),
        ('[{"a": 1, "a": 2}]', ["found a list of 1", "expected a JSON object"]),
    ],
)
def test_bad_records(tmp_path, line, words):
    path = write_lines(tmp_path / "train.jsonl", [{"id": "x", **problem(0)}, line])
    message = _message(path)
    assert f"{path}:2: " in message
    assert "1 of 2 records for train rejected" in message
    assert "datasets.d.rejected_at_most" in message
    assert all(word in message for word in words), message


def test_few_of_many_bad_records_are_shown_with_the_total(tmp_path):
    bad = [{"question": f"q{n}", "answer": "?"} for n in range(12)]
    path = write_lines(tmp_path / "train.jsonl", [*problems(0, 36), *bad])
    message = _message(path, rejected_at_most=0.2)
    assert "12 of 48 records for train rejected (25.00%; rejected_at_most allows 20.00%)" in message
    assert [f":{n}: " in message for n in (37, 41, 42)] == [True, True, False]
    assert "and 7 more" in message
    assert len(prepared(path, rejected_at_most=0.25).rejected) == 12


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        (
            "train.jsonl",
            '{"a": "é€"}\n{"b": "caf'.encode() + b'\xe9"}',
            ["line 2", "0xe9", "UTF-8"],
        ),
        ("train.csv", "a,b\nпривет мир,1\n".encode("cp1251"), ["line 2", "iconv -f", "utf-8"]),
        ("train.csv", bytes(range(128, 256)) * 9, ["line 1", "byte 0x80", "expected UTF-8"]),
        ("train.csv", bytes(range(32)) * 9, ["found binary data"]),
        ("train.csv", b"PK\x03\x04....", ["a zip archive or an Excel workbook", "saved as CSV"]),
        ("train.csv", b"PAR1....", ["a Parquet file", "end with .parquet"]),
        ("train.csv.gz", b"\x1f\x8b\x08....", ["gzip data that can't be unpacked", "a whole file"]),
        ("train.csv.xz", b"\xfd7zXZ\x00...", ["xz data that can't be unpacked"]),
        ("train.csv.zst", b"\x28\xb5\x2f\xfd...", ["zstd data that can't be unpacked"]),
        ("train.json", b'[\n{"a": 1},\n]', ["line 3, column 1", "found no JSON", "list of obj"]),
        ("train.json", b'{"a": 1}]\n{"a": 2}', ["line 1", "Extra data", "one object a line"]),
        ("train.json", b'{"train": [{"a": 1}], "test": []}', ["splits train, test", "a file each"]),
        ("train.json", b'[{"paragraphs": [{"context": "c"}]}]', ["paragraph 1", "no list `qas`"]),
        ("train.json", b'"text"', ["line 1", "text of 4 characters", "a JSON list of objects"]),
        ("train.json", b"\xff\xfe[\x00", ["line 1, column 2", "found no JSON", "list of objects"]),
        ("train.json", b"\xff\xfe[", ["byte 3", "no UTF-16", "expected UTF-8"]),
        ("train.json", b"[" * 100_000, ["nested too deep", "a list of objects"]),
        ("train.json", b'[{"a": ' + b"1" * 5000 + b"}]", ["4300 digits", "a list of objects"]),
        ("train.json", b"[]", ["found no record", "at least one for train"]),
        ("train.csv", b"", ["line 1", "empty file", "a header and records"]),
        ("train.csv", b"question,answer\n", ["found no record", "at least one for train"]),
        ("train.csv", b"question,reply\na,b\n", ["field answer", "2 fields: question, reply"]),
        ("train.csv", b"question;reply\na;b\n", ["field answer", "2 fields: question, reply"]),
        ("train.csv", b"question:answer\na:b\n", ["field question", "1 field: question:answer"]),
        ("train.csv", b"question,question\na,b\n", ["line 1", "twice, in columns 1 and 2;"]),
        (
            "train.json",
            b'[{"a": 1},\n{"question": 1,\n"question": 2}]',
            [
                ": record 2: field question: found this key 2 times, on lines 2 and 3",
                "each key once",
            ],
        ),
        (
            "train.json",
            b'{"a": 1, "a": 2}',
            [": record 1: field a: found this key 2 times, on line 1"],
        ),
        ("train.json", b'[[{"a": 1, "a": 2}]]', [": record 1: found a list of 1"]),
        ("train.csv", b'question,answer\n"a"b,c\n', ["line 2", "found no CSV", "separated by"]),
        ("train.csv", b'question,answer\n"a,b\n', ["found no CSV", "unexpected end of data"]),
        (
            "train.csv",
            b"question,answer\na,b,c\n",
            [": record 1: ", "3 fields", "line 2", "2 fields, as"],
        ),
        ("train.csv", b"question,answer\na,#### 1\nb\n", [": record 2: ", "1 fields", "line 3"]),
        ("train.parquet", b"no table", ["expected a Parquet file"]),
        ("train.jsonl", b"", ["found no record", "at least one for train"]),
        ("train.jsonl", b"[" * 100_000, [":1: ", "nested too deep", "one JSON object a line"]),
    ],
)
def test_bad_files(tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content)
    message = _message(tmp_path / name)
    assert str(tmp_path / name) in message
    assert all(word in message for word in words), message


def test_wrong_hash(tmp_path):
    path = write_lines(tmp_path / "train.jsonl", problems(0, 3))
    message = _message(path, sha256={"train": "0" * 64})
    assert str(path) in message and f"expected {'0' * 64}" in message
    assert "datasets.d.sha256.test: found 0 files" in _message(path, sha256={"test": "0" * 64})


@pytest.mark.parametrize(
    ("records", "words"),
    [
        ("[", ["line 1", "found no JSON", "question and answer"]),
        ('{"a": 1}', ["an object (1 field", "a list of objects"]),
        ('["a"]', ["record 1", "text of 1 characters", "an object"]),
        (json.dumps([GOOD, {**GOOD, "answer": "7"}]), ["record 2", "field answer", "a number"]),
        (
            '[{"question": "Q?", "answer": "#### 1"},\n{"answer": "#### 1",\n"answer": "#### 2"}]',
            ["shots.json:2: record 2: field answer: found this key 2 times, on lines 2 and 3"],
        ),
    ],
)
def test_bad_few_shot_file(tmp_path, records, words):
    (tmp_path / "shots.json").write_text(records)
    path = write_lines(tmp_path / "train.jsonl", problems(0, 3))
    message = _message(path, few_shot={"file": str(tmp_path / "shots.json")})
    assert str(tmp_path / "shots.json") in message
    assert all(word in message for word in words), message
    gone = _message(path, few_shot={"file": "gone.json"})
    assert gone.startswith("datasets.d.few_shot.file: found no file gone.json")


def test_rejected_for_a_key_twice_with_all_that_stands_there(tmp_path):
    twice = '{"question": "Q?", "answer": "#### 1", "answer": "#### 2"}'
    path = write_lines(tmp_path / "train.jsonl", [*problems(0, 3), twice])
    found = prepared(path, rejected_at_most=0.5)
    row = found.rejected[0].row()
    assert (row["record"], row["reason"], row["field"]) == (4, "duplicate_key", "answer")
    assert row["raw"] == twice


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        (["question", "answer", "answer"], "found the column answer twice, expected unique names"),
        (["question", "answer", "Answer"], ""),
        (["question", "answer", "answer "], ""),
    ],
)
def test_columns_of_one_name(tmp_path, columns, words):
    path = tmp_path / "train.parquet"
    values = [pa.array([text]) for text in ("Q?", "#### 1", "#### 2")]
    pq.write_table(pa.Table.from_arrays(values, names=columns), path)
    if words:
        assert f"{path}: {words}" in _message(path)
    else:
        assert prepared(path).rejected == []


def test_fields_of_one_name_within_a_column(tmp_path):
    pair = pa.StructArray.from_arrays([pa.array([1]), pa.array([2])], names=["x", "x"])
    lists = pa.ListArray.from_arrays([0, 1], pair)
    pq.write_table(pa.table({"question": lists, "answer": ["a"]}), tmp_path / "train.parquet")
    assert ".x twice, expected unique names" in _message(tmp_path / "train.parquet")


def test_saved_columns_of_one_name(tmp_path):
    folder = tmp_path / "train"
    datasets.Dataset.from_dict({"question": ["Q?"], "answer": ["#### 1"]}).save_to_disk(str(folder))
    names = ["question", "answer", "answer"]
    table = pa.Table.from_arrays([pa.array([text]) for text in ("Q?", "#### 1", "#### 2")], names)
    (file,) = folder.glob("*.arrow")
    with pa.OSFile(str(file), "wb") as out, pa.ipc.new_stream(out, table.schema) as writer:
        writer.write_table(table)
    message = _message(folder)
    assert str(folder) in message and '"answer" exists 2 times' in message


@pytest.mark.parametrize("dev", [3, 8, 9])
def test_dev_takes_no_more_than_there_is(tmp_path, dev):
    path = write_lines(tmp_path / "train.jsonl", problems(0, 8))
    message = _message(path, dev=dev, few_shot={"count": 6 if dev == 3 else 0})
    assert f"datasets.d.dev: found {dev} with 8 training records" in message


def _prompts(path, rows):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


@pytest.mark.parametrize(
    ("name", "content"),
    [
        # The prompt stands where an id, a column name, a field name or JSON should be.
        ("p.csv", f"release_prompt_id,prompt\n{SECRET},a\n{SECRET},b\n"),
        ("p.csv", f"1,{SECRET}\n2,b\n"),
        ("p.csv", f"prompt,hazard\n{SECRET},a,b\n"),
        ("p.jsonl", f'{{"{SECRET}": 1}}'),
        ("p.jsonl", f'{{"{SECRET}": 1, "{SECRET}": 2}}'),
        ("p.json", f'{{"{SECRET}": 1, "{SECRET}": 2}}'),
        ("p.csv", f"{SECRET},{SECRET}\n1,2\n"),
        ("p.jsonl", f'{{"prompt": "{SECRET}"'),
        ("p.jsonl", f'{{"prompt": ["{SECRET}"]}}'),
        ("p.jsonl", f'"{SECRET}"'),
        ("p.json", f'"{SECRET}"'),
        ("p.json", f'[{{"prompt": "{SECRET}"}}'),
        ("p.jsonl", f'{{"prompt": "a", "hazard": {{"x": "{SECRET}"}}}}'),
    ],
)
def test_unsafe_prompts_are_never_shown(tmp_path, name, content, capsys):
    (tmp_path / name).write_text(content)
    message = _message(tmp_path / name, "ailuminate")
    assert SECRET not in message + capsys.readouterr().out
    assert str(tmp_path / name) in message


def test_rejected_unsafe_prompts_are_listed_without_their_text(tmp_path, capsys):
    rows = [["release_prompt_id", "prompt"], ["1", SECRET], ["1", SECRET], ["2", ""]]
    path = _prompts(tmp_path / "p.csv", rows)
    found = prepared(path, "ailuminate", rejected_at_most=1)
    assert [r.row()["reason"] for r in found.rejected] == ["duplicate_id", "empty"]
    written = json.dumps([found.manifest, *(r.row() for r in found.rejected)])
    assert SECRET not in written + capsys.readouterr().out
