"""`make new`: every file leads to a draft that is read and planned, or to one clear line."""

import csv
import io
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from snaketune.config import new
from snaketune.config.new import name_of, write_draft
from snaketune.config.read import load_experiment
from snaketune.data.formats.base import format_for
from snaketune.data.record import Fields
from snaketune.data.tables import read_file
from snaketune.runtime.errors import UserError


@pytest.fixture
def model(tmp_path, monkeypatch):
    """A folder that is a chat model's as far as anybody looks."""
    monkeypatch.setattr(new, "FOLDER", tmp_path / "experiments")
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "tokenizer_config.json").write_text('{"chat_template": "{{ messages }}"}')
    return folder


def drafted(source, model, **given):
    file = write_draft(str(source), str(model), **given)
    text = file.read_text(encoding="utf-8")
    return load_experiment(yaml.safe_load(text), []), text


def as_csv(rows):
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(rows)
    return out.getvalue()


def table(header, make, count=20):
    return as_csv([header, *(make(n) for n in range(count))])


NAMES = ["Ann", "Bob", "Cleo", "Dan"]
PLACES = ["market", "garden", "kitchen", "river"]


def asked(n):
    return f"{NAMES[n % 4]} went to the {PLACES[n // 2 % 4]} at {n}. Where is {NAMES[n % 4]}?"


def lines(make, count=9):
    return "\n".join(json.dumps(make(n)) for n in range(count))


def listed(make, count=9):
    return json.dumps([make(n) for n in range(count)])


