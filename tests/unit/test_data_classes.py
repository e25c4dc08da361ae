"""Datasets of classes: labels, and the catalogue that is joined to the records one to one."""

import csv
import json

import datasets
import pytest
from prepared_data import prepared, write_lines

from snaketune.config.checks import data_files
from snaketune.config.dataset import DatasetSpec
from snaketune.config.experiment import Experiment
from snaketune.runtime.errors import UserError

LABELS = ["0", "1"]
KINDS = {"0": "correct", "1": "conceptual"}


def record(index, label):
    text = f"{index} shells and {index} more are {2 * index + label}"
    question = f"How many are {index} and {index}?"
    return {"index": index, "question": question, "solution": text, "label": label}


def records(first, last):
    return [record(i, label) for i in range(first, last) for label in (0, 1)]


def rows(found):
    """The catalogue of the records, in another order than they."""
    return [
        {"index": str(r["index"]), "label": str(r["label"]), "error_type": KINDS[str(r["label"])]}
        for r in reversed(found)
    ]


def write_csv(path, found):
    with path.open("w", newline="") as file:
        table = csv.DictWriter(file, list(found[0]))
        table.writeheader()
        table.writerows(found)
    return path


@pytest.fixture
def folder(tmp_path):
    """A `save_to_disk` folder with splits of its own, and the whole catalogue in it."""
    splits = {"train": (0, 5), "validation": (5, 7), "test": (7, 9)}
    made = {name: datasets.Dataset.from_list(records(*ends)) for name, ends in splits.items()}
    datasets.DatasetDict(made).save_to_disk(str(tmp_path / "saved"))
    write_csv(tmp_path / "saved" / "catalogue.csv", rows(records(0, 9)))
    return tmp_path / "saved"


def verified(folder, **settings):
    settings = {"labels": LABELS, "few_shot": {"count": 0}, **settings}
    return prepared(folder, "solution_verifier", **settings)


def joined(folder, **changes):
    source = str(folder / "catalogue.csv")
    return {"source": source, "join_on": ["index", "label"], "columns": ["error_type"], **changes}


def test_a_saved_folder_with_its_catalogue(folder):
    found = verified(folder, catalogue=joined(folder))
    assert [found.manifest["splits"][s]["out"] for s in ("train", "dev", "test")] == [10, 4, 4]
    assert found.manifest["unused"] == []
    example = found.splits["test"][1]
    assert (example.id, example.label, example.answer) == ("7-1", "1", "1")
    assert example.question == record(7, 1)["question"]
    assert example.context == "7 shells and 7 more are 15"
    assert json.loads(example.meta) == {"index": 7, "error_type": "conceptual"}
    for split in found.splits.values():
        assert all(json.loads(e.meta)["error_type"] == KINDS[e.label] for e in split)


def test_the_catalogue_is_in_the_manifest(folder):
    entry = verified(folder, catalogue=joined(folder)).manifest["catalogue"]
    assert (entry["rows"], entry["joined"], entry["left_over"]) == (18, 18, 0)
    assert entry["files"][0]["name"] == "catalogue.csv"
    assert len(entry["files"][0]["sha256"]) == 64
    assert verified(folder).manifest["catalogue"] is None


def test_without_a_catalogue_nothing_is_added(folder):
    assert json.loads(verified(folder).splits["test"][0].meta) == {"index": 7}


def test_the_catalogue_is_an_input(folder, tmp_path):
    dataset = {
        "source": str(folder), "format": "solution_verifier", "labels": LABELS,
        "catalogue": joined(folder),
    }  # fmt: skip
    config = {"experiment": "e", "datasets": {"d": dataset}, "evals": {}, "runs": {}}
    files = data_files(Experiment.model_validate(config), [])["d"]
    assert str(folder / "catalogue.csv") in files
    dataset["catalogue"] = joined(tmp_path / "gone")
    with pytest.raises(UserError, match=r"datasets\.d\.catalogue\.source: found .*, which is no f"):
        data_files(Experiment.model_validate(config), [])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda r: r[:-2], ["2 records without a row in the catalogue (0, 0; 0, 1)"]),
        (
            lambda r: [*r, {"index": "99", "label": "0", "error_type": "x"}],
            ["1 row of the catalogue without a record (99, 0)"],
        ),
        (
            lambda r: [*r[1:], {"index": "99", "label": "0", "error_type": "x"}],
            ["1 record without a row in the catalogue (8, 1); and 1 row of", "(99, 0)"],
        ),
        (lambda r: [*r, r[3], r[5], r[5]], ["2 rows that stand twice (7, 0; 6, 0)"]),
        (
            lambda r: [{"index": x["index"], "label": x["label"]} for x in r],
            ["record 1: field error"],
        ),
        (lambda r: [{**x, "index": " "} for x in r], ["record 1: field index: found empty"]),
    ],
)
def test_a_catalogue_that_is_not_one_to_one(folder, change, words):
    write_csv(folder / "catalogue.csv", change(rows(records(0, 9))))
    with pytest.raises(UserError) as error:
        verified(folder, catalogue=joined(folder))
    message = str(error.value)
    assert message.startswith(f"datasets.d.catalogue: {folder / 'catalogue.csv'}")
    assert all(word in message for word in words), message


