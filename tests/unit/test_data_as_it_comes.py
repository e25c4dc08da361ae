"""Files as people have them: every separator, encoding, compression and shape gives the records
that pandas, or the plain file, gives; what was recognised stands in log and manifest."""

import bz2
import csv
import gzip
import io
import json
import lzma
import os
from pathlib import Path

import datasets
import pandas as pd
import pyarrow as pa
import pytest
from prepared_data import prepared, prepared_from, problems, write_lines

from snaketune.config.dataset import DatasetSpec
from snaketune.data.folders import kind_of
from snaketune.data.sources.local import READERS
from snaketune.runtime.errors import UserError

ROWS = [
    {"question": f"„Wo“ ist Zoë {n}, im Café?", "answer": f"In der Küche; {n} m²"} for n in range(6)
]
PLAIN = [{k: v.strip("„").replace("“", "") for k, v in row.items()} for row in ROWS]  # in Latin-1
OPEN = {"question": "question", "answer": "answer"}


def read(path):
    table = READERS[kind_of(path)](path, str(path))
    return [record.value for record in table.records], table.read_as


def as_csv(separator=",", rows=ROWS):
    return pd.DataFrame(rows).to_csv(sep=separator, index=False)


@pytest.mark.parametrize(
    ("name", "data", "read_as"),
    [
        ("t.csv", as_csv().encode(), ()),
        ("t.csv", as_csv().encode("utf-8-sig"), ()),
        ("t.csv", as_csv(";").replace("\n", "\r\n").encode("utf-8-sig"),
         ("separated by semicolons",)),
        ("t.csv", as_csv("|").encode(), ("separated by bars",)),
        ("t.csv", ("sep=:\n" + as_csv(":")).encode(), ("separated by ':'",)),
        ("t.tsv", as_csv("\t").encode(), ("separated by tabs",)),
        ("t.csv", as_csv("\t").encode(), ("separated by tabs",)),
        ("t.tsv", as_csv().encode(), ()),
        ("t.csv", as_csv(rows=PLAIN).encode("latin-1"), ("Windows-1252 (Latin-1)",)),
        ("t.csv", as_csv().encode("cp1252"), ("Windows-1252 (Latin-1)",)),
        ("t.csv", as_csv().encode("utf-16"), ("UTF-16",)),
        ("t.csv", as_csv().encode("utf-16-le"), ("UTF-16",)),
        ("t.csv", as_csv().encode("utf-16-be"), ("UTF-16",)),
        ("t.csv", as_csv().encode("utf-32"), ("UTF-32",)),
        ("t.csv.gz", gzip.compress(as_csv().encode()), ("gzip",)),
        ("t.csv.bz2", bz2.compress(as_csv().encode()), ("bzip2",)),
        ("t.csv.xz", lzma.compress(as_csv().encode()), ("xz",)),
        ("t.csv.zst", pa.compress(as_csv().encode(), "zstd", asbytes=True), ("zstd",)),
        ("t.csv", gzip.compress(as_csv(";").encode()), ("gzip", "separated by semicolons")),
        ("t.jsonl.gz", gzip.compress("\n".join(map(json.dumps, ROWS)).encode()), ("gzip",)),
        ("t.ndjson", "\n".join(map(json.dumps, ROWS)).encode(), ()),
        ("t.json", "\n".join(map(json.dumps, ROWS)).encode(), ("JSON lines",)),
        ("t.jsonl", json.dumps(ROWS, indent=1).encode(), ("one JSON value",)),
        ("t.json", json.dumps(ROWS).encode("utf-16"), ("UTF-16",)),
        ("t.json", json.dumps({"version": 1, "data": ROWS}).encode(), ("the list under data",)),
        ("t.json", pd.DataFrame(ROWS).to_json().encode(), ("a list or object a column",)),
        ("t.json", pd.DataFrame(ROWS).to_json(orient="records", lines=True).encode(),
         ("JSON lines",)),
        ("t.json", json.dumps(pd.DataFrame(ROWS).to_dict("list")).encode(),
         ("a list or object a column",)),
    ],
)  # fmt: skip
def test_the_same_records_however_they_are_written(tmp_path, name, data, read_as):
    (tmp_path / name).write_bytes(data)
    found, told = read(tmp_path / name)
    assert told == read_as
    assert found in (ROWS, PLAIN)