QA = {"question": "question", "answer": "answer"}
OPTIONS = QA | {"choices": "choices"}
GOOD = {
    # By the columns that are to be found: task, and what `columns` holds.
    "numbers.csv": (table(["question", "answer"], lambda n: [asked(n), n * 3]), "math", QA),
    "german.csv": (
        table(["Frage", "Antwort"], lambda n: [asked(n), n * 3]).replace(",", ";"),
        "math",
        {"question": "Frage", "answer": "Antwort"},
    ),
    "open.csv": (table(["question", "answer"], lambda n: [asked(n), f"at {n}"]), "open_qa", QA),
    "two.csv": (
        table(["Sentence", "Translation"], lambda n: [asked(n), f"auf Deutsch {n}"]),
        "open_qa",
        {"question": "Sentence", "answer": "Translation"},
    ),
    "context.csv": (
        table(["passage", "question", "answer"], lambda n: [asked(n), f"q{n}?", f"a {n}"]),
        "open_qa",
        QA | {"context": "passage"},
    ),
    "letters.csv": (
        table(["question", "A", "B", "C", "answer"], lambda n: [asked(n), *"xyz", "ABC"[n % 3]]),
        "multiple_choice",
        QA | {"choices": ["A", "B", "C"], "answer_is": "letter"},
    ),
    "texts.csv": (
        table(
            ["question", "option_a", "option_b", "key"], lambda n: [asked(n), *"xy", "xy"[n % 2]]
        ),
        "multiple_choice",
        QA | {"choices": ["option_a", "option_b"], "answer": "key", "answer_is": "text"},
    ),
    "mmlu_test.csv": (
        as_csv([[asked(n), *"1023", "ABCD"[n % 4]] for n in range(9)]),
        "multiple_choice",
        QA | {"choices": ["A", "B", "C", "D"], "answer_is": "letter"},
    ),
    "numbered.csv": (
        table(["question", "choice1", "choice2", "label"], lambda n: [asked(n), *"xy", n % 2 + 1]),
        "multiple_choice",
        QA | {"choices": ["choice1", "choice2"], "answer": "label", "answer_is": "index_from_1"},
    ),
    "classes.tsv": (
        table(["text", "label"], lambda n: [asked(n), "np"[n % 2]]).replace(",", "\t"),
        "classification",
        {"question": "text", "label": "label"},
    ),
    "stars.csv": (
        table(["review", "stars"], lambda n: [asked(n), n % 5 + 1]),
        "classification",
        {"question": "review", "label": "stars"},
    ),
    "unnamed.csv": (
        table(["what", "which"], lambda n: [asked(n), "np"[n % 2]]),
        "classification",
        {"question": "what", "label": "which"},
    ),
    "patients.csv": (
        table(["patient", "note", "label"], lambda n: [f"P{n // 5}", asked(n), "np"[n % 2]]),
        "classification",
        {"question": "note", "label": "label"},
    ),
    "golds.jsonl": (lines(lambda n: {"question": asked(n), "answer": ["a b", "b"]}), "open_qa", QA),
    "bools.jsonl": (
        lines(lambda n: {"question": asked(n), "passage": "p", "answer": n % 2 == 0}),
        "classification",
        {"question": "question", "context": "passage", "label": "answer"},
    ),
    "mmlu.json": (
        listed(lambda n: {"question": asked(n), "choices": [*"xyzw"], "answer": n % 4}),
        "multiple_choice",
        OPTIONS | {"answer_is": "index"},
    ),
    "swag.json": (
        listed(lambda n: {"ind": n, "ctx": asked(n), "endings": [*"xyzw"], "label": str(n % 4)}),
        "multiple_choice",
        {"question": "ctx", "choices": "endings", "answer": "label", "answer_is": "index"},
    ),
    "arc.json": (
        listed(
            lambda n: {
                "id": f"i{n}",
                "answerKey": "AB"[n % 2],
                "question": {"stem": asked(n), "choices": [{"text": t, "label": t} for t in "AB"]},
            }
        ),
        "multiple_choice",
        {
            "question": "question.stem",
            "choices": "question.choices",
            "answer": "answerKey",
            "answer_is": "letter",
        },
    ),
    # Public layouts.
    "spam.csv": (  # columns that a spreadsheet left, and line ends within quotes
        "\ufeff"
        + table(["v1", "v2", "", "", ""], lambda n: ["hs"[n % 2], f'{asked(n)}\n"!"'] + [""] * 3),
        "classification",
        {"question": "v2", "label": "v1"},
    ),
    "pairs.jsonl": (
        lines(lambda n: {"premise": asked(n), "hypothesis": f"Who {n}?", "label": n % 3}, 15),
        "classification",
        {"question": "hypothesis", "context": "premise", "label": "label"},
    ),
    "emotions.jsonl": (  # no plain text, though it has nothing else that is text
        lines(lambda n: {"text": asked(n), "label": n % 3}, 15),
        "classification",
        {"question": "text", "label": "label"},
    ),
    "piqa.jsonl": (
        lines(lambda n: {"goal": asked(n), "sol1": f"a {n}", "sol2": "b", "label": n % 2}),
        "multiple_choice",
        {"question": "goal", "choices": ["sol1", "sol2"], "answer": "label", "answer_is": "index"},
    ),
    "articles.jsonl": (
        lines(lambda n: {"article": asked(n) * 3, "highlights": asked(n), "id": n}),
        "open_qa",
        {"question": "article", "answer": "highlights"},
    ),
    "trivia.jsonl": (
        lines(lambda n: {"question": asked(n), "answer": {"value": "a", "aliases": ["a", "b"]}}),
        "open_qa",
        QA,
    ),
    "gsm.jsonl": (lines(lambda n: {"question": asked(n), "answer": f"so\n#### {n}"}), "math", None),
    "dolly.jsonl": (
        lines(lambda n: {"instruction": asked(n), "context": "", "response": "r"}),
        "open_qa",
        None,
    ),
}