@pytest.mark.parametrize("fault", [{"solution": ""}, {"label": 7}, {"index": None}, "not JSON"])
def test_a_rejected_record_does_not_end_the_check_of_the_catalogue(tmp_path, fault):
    """Its own row is not left over; another row without a record still is."""
    found = records(0, 4)
    bad = fault if isinstance(fault, str) else json.dumps({**found[-1], **fault})
    path = write_lines(tmp_path / "test.jsonl", found[:-1])
    path.write_text(path.read_text() + bad + "\n")
    settings = {"rejected_at_most": 0.5, "catalogue": joined(tmp_path)}
    write_csv(tmp_path / "catalogue.csv", rows(found))
    made = verified({"test": path}, **settings)
    assert (len(made.splits["test"]), len(made.rejected)) == (7, 1)
    assert made.manifest["catalogue"]["left_over"] == 1
    more = {"index": "99", "label": "0", "error_type": "x"}
    write_csv(tmp_path / "catalogue.csv", [*rows(found), more])
    with pytest.raises(UserError, match=r"of the catalogue without a record \(.*99, 0"):
        verified({"test": path}, **settings)


def test_a_row_of_the_catalogue_with_a_key_twice(folder):
    twice = '{"index": 0, "label": 0, "error_type": "a", "error_type": "b"}'
    file = write_lines(folder / "catalogue.jsonl", [twice])
    with pytest.raises(UserError, match=r"catalogue\.jsonl:1: field error_type: found this"):
        verified(folder, catalogue=joined(folder, source=str(file)))


def test_with_a_limit_only_the_records_need_their_rows(folder):
    found = verified(folder, limit=2, catalogue=joined(folder))
    entry = found.manifest["catalogue"]
    assert (entry["rows"], entry["joined"], entry["left_over"]) == (18, 6, 12)
    write_csv(folder / "catalogue.csv", rows(records(1, 9)))
    with pytest.raises(UserError, match="2 records without a row"):
        verified(folder, limit=2, catalogue=joined(folder))


def test_joining_on_too_few_fields_doubles_nothing(folder):
    """Each index occurs once a label: on `index` alone the catalogue's rows stand twice."""
    with pytest.raises(UserError, match="9 rows that stand twice"):
        verified(folder, catalogue=joined(folder, join_on=["index"]))


def test_records_that_share_a_row_are_rejected(tmp_path):
    lines = [{"q": f"Q{i}", "l": "a", "k": i // 2} for i in range(4)]
    path = write_lines(tmp_path / "test.jsonl", lines)
    write_csv(tmp_path / "catalogue.csv", [{"k": 0, "c": "x"}, {"k": 1, "c": "y"}])
    catalogue = {"source": str(tmp_path / "catalogue.csv"), "join_on": ["k"], "columns": ["c"]}
    settings = {"columns": {"question": "q", "label": "l"}, "labels": ["a", "b"]}
    with pytest.raises(UserError, match=r"test.jsonl:2: field k: found 0, which another record"):
        prepared({"test": path}, "table", catalogue=catalogue, **settings)
    found = prepared({"test": path}, "table", catalogue=catalogue, rejected_at_most=0.5, **settings)
    assert [json.loads(e.meta)["c"] for e in found.splits["test"]] == ["x", "y"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"label": 2}, ["field label: found 2 (int), expected one of 0, 1"]),
        ({"label": "maybe"}, ['field label: found the text "maybe", expected one of 0, 1']),
        ({"label": True}, ["field label: found True (bool)"]),
        ({"label": None}, ["field label: found null"]),
        ({"index": None}, ["field index: found null"]),
        ({"solution": ""}, ["field solution: found empty text"]),
    ],
)
def test_a_bad_record_is_named(tmp_path, change, words):
    path = write_lines(tmp_path / "test.jsonl", [record(0, 0), {**record(1, 1), **change}])
    with pytest.raises(UserError) as error:
        verified({"test": path})
    assert f"{path}:2: " in str(error.value)
    assert all(word in str(error.value) for word in words), str(error.value)


def test_a_label_as_text_is_the_same_label(tmp_path):
    path = write_lines(tmp_path / "test.jsonl", [{**record(3, 1), "label": "1"}])
    assert verified({"test": path}).splits["test"][0].id == "3-1"


def test_a_table_with_labels_keeps_columns(tmp_path):
    lines = [
        {"id": "a", "q": "Nice?", "l": "yes", "c": "Very.", "year": 2001, "by": None},
        {"id": "b", "q": "Nice?", "l": "no", "c": "", "year": 2002, "by": "Ada"},
    ]
    path = write_lines(tmp_path / "test.jsonl", lines)
    columns = {"question": "q", "context": "c", "label": "l", "id": "id", "keep": ["year", "by"]}
    found = prepared({"test": path}, "table", columns=columns, labels=["yes", "no"])
    first, second = found.splits["test"]
    assert (first.label, first.answer, first.context) == ("yes", "yes", "Very.")
    assert json.loads(first.meta) == {"year": 2001, "by": None}
    assert (second.label, second.context) == ("no", None)
    with pytest.raises(UserError, match="expected one of yes, maybe"):
        prepared({"test": path}, "table", columns=columns, labels=["yes", "maybe"])


def test_labels_must_be_two_at_least():
    with pytest.raises(ValueError, match="expected at least two classes"):
        DatasetSpec.model_validate({"source": "x.csv", "format": "solution_verifier"})
