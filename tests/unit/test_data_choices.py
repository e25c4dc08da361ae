"""Multiple-choice data: articles in both forms, tables by named columns, and what is wrong."""

import json
import os
from pathlib import Path

import pytest
from prepared_data import prepare, prepared, prepared_from, write_lines

from snaketune.config.dataset import DatasetSpec
from snaketune.data.example import read_examples
from snaketune.runtime.errors import UserError

RAW = {
    "question": "Who won?",
    "correct_answer": "Verstappen",
    "wrong_options": ["Norris", "Sainz", "Piastri"],
}
PROCESSED = {
    "question": "Who won?",
    "rephrased_question": "Which driver came first?",
    "options": {"A": "Norris", "B": "Verstappen", "C": "Sainz", "D": "Piastri"},
    "ground_truth_correct_option": "B",
}


def articles(folder: Path, *files: list[dict]) -> Path:
    """`qa_1.json` and so on, each with some pairs."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, pairs in enumerate(files, 1):
        article = {"article_number": number, "title": f"Title {number}", "qa_pairs": pairs}
        (folder / f"qa_{number}.json").write_text(json.dumps(article))
    return folder


def both(folder: Path, **settings: object):
    return prepared({"train": folder, "test": folder}, "f1_qa", **settings)


def asked(number: int, **changes: object) -> dict:
    return RAW | {"question": f"Who won race {number}?"} | changes


def test_a_record_is_a_pair_and_keeps_its_place(tmp_path):
    found = both(articles(tmp_path, [asked(1), asked(2)], [asked(3)]))
    assert found.manifest["splits"]["test"] == {"in": 3, "out": 3, "rejected": {}}
    places = [(e.source, e.record, json.loads(e.meta)["article"]) for e in found.splits["test"]]
    assert places == [("qa_1.json", 1, 1), ("qa_1.json", 2, 1), ("qa_2.json", 1, 2)]
    for example in found.splits["test"]:
        assert sorted(example.choices) == ["Norris", "Piastri", "Sainz", "Verstappen"]
        assert example.choices["ABCD".index(example.label)] == "Verstappen" == example.answer
    assert found.shots == []


def test_letters_come_from_the_seed_and_from_nothing_else(tmp_path):
    whole = articles(tmp_path / "whole", *([asked(n)] for n in range(40)))
    one = articles(tmp_path / "one", [asked(17)])
    by_question = {e.question: e.choices for e in both(whole).splits["test"]}
    (alone,) = both(one).splits["test"]
    assert alone.choices == by_question[alone.question]
    letters = [e.label for e in both(whole).splits["test"]]
    assert set(letters) == set("ABCD")
    assert letters != [e.label for e in both(whole, seed=1).splits["test"]]


def test_training_learns_the_question_and_evaluation_asks_it_anew(tmp_path):
    found = both(articles(tmp_path, [PROCESSED]))
    (train,), (test,) = found.splits["train"], found.splits["test"]
    assert (train.question, test.question) == ("Who won?", "Which driver came first?")
    assert (test.label, test.choices) == ("B", ["Norris", "Verstappen", "Sainz", "Piastri"])


def test_a_rephrased_question_leaks_the_one_that_was_trained_on(tmp_path):
    found = both(articles(tmp_path, [PROCESSED, PROCESSED | {"question": "Who lost?"}]))
    comparison = found.manifest["leakage"]["comparisons"]["test in train"]
    assert (comparison["exact"], comparison["rephrased"], comparison["near"]) == (0, 2, 0)
    pairs = [(p["left"], p["right"], p["kind"]) for p in comparison["pairs"]]
    assert pairs == [(f"d-test-{n:05d}", f"d-train-{n:05d}", "rephrased") for n in (1, 2)]


def test_repeated_options_are_rejected_or_kept_and_named_either_way(tmp_path):
    pairs = [asked(1), asked(2, wrong_options=["Norris", "Norris ", "Sainz"])]
    folder = articles(tmp_path, pairs)
    with pytest.raises(
        UserError, match=r"qa_1.json: record 2: field wrong_options: .*\"Norris\" 2 times"
    ):
        both(folder)
    rejected = both(folder, rejected_at_most=0.5)
    assert rejected.manifest["splits"]["test"]["rejected"] == {"repeated_options": 1}
    kept = both(folder, repeated_options="keep")
    assert kept.manifest["splits"]["test"]["out"] == 2
    for found, was_kept in ((rejected, False), (kept, True)):
        named = [
            (row["split"], row["source"], row["record"], row["kept"])
            for row in found.manifest["repeated_options"]
        ]
        assert named == [(split, "qa_1.json", 2, was_kept) for split in ("train", "test")]


@pytest.mark.parametrize(
    ("pair", "field", "found"),
    [
        (RAW | {"wrong_options": ["Norris", "Sainz"]}, "wrong_options", "a list of 2"),
        (
            RAW | {"wrong_options": ["Norris", " ", "Sainz"]},
            "wrong_options[1]",
            "empty text",
        ),
        (RAW | {"correct_answer": 4}, "correct_answer", "4 (int)"),
        (PROCESSED | {"options": {"A": "x", "B": "y", "C": "z"}}, "options", "3 fields"),
        (PROCESSED | {"ground_truth_correct_option": "E"}, "ground_truth_correct_option", '"E"'),
        (
            PROCESSED | {"options": {"A": "x", "B": "y", "C": "", "D": "z"}},
            "options.C",
            "empty text",
        ),
        ({"question": "Who?"}, "correct_answer", "no such field"),
        ({k: v for k, v in PROCESSED.items() if k != "options"}, "options", "null"),
        (
            {k: v for k, v in PROCESSED.items() if k != "ground_truth_correct_option"},
            "ground_truth_correct_option",
            "no such field",
        ),
    ],
)
def test_a_bad_pair_is_named_with_its_field(tmp_path, pair, field, found):
    processed = {"options", "ground_truth_correct_option"} & pair.keys()
    articles(tmp_path, [PROCESSED if processed else RAW, pair])
    with pytest.raises(UserError) as error:
        both(tmp_path)
    assert f"qa_1.json: record 2: field {field}: found " in str(error.value)
    assert found in str(error.value)


def test_an_article_without_pairs_is_rejected(tmp_path):
    articles(tmp_path, [RAW], [])
    with pytest.raises(UserError, match=r"qa_2.json: record 1: field qa_pairs: found a list of 0"):
        both(tmp_path)


def test_mixed_forms_name_both_files(tmp_path):
    articles(tmp_path, [RAW], [asked(1), PROCESSED])
    with pytest.raises(UserError, match=r"qa_2.json: qa_pairs: pair 2: field options.*qa_1.json"):
        both(tmp_path)


def test_a_folder_without_articles(tmp_path):
    (tmp_path / "notes.json").write_text("[]")
    with pytest.raises(UserError, match=r"datasets.d.source.train: found no data file.*qa_\*.json"):
        both(tmp_path)


def test_an_article_that_is_not_utf_8(tmp_path, capsys):
    articles(tmp_path, [RAW])
    (tmp_path / "qa_2.json").write_bytes('{"title": "Räikkönen"}'.encode("latin-1"))
    with pytest.raises(UserError, match=r"qa_2.json: record 1: field qa_pairs"):
        both(tmp_path)
    assert "qa_2.json was read as: Windows-1252 (Latin-1)" in capsys.readouterr().out
    (tmp_path / "qa_2.json").write_bytes('{"title": "Räikkönen '.encode() + b'\xe4"}')
    with pytest.raises(UserError, match=r"qa_2.json: line 1: found the byte 0xe4"):
        both(tmp_path)


def table(path: Path, records: list, **columns: object):
    return prepared(write_lines(path, records), "table", columns=columns)


@pytest.mark.parametrize(
    ("answer", "answer_is"),
    [("four", "text"), ("B", "letter"), (1, "index"), ("2", "index_from_1")],
)
def test_a_table_names_the_right_option_in_any_way(tmp_path, answer, answer_is):
    record = {"q": "2 + 2?", "opts": ["three", "four", "five"], "a": answer}
    named = {"question": "q", "choices": "opts", "answer": "a", "answer_is": answer_is}
    (example,) = table(tmp_path / "train.jsonl", [record], **named).splits["train"]
    assert (example.label, example.gold) == ("B", "four")


def test_a_csv_holds_options_as_columns_or_as_json(tmp_path):
    path = tmp_path / "test.csv"
    path.write_text('q,a,one,two,all\n2 + 2?,A,four,five,"[""four"", ""five""]"\n')
    for choices in (["one", "two"], "all"):
        named = {"question": "q", "choices": choices, "answer": "a", "answer_is": "letter"}
        (example,) = prepared(path, "table", columns=named).splits["test"]
        assert (example.choices, example.label) == (["four", "five"], "A")


def test_an_empty_option_is_named_by_its_own_column(tmp_path):
    named = {"question": "q", "choices": ["one", "two"], "answer": "a", "answer_is": "letter"}
    record = {"q": "2 + 2?", "one": "four", "two": " ", "a": "A"}
    with pytest.raises(UserError, match=r"test.jsonl:1: field two: found empty text"):
        table(tmp_path / "test.jsonl", [record], **named)
    in_list = {"q": "2 + 2?", "o": ["four", ""], "a": "A"}
    with pytest.raises(UserError, match=r"field o\[1\]: found empty text"):
        table(tmp_path / "test.jsonl", [in_list], **(named | {"choices": "o"}))


def test_open_answers_that_must_be_numbers(tmp_path):
    named = {"question": "q", "answer": "a"}
    records = [{"q": "2 + 2?", "a": 4}, {"q": "1,000 + 1?", "a": "One more.\n#### 1,001"}]
    path = write_lines(tmp_path / "test.jsonl", records)
    spec = DatasetSpec(source=str(path), format="table", columns=named)
    found = prepared_from(spec, numeric=True).splits["test"]
    assert [e.gold for e in found] == ["4", "1001"]
    write_lines(path, [records[0], {"q": "Who?", "a": "Ada"}])
    with pytest.raises(UserError, match=r'test.jsonl:2: field a: found the text "Ada", .*a number'):
        prepared_from(spec, numeric=True)


def test_a_name_with_a_split_word_does_not_take_the_folder(tmp_path):
    articles(tmp_path, [asked(1)], [asked(2)])
    (tmp_path / "qa_2.json").rename(tmp_path / "qa_test_drive.json")
    found = prepared({"test": tmp_path}, "f1_qa")
    assert [e.source for e in found.splits["test"]] == ["qa_1.json", "qa_test_drive.json"]
    (tmp_path / "qa_1.json").rename(tmp_path / "qa_train_1.json")
    found = prepared({"test": tmp_path}, "f1_qa")
    assert [e.source for e in found.splits["test"]] == ["qa_test_drive.json"], "all names say it"


def test_a_table_without_options_has_open_answers(tmp_path):
    record = {"q": "Capital?", "c": "France", "a": "Paris", "n": 7}
    named = {"question": "q", "context": "c", "answer": "a", "id": "n"}
    (example,) = table(tmp_path / "train.jsonl", [record], **named).splits["train"]
    assert (example.id, example.prompt, example.gold) == ("7", "Capital?\n\nFrance", "Paris")
    assert DatasetSpec(source="x.csv", format="table", columns=named).task == "open_qa"


@pytest.mark.parametrize(
    ("answer", "answer_is", "expected"),
    [
        ("C", "letter", "a letter among A, B"),
        (2, "index", "a number from 0 to 1"),
        (0, "index_from_1", "a number from 1 to 2"),
        ("six", "text", "the text of one of the options"),
    ],
)
def test_an_answer_outside_the_options(tmp_path, answer, answer_is, expected):
    named = {"question": "q", "choices": "o", "answer": "a", "answer_is": answer_is}
    record = {"q": "2 + 2?", "o": ["four", "five"], "a": answer}
    with pytest.raises(UserError, match=rf"test.jsonl:1: field a: found .*expected {expected}"):
        table(tmp_path / "test.jsonl", [record], **named)


def test_a_csv_without_a_named_column(tmp_path):
    path = tmp_path / "test.csv"
    path.write_text("q,a,one\n2 + 2?,A,four\n")
    named = {"question": "q", "choices": ["one", "two"], "answer": "a", "answer_is": "letter"}
    with pytest.raises(UserError, match=r"test.csv: line 1: field two: found no such field"):
        prepared(path, "table", columns=named)


def test_splits_drawn_from_one_as_datasets_shuffles_it(tmp_path):
    import datasets

    records = [{"q": f"Question {n}?", "a": f"answer {n}"} for n in range(50)]
    write_lines(tmp_path / "all.jsonl", records)
    draw = {"seed": 42, "test": 5, "train": 20}
    columns = {"question": "q", "answer": "a"}
    found = prepared(tmp_path / "all.jsonl", "table", columns=columns, draw=draw)
    shuffled = datasets.Dataset.from_list(records).shuffle(seed=42)["q"]
    assert [e.question for e in found.splits["test"]] == list(shuffled[:5])
    assert [e.question for e in found.splits["train"]] == list(shuffled[5:25])
    assert found.manifest["unused"] == ["25 records not drawn"]
    with pytest.raises(UserError, match="found 50 records, expected at least 61"):
        prepared(tmp_path / "all.jsonl", "table", columns=columns, draw={"test": 60})


def test_examples_are_kept_for_people_too(tmp_path):
    import csv

    folder = articles(tmp_path / "in", [RAW])
    spec = DatasetSpec(source={"test": str(folder)}, format="f1_qa")
    prepare(spec, tmp_path / "d")
    (example,) = read_examples(tmp_path / "d" / "test.parquet")
    assert json.loads((tmp_path / "d" / "test.jsonl").read_text()) == vars(example)
    with (tmp_path / "d" / "test.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert json.loads(row["choices"]) == example.choices


REAL = os.environ.get("REAL_DATA_DIR")


@pytest.mark.skipif(not REAL, reason="REAL_DATA_DIR is unset: no real data here")
def test_the_real_articles():
    folder = Path(REAL) / "f1_qa"
    found = both(folder, rejected_at_most=0.01)
    for split in ("train", "test"):
        counts = {"in": 1536, "out": 1532, "rejected": {"repeated_options": 4}}
        assert found.manifest["splits"][split] == counts
    names = [(r.source, r.record) for r in found.rejected[:4]]
    repeated = [("qa_208.json", 2), ("qa_416.json", 1), ("qa_72.json", 1), ("qa_92.json", 1)]
    assert names == repeated
    for row, name in zip(found.manifest["repeated_options"][:4], repeated, strict=True):
        assert (row["source"], row["record"], row["kept"]) == (*name, False)
    kept = both(folder, repeated_options="keep")
    assert kept.manifest["splits"]["test"] == {"in": 1536, "out": 1536, "rejected": {}}
    # In the raw form every question is trained on and asked again: the manifest says so.
    assert kept.manifest["leakage"]["comparisons"]["test in train"]["rows"] == 1536
    with pytest.raises(UserError, match=r"overlap: found all 1536 test records in the other"):
        both(folder, repeated_options="keep", overlap="drop")


def test_a_letter_that_contradicts_the_right_answer_is_refused(tmp_path):
    agrees = PROCESSED | {"correct_answer": " Verstappen "}
    assert len(both(articles(tmp_path / "fine", [agrees])).splits["test"]) == 1
    with pytest.raises(
        UserError, match=r"qa_1.json: record 1: field ground_truth_correct_option: .*Sainz"
    ):
        both(articles(tmp_path / "odd", [PROCESSED | {"correct_answer": "Sainz"}]))


def test_no_file_of_a_folder_goes_unmentioned(tmp_path):
    articles(tmp_path, [RAW])
    for name in ("QA_2.json", "qa_3.JSON", "notes.csv"):
        (tmp_path / name).write_text("[]")
    assert both(tmp_path).manifest["unused"] == ["QA_2.json", "notes.csv", "qa_3.JSON"]
    (tmp_path / "qa_4.json").write_text("[]")
    with pytest.raises(
        UserError, match=r"qa_4.json: record 1: found no article, expected an article"
    ):
        both(tmp_path)


def test_the_log_names_what_was_rejected(tmp_path, capsys):
    pairs = [asked(n) for n in range(9)] + [asked(9, wrong_options=["a", "b"])]
    both(articles(tmp_path, pairs), rejected_at_most=0.2)
    line = "rejected: qa_1.json, record 10: field wrong_options: found a list of 2, expected"
    assert capsys.readouterr().out.count(line) == 2, "of train and of test"


@pytest.mark.parametrize(
    ("options", "answer", "answer_is"),
    [
        ([1990, 1991], 1990, "text"),
        ("['1990', '1991']", "1990", "text"),
        ('["1990", "1991"]', "A", "letter"),
        ({"B": "1991", "A": "1990"}, "A", "letter"),
        ({"text": ["1990", "1991"], "label": ["1", "2"]}, "1", "letter"),
        ('{"text": ["1990", "1991"], "label": ["A", "B"]}', "A", "letter"),
    ],
)
def test_options_may_be_written_in_any_usual_way(tmp_path, options, answer, answer_is):
    named = {"question": "q", "choices": "o", "answer": "a", "answer_is": answer_is}
    record = {"q": "When?", "o": options, "a": answer}
    (example,) = table(tmp_path / "test.jsonl", [record], **named).splits["test"]
    assert (example.choices, example.label, example.gold) == (["1990", "1991"], "A", "1990")


@pytest.mark.parametrize(
    "options",
    [
        {"A": "x", "C": "y"},
        {"text": ["x", "y"], "label": ["A"]},
        {"text": ["x", "y"], "label": ["A", "A"]},
        {},
        "[" * 100_000,
        7,
    ],
)
def test_options_in_no_usual_way_are_a_fault_of_the_record(tmp_path, options):
    named = {"question": "q", "choices": "o", "answer": "a", "answer_is": "letter"}
    record = {"q": "Who?", "o": options, "a": "A"}
    with pytest.raises(UserError, match=r"test.jsonl:1: field o: found .*, expected a list of opt"):
        table(tmp_path / "test.jsonl", [record], **named)


def test_a_whole_number_is_an_open_answer(tmp_path):
    (example,) = table(
        tmp_path / "test.jsonl", [{"q": "6 * 7?", "a": 42}], question="q", answer="a"
    ).splits["test"]
    assert (example.answer, example.gold) == ("42", "42")