@pytest.mark.parametrize(
    ("text", "header"),
    [
        ("a,b;c\n1,2;3\n4,5;6\n", ["a", "b;c"]),  # commas go before, where they part all rows
        ("a;b,c\n1;2\n4;5,6,7\n", ["a", "b,c"]),  # but not where they part some of them
        ("prompt\nHow; why | when?\nWhere, then?\n", ["prompt"]),
        ("a;b\n", ["a", "b"]),
        ('"a;b";c\n1;2\n', ["a;b", "c"]),
        ("a|b,c\n1|2,3\n", ["a|b", "c"]),
    ],
)
def test_which_separator_is_meant(tmp_path, text, header):
    (tmp_path / "t.csv").write_text(text)
    assert READERS[".csv"](tmp_path / "t.csv", "t.csv").columns == header


@pytest.mark.parametrize(
    ("text", "rows", "quotes"),
    [
        ('a\tb\n"Hi" she said\t1\n', [{"a": '"Hi" she said', "b": "1"}], True),
        ('a\tb\n"open\t1\nshut\t2\n', [{"a": '"open', "b": "1"}, {"a": "shut", "b": "2"}], True),
        ('a\tb\n"two\nlines"\t1\n', [{"a": "two\nlines", "b": "1"}], False),
        ('a\tb\n5" nail\t1\n', [{"a": '5" nail', "b": "1"}], False),
    ],
)
def test_quotes_between_tabs(tmp_path, text, rows, quotes):
    (tmp_path / "t.tsv").write_text(text)
    found, told = read(tmp_path / "t.tsv")
    assert (found, "quotes as text" in told) == (rows, quotes)


@pytest.mark.parametrize(
    ("value", "count"),
    [
        ({"question": "q", "data": [{"a": 1}]}, 1),  # a record that has such a field
        ({"title": "t", "qa_pairs": [{"a": 1}, {"a": 2}]}, 1),
        ({"messages": [{"role": "user"}, {"role": "assistant"}]}, 1),
        ({"a": "text", "b": [1, 2]}, 1),
        ({"rows": [{"a": 1}, {"a": 2}]}, 2),
        ({"a": [1, 2, 3], "b": [1, 2, 3]}, 3),
        ({"a": [1, 2, 3], "b": [1, 2]}, 1),
        ({"data": []}, 0),
    ],
)
def test_which_objects_hold_records(tmp_path, value, count):
    (tmp_path / "t.json").write_text(json.dumps(value))
    assert len(read(tmp_path / "t.json")[0]) == count


def test_a_key_twice_in_a_wrapped_list_keeps_its_place(tmp_path):
    (tmp_path / "t.json").write_text('{"v": 1, "data": [{"a": 1},\n{"a": 1, "b": 2, "a": 3}]}')
    found, _ = read(tmp_path / "t.json")
    assert found[0] == {"a": 1}
    assert (found[1].reason, found[1].field) == ("duplicate_key", "a")
    (tmp_path / "s.json").write_text('{"data": [{"paragraphs": [], "a": 1,\n"a": 2}]}')
    with pytest.raises(UserError, match=r"found this key 2 times, on lines 1 and 2"):
        read(tmp_path / "s.json")


SQUAD = {
    "version": "v2.0",
    "data": [
        {
            "title": "Places",
            "paragraphs": [
                {
                    "context": "Bob is in the market.",
                    "qas": [
                        {"id": "1", "question": "Where?", "is_impossible": False,
                         "answers": [{"text": "the market", "answer_start": 10},
                                     {"text": "market", "answer_start": 14}]},
                        {"id": "2", "question": "When?", "is_impossible": True, "answers": []},
                    ],
                }
            ],
        }
    ],
}  # fmt: skip


def test_squad_as_first_published(tmp_path):
    (tmp_path / "train.json").write_text(json.dumps(SQUAD))
    columns = {"question": "question", "context": "context", "answer": "answers", "id": "id"}
    found = prepared(tmp_path / "train.json", "table", columns=columns, rejected_at_most=0.5)
    (example,) = found.splits["train"]
    assert (example.id, example.context) == ("1", "Bob is in the market.")
    assert (example.answer, json.loads(example.meta)["golds"]) == ("the market", ["market"])
    assert [(r.record, r.fault.reason) for r in found.rejected] == [(2, "no_answer")]
    (source,) = found.manifest["sources"]
    assert source["read_as"] == ["the list under data", "SQuAD's articles and paragraphs"]