@pytest.mark.parametrize("name", GOOD)
def test_what_is_in_a_file(tmp_path, model, name):
    text, task, columns = GOOD[name]
    (tmp_path / name).write_text(text)
    experiment, draft = drafted(tmp_path / name, model)
    (spec,), (eval_spec,) = experiment.datasets.values(), experiment.evals.values()
    assert eval_spec.task == task
    if columns is None:
        assert spec.columns is None
    else:
        assert spec.columns.model_dump(exclude_unset=True) == columns
    assert (spec.draw.test, spec.draw.at_most) == (0.2, 1000)
    assert spec.group == ("patient" if name == "patients.csv" else None)
    if task == "classification":
        assert all(f"\n{label}\n" in spec.prompt for label in spec.labels)
        assert spec.draw.stratify == columns["label"] or len(spec.labels) > 9 // 5
    # Every record is read by what was written.
    reader = format_for(spec, task == "math" and spec.columns is not None)
    records = list(read_file(tmp_path / name)[0].records)
    assert [reader.example(Fields(record.value)) for record in records]
    assert all(line.isprintable() for line in draft.splitlines())


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("empty.csv", "", "empty file"),
        ("header.csv", "question,answer\n", "found 0 records that can be read"),
        ("one.csv", "question,answer\nWho?,Ada\n", "found 1 record, expected some"),
        ("column.csv", as_csv([["story"], *([asked(n)] for n in range(9))]), "nothing to learn"),
        ("all_numbers.csv", table(["a", "b"], lambda n: [n, n]), "no column of text"),
        ("unclear.csv", table(["red", "blue", "green"], lambda n: [asked(n), f"x {n}", f"y {n}"]),
         "can't tell which column is the answer"),
        ("ragged.csv", as_csv([["a", "b"], *([asked(n)] * (3 + n % 2) for n in range(9))]),
         "found 0 records that can be read; the first fault: found 3 fields"),
        ("twice.csv", "question,question\na,b\n", "a column name twice"),
        ("binary.csv", "\x00\x01\x02\x03" * 99, "binary data"),
        ("list.json", "[1, 2, 3]", "found 0 records that can be read"),
        ("text.json", '"text"', "expected a JSON list"),
        ("broken.json", '[{"a": 1', "found no JSON"),
        ("scalar.jsonl", "1\n2\n", "found 0 records"),
        ("splits.json", '{"train": [{"a": 1}], "test": [{"a": 1}]}', "a file each"),
        ("no_right.json", listed(lambda n: {"question": asked(n), "choices": ["a", "b"]}),
         "no column among .* that says which one is right"),
        ("outside.csv", table(["question", "A", "B", "answer"], lambda n: [asked(n), *"xyE"]),
         "20 of 20 records can't be read as such"),
        ("labels.jsonl", lines(lambda n: {"text": asked(n), "labels": [1, n]}),
         "field labels: found a list of 2"),
        ("tree.jsonl", lines(lambda n: {"text": asked(n), "role": "prompter", "parent_id": n}),
         "found a message a record .* expected a conversation a record: `messages`"),
        ("turns.json", listed(lambda n: {"id": n, "dialog": [asked(n), "No."]}),
         "`dialog` holds lists or objects: conversations are read from `messages`"),
        ("pairs.json", listed(lambda n: {"id": n, "conversation": [{"human": "a", "bot": "b"}]}),
         r"field conversation\[0\].role: found null, expected system, user"),
        ("prompts.csv", as_csv([["prompt"], *([asked(n)] for n in range(9))]), "expected JUDGE="),
        ("no_names.csv", as_csv([[asked(n), "AB"[n % 2]] for n in range(9)]), "found a record"),
        ("a.pdf", "%PDF", "expected a file of"),
        ("a.xlsx", "PK", "save the sheet as CSV"),
    ],
)  # fmt: skip
def test_what_no_draft_is_made_of(tmp_path, model, name, text, words):
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=words) as error:
        drafted(tmp_path / name, model)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "experiments").exists()