@pytest.mark.parametrize(
    ("record", "columns", "gold"),
    [
        # MMLU, HellaSwag, ARC (both forms), BoolQ as their files are.
        ({"question": "Q?", "subject": "law", "choices": ["a", "b", "c", "d"], "answer": 2},
         {"question": "question", "choices": "choices", "answer": "answer",
          "answer_is": "index"}, "c"),
        ({"ind": 1, "ctx": "A man", "endings": ["a", "b", "c", "d"], "label": 3},
         {"question": "ctx", "choices": "endings", "answer": "label", "answer_is": "index"}, "d"),
        ({"ctx": "A man", "endings": ["a", "b", "c", "d"], "label": "1"},
         {"question": "ctx", "choices": "endings", "answer": "label", "answer_is": "index"}, "b"),
        ({"id": "x", "question": "Q?", "answerKey": "2",
          "choices": {"text": ["a", "b"], "label": ["1", "2"]}},
         {"question": "question", "choices": "choices", "answer": "answerKey",
          "answer_is": "letter"}, "b"),
        ({"id": "x", "answerKey": "B",
          "question": {"stem": "Q?", "choices": [{"text": "a", "label": "A"},
                                                 {"text": "b", "label": "B"}]}},
         {"question": "question.stem", "choices": "question.choices", "answer": "answerKey",
          "answer_is": "letter", "id": "id"}, "b"),
        ({"question": "is it", "title": "T", "answer": True, "passage": "It is."},
         {"question": "question", "context": "passage", "label": "answer"}, "true"),
    ],
)  # fmt: skip
def test_public_layouts(tmp_path, record, columns, gold):
    path = write_lines(tmp_path / "train.jsonl", [record])
    labels = {"labels": [True, False]} if "label" in columns else {}
    (example,) = prepared(path, "table", columns=columns, **labels).splits["train"]
    assert (example.gold or example.label) == gold


MMLU = [["Find 2 + 2, or less.", "4", "4", "5", "6", "A"], ["Which?", "a", "b", "c", "d", "D"]]


@pytest.mark.parametrize(
    ("rows", "header"),
    [
        (MMLU, ["question", "A", "B", "C", "D", "answer"]),
        ([row[:3] + row[-1:] for row in MMLU[:1]], ["question", "A", "B", "answer"]),
        # What is a header, or has another last column in some row.
        ([["Which?", "x", "y", "A"], ["What?", "a", "b", "C"]], ["Which?", "x", "y", "A"]),
        ([["q", "A", "B", "C"], ["What?", "a", "b", "c"]], ["q", "A", "B", "C"]),
        ([["What?", "a", "A"], ["Which?", "b", "A"]], ["What?", "a", "A"]),
    ],
)
def test_mmlu_as_first_published_has_no_header(tmp_path, rows, header):
    out = io.StringIO()
    csv.writer(out).writerows(rows)
    (tmp_path / "test.csv").write_text(out.getvalue())
    table = READERS[".csv"](tmp_path / "test.csv", "test.csv")
    assert table.columns == header
    known = header[-1] == "answer"
    assert len(list(table.records)) == len(rows) - (not known)
    assert any("no header" in told for told in table.read_as) == known


def test_a_dotted_name_is_a_column_where_there_is_one(tmp_path):
    (tmp_path / "train.csv").write_text("a.b,c\nWho?,Ada\n")
    found = prepared(tmp_path / "train.csv", "table", columns={"question": "a.b", "answer": "c"})
    assert found.splits["train"][0].question == "Who?"


def test_dolly_as_first_published(tmp_path):
    rows = [{"instruction": "Who?", "context": "", "response": "Ada", "category": "open_qa"}]
    (example,) = prepared(write_lines(tmp_path / "train.jsonl", rows), "dolly").splits["train"]
    assert (example.question, example.context, example.gold) == ("Who?", None, "Ada")
    with pytest.raises(UserError, match="field response: found empty text"):
        prepared(write_lines(tmp_path / "train.jsonl", [rows[0] | {"response": ""}]), "dolly")