def odd_table(seed):
    """A table that somebody may have: any number of columns of any kind, now and then torn."""
    draw = random.Random(seed)
    kinds = {
        "text": lambda n: f'{draw.choice(NAMES)} said, "{draw.choice(PLACES)}"; {n}',
        "number": lambda n: draw.randint(-5, 10**6),
        "float": lambda n: round(draw.random(), 3),
        "class": lambda n: draw.choice("xyz"),
        "yes": lambda n: draw.choice(["yes", "no", "true", "null"]),
        "empty": lambda n: "",
        "date": lambda n: f"2026-01-{n % 28 + 1:02d}",
        "huge": lambda n: "word " * draw.choice([1, 1, 1, 9000]),
        "lines": lambda n: "one\ntwo\r\nthree",
        "unicode": lambda n: "ключ 鍵 🔑 \u2028 \ufeff",
        "yaml": lambda n: draw.choice(["- a: [b", "{c}", "# d", "%e", "'f", "&g *h", "!i", "|"]),
        "list": lambda n: json.dumps(draw.sample(PLACES, 3)),
    }
    called = [
        "question",
        "answer",
        "label",
        "text",
        "prompt",
        "A",
        "B",
        "id",
        "",
        "a: b",
        "#x",
        "{q}",
        "Frage",
        "choices",
        "target",
        "1",
        "null",
        "yes",
        "- x",
        "context",
        "patient",
        "é",
    ]
    width = draw.randint(1, 5)
    header = draw.sample(called, width)
    if draw.random() < 0.1:
        header[-1] = header[0]
    columns = [kinds[draw.choice(list(kinds))] for _ in header]
    rows = [[make(n) for make in columns] for n in range(draw.choice([0, 1, 2, 7, 30, 30]))]
    if rows and draw.random() < 0.2:
        rows[draw.randrange(len(rows))].append("more")
    rows = [header, *rows] if draw.random() < 0.9 else rows
    if draw.random() < 0.4:
        records = [dict(zip(header, row, strict=False)) for row in rows[1:]]
        shape = draw.choice(["lines", "list", "wrapped"])
        if shape == "lines":
            return ".jsonl", "\n".join(map(json.dumps, records)).encode()
        return ".json", json.dumps(records if shape == "list" else {"data": records}).encode()
    text = as_csv(rows).replace("\n", draw.choice(["\n", "\r\n"]))
    data = text.encode(draw.choice(["utf-8", "utf-8", "utf-8-sig", "utf-16"]))
    if draw.random() < 0.1:
        data = data[: len(data) // 2]
    return draw.choice([".csv", ".tsv"]), data


@pytest.mark.parametrize("seed", range(120))
def test_odd_files_give_a_draft_or_one_line(tmp_path, model, seed):
    suffix, data = odd_table(seed)
    path = tmp_path / f"odd{seed}{suffix}"
    path.write_bytes(data)
    try:
        experiment, text = drafted(path, model, judge="judge/model")
    except UserError as error:
        assert "\n" not in str(error) and str(path) in str(error), str(error)
        assert 20 < len(str(error)) < 1500
        return
    # Where there is a draft, at least half of the records are read by it.
    (spec,), (asks,) = experiment.datasets.values(), experiment.evals.values()
    reader = format_for(spec, asks.task == "math" and spec.format == "table")
    records = [r.value for r in read_file(path)[0].records if isinstance(r.value, dict)]
    read = 0
    for value in records:
        try:
            reader.example(Fields(value))
            read += 1
        except Exception as fault:
            assert type(fault).__name__ == "RecordError"
    assert read * 2 >= len(records) > 1
    assert text.startswith("# yaml-language-server")


def test_odd_files_are_of_both_kinds(tmp_path, model):
    """Else the test above would show nothing."""
    made = 0
    for seed in range(120):
        suffix, data = odd_table(seed)
        (tmp_path / f"odd{seed}{suffix}").write_bytes(data)
        try:
            drafted(tmp_path / f"odd{seed}{suffix}", model, judge="judge/model")
            made += 1
        except UserError:
            pass
    assert 20 <= made <= 100


def test_nothing_is_written_over(tmp_path, model):
    (tmp_path / "open.csv").write_text(GOOD["open.csv"][0])
    first = write_draft(str(tmp_path / "open.csv"), str(model))
    first.write_text("mine")
    with pytest.raises(UserError, match="is not written over; expected NAME=another"):
        write_draft(str(tmp_path / "open.csv"), str(model))
    assert first.read_text() == "mine"
    assert write_draft(str(tmp_path / "open.csv"), str(model), "other").name == "other.yaml"


@pytest.mark.parametrize(
    ("source", "name"),
    [("a/my data-2.csv.gz", "my_data_2"), ("2024.csv", "data_2024"), ("é.csv", "data"),
     ("folder/", "folder"), ("_x.csv", "x")],
)  # fmt: skip
def test_names(source, name):
    assert name_of(source) == name


def test_what_is_no_model(tmp_path, model):
    (tmp_path / "open.csv").write_text(GOOD["open.csv"][0])
    data = str(tmp_path / "open.csv")
    for wrong in ("nowhere", "./a/b", str(tmp_path)):
        with pytest.raises(UserError, match="MODEL: found"):
            write_draft(data, wrong)
    with pytest.raises(UserError, match="DATA: found no file"):
        write_draft("nowhere.csv", str(model))
    with pytest.raises(UserError, match="download it first"):
        write_draft("hub:a/b", str(model))


def test_a_base_model_is_asked_in_plain_text(tmp_path, model):
    (model / "tokenizer_config.json").write_text("{}")
    (tmp_path / "classes.csv").write_text(GOOD["unnamed.csv"][0])
    experiment, _ = drafted(tmp_path / "classes.csv", model)
    assert experiment.datasets["data"].chat is False
    (model / "chat_template.jinja").write_text("{{ messages }}")
    experiment, _ = drafted(tmp_path / "classes.csv", model, name="again")
    assert experiment.datasets["data"].chat is True


def test_a_folder_with_a_test_split_keeps_it(tmp_path, model):
    for name in ("train", "test"):
        (tmp_path / "both").mkdir(exist_ok=True)
        (tmp_path / "both" / f"{name}.csv").write_text(GOOD["open.csv"][0])
    experiment, _ = drafted(tmp_path / "both", model)
    assert experiment.datasets["data"].draw is None


def test_records_that_cannot_be_read_are_told(tmp_path, model):
    rows = GOOD["letters.csv"][0] + "Who?,x,y,z,E\n"
    (tmp_path / "some.csv").write_text(rows)
    _, text = drafted(tmp_path / "some.csv", model)
    assert "# 1 of the first 21 records can't be read;" in text and "rejected_at_most: 0.0" in text


def test_columns_that_have_no_part_are_named(tmp_path, model):
    more = lambda n: {"id": n, "stars": n % 2, "rating_by": f"u{n}", "empty": None}  # noqa: E731
    (tmp_path / "more.jsonl").write_text(lines(lambda n: {"review": asked(n)} | more(n), 20))
    experiment, text = drafted(tmp_path / "more.jsonl", model)
    assert experiment.datasets["data"].columns.label == "stars"
    assert "    # Not used: `rating_by`.\n" in text
    (tmp_path / "open.csv").write_text(GOOD["open.csv"][0])
    assert "Not used" not in drafted(tmp_path / "open.csv", model)[1]


def test_the_command(tmp_path, model):
    (tmp_path / "open.csv").write_text(GOOD["open.csv"][0])
    scripts = Path(new.__file__).parents[2]
    code = (
        "import sys; from snaketune.config import new; new.main(); "
        "assert 'torch' not in sys.modules and 'transformers' not in sys.modules"
    )
    given = ["--data", "open.csv", "--model", "model", "--name", "", "--judge", ""]
    found = subprocess.run(
        [sys.executable, "-c", code, *given], cwd=tmp_path, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(scripts)},
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    assert "questions with open answers" in found.stdout
    assert "snakemake check --configfile config/experiments/open.yaml" in found.stdout
    assert (tmp_path / "config/experiments/open.yaml").is_file()


CASES = Path(os.environ.get("REAL_DATA_DIR", "nowhere")).parent / "cases/own-data"
OWN = {
    "class.csv": ("table", "classification"), "math.csv": ("table", "math"),
    "mc.csv": ("table", "multiple_choice"), "open.csv": ("table", "open_qa"),
    "tabs.tsv": ("table", "math"), "semicolons.csv": ("table", "math"),
    "latin1.csv": ("table", "open_qa"), "golds.jsonl": ("table", "open_qa"),
    "squad_rows.jsonl": ("table", "open_qa"), "boolq.jsonl": ("table", "classification"),
    "dolly_original.jsonl": ("dolly", "open_qa"), "visits.csv": ("table", "classification"),
    "alpaca.json": ("chat", "open_qa"), "openai.jsonl": ("chat", "open_qa"),
    "sharegpt.jsonl": ("chat", "open_qa"), "pc.jsonl": ("chat", "open_qa"),
    "dpo.jsonl": ("chat", "open_qa"), "text.jsonl": ("text", "perplexity"),
    "text.txt": ("text", "perplexity"),
}  # fmt: skip


@pytest.mark.skipif(not CASES.is_dir(), reason="REAL_DATA_DIR is unset, or has no own-data")
@pytest.mark.parametrize("name", OWN)
def test_the_files_that_users_came_with(model, name):
    form, task = OWN[name]
    experiment, _ = drafted(CASES / name, model)
    assert experiment.datasets["data"].format == form
    assert [spec.task for spec in experiment.evals.values()] == [task]
    assert experiment.datasets["data"].group == ("patient" if name == "visits.csv" else None)


@pytest.mark.skipif(not CASES.is_dir(), reason="REAL_DATA_DIR is unset, or has no own-data")
def test_own_safety_prompts(model):
    """A model alone is what prompts without answers need."""
    with pytest.raises(UserError, match="expected JUDGE=MODEL"):
        drafted(CASES / "safety.csv", model)
    experiment, _ = drafted(CASES / "safety.csv", model, judge="a/judge")
    assert experiment.evals["safety"].judge.model == "judge"