@pytest.mark.parametrize(
    ("value", "labels", "label"),
    [
        (True, [True, False], "true"),
        ("False", [True, False], "false"),
        ("TRUE", ["true", "false"], "true"),
        ("True", ["True", "False"], "True"),
        (1.0, [0, 1], "1"),
        (0, ["a", "b"], None),
        (0.5, [0, 1], None),
        ("yes", [True, False], None),
    ],
)
def test_labels_of_other_types(tmp_path, value, labels, label):
    path = write_lines(tmp_path / "train.jsonl", [{"question": "q", "label": value}])
    columns = {"question": "question", "label": "label"}
    if label is not None:
        found = prepared(path, "table", columns=columns, labels=labels)
        assert found.splits["train"][0].label == label
        return
    words = "as YAML reads yes and no" if value == "yes" else "field label"
    with pytest.raises(UserError, match=words):
        prepared(path, "table", columns=columns, labels=labels)


@pytest.mark.parametrize("parquet", [False, True])
def test_class_names_of_datasets(tmp_path, parquet):
    features = datasets.Features(
        {"question": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])}
    )
    rows = {"question": ["a", "b", "c"], "label": [1, 0, 1]}
    data = datasets.Dataset.from_dict(rows, features=features)
    path = tmp_path / ("train.parquet" if parquet else "train")
    data.to_parquet(path) if parquet else data.save_to_disk(str(path))
    columns = {"question": "question", "label": "label"}
    found = prepared(path, "table", columns=columns, labels=["yes", "no"])
    assert [e.label for e in found.splits["train"]] == ["yes", "no", "yes"]
    assert "class names" in found.manifest["sources"][0]["read_as"][0]
    # Numbers that are the config's own labels stay what they were.
    found = prepared(path, "table", columns=columns, labels=[0, 1])
    assert [e.label for e in found.splits["train"]] == ["1", "0", "1"]
    assert "read_as" not in found.manifest["sources"][0]


def test_what_was_recognised_is_told(tmp_path, capsys):
    folder = tmp_path / "snapshot/main"
    folder.mkdir(parents=True)
    text = pd.DataFrame(problems(0, 4)).to_csv(sep=";", index=False)
    (folder / "train.csv").write_bytes(text.encode("utf-16"))
    found = prepared(tmp_path / "snapshot")
    words = ["in the folder main", "UTF-16", "separated by semicolons"]
    assert found.manifest["sources"][0]["read_as"] == words
    assert f"train.csv was read as: {', '.join(words)}" in capsys.readouterr().out


# The files that users came with.

CASES = Path(os.environ.get("REAL_DATA_DIR", "nowhere")).parent / "cases/own-data"
own = pytest.mark.skipif(not CASES.is_dir(), reason="REAL_DATA_DIR is unset, or has no own-data")


def examples_of(name, numeric=False, **settings):
    spec = {"source": {"train": str(CASES / name)}, "format": "table", **settings}
    found = prepared_from(DatasetSpec.model_validate(spec), numeric)
    assert not found.rejected and len(found.splits["train"]) == 60
    return found.splits["train"]


@own
def test_the_same_problems_three_times():
    golds = [row["answer"] for row in csv.DictReader((CASES / "math.csv").open())]
    for name, columns in (
        ("math.csv", OPEN),
        ("tabs.tsv", OPEN),
        ("semicolons.csv", {"question": "Frage", "answer": "Antwort"}),
    ):
        assert [e.gold for e in examples_of(name, True, columns=columns)] == golds


@own
def test_the_file_that_is_not_utf_8():
    found = examples_of("latin1.csv", columns=OPEN)
    rows = pd.read_csv(CASES / "latin1.csv", encoding="latin-1")
    assert [e.question for e in found] == list(rows["question"])
    assert found[0].question.startswith("Zoë is") and found[6].gold == "in the café"


@own
def test_several_right_answers_labels_and_dolly():
    golds = examples_of("golds.jsonl", columns=OPEN)
    assert golds[0].gold == "in the library"
    assert json.loads(golds[0].meta)["golds"] == ["the library", "library"]
    squad = examples_of("squad_rows.jsonl", columns=OPEN | {"answer": "answers", "id": "id"})
    assert (squad[0].id, json.loads(squad[0].meta)["golds"]) == ("q0", ["the library"])
    columns = {"question": "question", "context": "passage", "label": "answer"}
    boolq = examples_of("boolq.jsonl", columns=columns, labels=[True, False])
    rows = [json.loads(line)["answer"] for line in (CASES / "boolq.jsonl").open()]
    assert [e.label == "true" for e in boolq] == rows
    assert examples_of("dolly_original.jsonl", format="dolly")[1].gold == "in the market"
