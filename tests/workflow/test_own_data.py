"""Each of the files that users came with, from `make new` to the report in two commands: the draft
runs as it was written. What the report says is held against what a reader counts in the file, and
against plain recomputations from the replies, the scores and the tokenizer's own file.

All files hold 60 records. A fifth of them, 12, are the test; the 48 others are learned twice, 4 at
a time: 24 steps.
"""

import csv
import json
import os
import re
import string
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from math import exp, log
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from project_copy import ROOT, Project
from tokenizers import Tokenizer

from snaketune.config import new
from snaketune.config.changes import with_test_splits
from snaketune.config.read import load_experiment
from snaketune.plan.experiment_plan import make_plan

CASES = Path(os.environ.get("REAL_DATA_DIR", "nowhere")).parent / "cases/own-data"
pytestmark = pytest.mark.skipif(
    not CASES.is_dir(), reason="REAL_DATA_DIR is unset, or has no own-data"
)

Row = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """A file, what is recognised in it, and what a reader finds there."""

    what: str
    """As the draft's second line says."""
    eval: str
    metric: str
    golds: Callable[[Row], list[str]]
    """All right answers of a record, the one to learn first."""
    counted: dict[str, int]
    """By hand, among the rows that are held back: how often each first right answer stands there;
    of texts their words, of prompts what the judge has to judge."""
    replies: Callable[[Row], list[str]] | None = None
    """What is learned of a record; None: its first right answer."""
    told: str | None = None
    """How a file or its records are recognised, in the manifest."""
    sorted_by: str | None = None
    """A field of which test and train have the same shares."""
    group: str | None = None
    """A field whose rows stay together."""
    guess: float | None = None
    """What guessing gives."""
    test: int = 12


def of(name: str, further: str | None = None) -> Callable[[Row], list[str]]:
    """The answer in a field, or in a field within it."""
    return lambda row: as_texts(row[name][further] if further else row[name])


def as_texts(value: Any) -> list[str]:
    """Several right answers, or one; of true and false as JSON spells them."""
    if isinstance(value, list):
        return value
    return [json.dumps(value) if isinstance(value, bool) else str(value)]


def assistant(who: str, key: str, what: str) -> Callable[[Row], list[str]]:
    """The assistant's turns of a conversation."""
    name = {"messages": "role", "conversations": "from"}[key]
    return lambda row: [turn[what] for turn in row[key] if turn[name] == who]


def last(turns: Callable[[Row], list[str]]) -> Callable[[Row], list[str]]:
    return lambda row: turns(row)[-1:]


PLACES = {"in the market": 7, "in the river": 1, "in the library": 2, "in the garden": 2}
SUMS = {"56": 2} | dict.fromkeys(("17", "101", "71", "95", "41", "84", "40", "65", "75", "61"), 1)


def sums(name: str, told: str | None = None) -> "Case":
    """A bare number is learned in the form in which math asks for it."""
    return Case(
        "problems with a number each", "numbers", "accuracy", of(name), SUMS,
        lambda row: [f"#### {row[name]}"], told,
    )  # fmt: skip


WORDS = {"words": 12 * 16}
OPENAI = assistant("assistant", "messages", "content")
SHAREGPT = assistant("gpt", "conversations", "value")
OPEN = ("answers", "f1")
OWN = {
    "alpaca.json": Case("instructions (Alpaca)", *OPEN, of("output"), PLACES, told="Alpaca"),
    "boolq.jsonl": Case(
        "texts of 2 classes", "classes", "accuracy", of("answer"), {"false": 6, "true": 6},
        sorted_by="answer", guess=0.5,
    ),
    "class.csv": Case(
        "texts of 2 classes", "classes", "accuracy", of("label"), {"negative": 8, "positive": 4},
        sorted_by="label", guess=8 / 12,
    ),
    "dolly_original.jsonl": Case("Dolly", *OPEN, of("response"), PLACES),
    "dpo.jsonl": Case("preference pairs", *OPEN, of("chosen"), PLACES, told="not used"),
    "golds.jsonl": Case("questions with open answers", *OPEN, of("answer"), PLACES),
    "latin1.csv": Case(
        "questions with open answers", *OPEN, of("answer"),
        {"in the market": 7, "in the river": 1, "in the library": 2, "in the café": 2},
        told="Windows-1252 (Latin-1)",
    ),
    "math.csv": sums("answer"),
    "mc.csv": Case(
        "questions with options", "choices", "accuracy", of("answer"),
        {"A": 6, "B": 1, "C": 2, "D": 3}, replies=lambda row: [row[row["answer"]]], guess=0.25,
    ),
    "open.csv": Case("questions with open answers", *OPEN, of("answer"), PLACES),
    "openai.jsonl": Case(
        "conversations (messages", *OPEN, last(OPENAI), PLACES, OPENAI, "messages (OpenAI)"
    ),
    "pc.jsonl": Case(
        "prompts and completions", *OPEN, of("completion"), PLACES, told="prompt and completion"
    ),
    "safety.csv": Case(
        "prompts without answers", "safety", "safe_rate", of("prompt"), {"prompts": 60}, test=60
    ),
    "semicolons.csv": sums("Antwort", "separated by semicolons"),
    "sharegpt.jsonl": Case(
        "conversations (ShareGPT)", *OPEN, last(SHAREGPT),
        {f"Yes, {place}": count for place, count in PLACES.items()}, SHAREGPT,
        "conversations (ShareGPT)",
    ),
    "squad_rows.jsonl": Case("questions with open answers", *OPEN, of("answers", "text"), PLACES),
    "tabs.tsv": sums("answer", "separated by tabs"),
    "text.jsonl": Case("plain text", "text", "token_probability", of("text"), WORDS),
    "text.txt": Case("plain text", "text", "token_probability", of("text"), WORDS),
    "visits.csv": Case(
        "texts of 2 classes", "classes", "accuracy", of("label"), {"negative": 10, "positive": 5},
        group="patient", guess=10 / 15, test=15,
    ),
}  # fmt: skip


PATIENTS = ("P2", "P8", "P10")
"""Three of five rows each hold at least 12. No three come nearer to the shares of all, 39 and 21 of
60: of 15 rows these are 9.75 and 5.25."""


def read(name: str) -> list[Row]:
    """The records, by Python's own readers."""
    path = CASES / name
    encoding = {"latin1.csv": "latin-1", "semicolons.csv": "utf-8-sig"}.get(name, "utf-8")
    text = path.read_text(encoding=encoding)
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in text.splitlines()]
    if path.suffix == ".json":
        return json.loads(text)
    if path.suffix == ".txt":
        return [{"text": part.strip()} for part in text.split("\n\n") if part.strip()]
    separator = {"tabs.tsv": "\t", "semicolons.csv": ";"}.get(name, ",")
    return list(csv.DictReader(text.splitlines(), delimiter=separator))


def held_back(rows: list[Row], case: Case) -> list[int]:
    """The places of the test's rows: the first fifth in the order that seed 42 gives; of a label as
    many as `counted` says; of groups the first ones that hold as many."""
    order = [int(i) for i in np.random.default_rng(42).permutation(len(rows))]
    if case.group:
        return [i for i in order if rows[i][case.group] in PATIENTS]
    if case.sorted_by is None:
        return order[: case.test]
    left, chosen = Counter(case.counted), []
    for i in order:
        [label] = case.golds(rows[i])
        chosen += [i] if left[label] > 0 else []
        left[label] -= 1
    return chosen


def lines_of(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def words_of(text: str) -> list[str]:
    """In lower case, without punctuation but what belongs to a number."""
    text = re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", text.lower())
    text = re.sub(r"(?<!\w)-(?=\.?\d)", "\1", re.sub(r"(?<=\d)\.(?=\d)", "\2", text))
    return "".join(c for c in text if c not in string.punctuation).split()


def f1(said: str, golds: list[str]) -> float:
    """Of the words that both have, with the best of the right answers."""
    found = [0.0]
    for gold in golds:
        ours, theirs = Counter(words_of(said)), Counter(words_of(gold))
        shared = (ours & theirs).total()
        found += [2 * shared / (ours.total() + theirs.total())] if shared else []
    return max(found)


def is_number(said: str, gold: str) -> bool:
    found = re.search(r"#### (-?[0-9.,]+)", said)
    return found is not None and Decimal(found[1].replace(",", "").rstrip(".")) == Decimal(gold)


def best(values: list[float]) -> int:
    return values.index(max(values))


def figure(case: Case, folder: Path, state: str, rows: list[Row], places: list[int]) -> float:
    """The metric, from what the state wrote and what the file says, in the order of the test."""
    made = lines_of(folder / f"predictions/{state}/{case.eval}.jsonl")
    assert len(made) == len(places)
    golds = [case.golds(rows[i]) for i in places]
    if case.metric == "token_probability":
        total = sum(line["sums"][0] for line in made)
        return exp(total / sum(line["tokens"][0] for line in made))
    if case.eval == "safety":
        found = Counter(
            line["raw"].split()[0] for line in lines_of(folder / f"verdicts/{state}/safety.jsonl")
        )
        assert set(found) <= {"SAFE", "UNSAFE"} and found.total() == 60
        return found["SAFE"] / 60
    if case.metric == "f1":
        hits = [f1(line["output"], gold) for line, gold in zip(made, golds, strict=True)]
    elif case.eval == "numbers":
        hits = [is_number(line["output"], g) for line, [g] in zip(made, golds, strict=True)]
    elif case.eval == "classes":
        labels = sorted(case.counted)
        hits = [labels[best(line["sums"])] == g for line, [g] in zip(made, golds, strict=True)]
    else:
        each = [[s / n for s, n in zip(line["sums"], line["tokens"], strict=True)] for line in made]
        hits = ["ABCD"[best(one)] == g for one, [g] in zip(each, golds, strict=True)]
    return sum(hits) / len(hits)


def commands(project: Project, name: str, venv: Path) -> None:
    """What a user types: `make new`, then the workflow on the draft, as it is."""
    (venv / ".installed").touch()
    (project.folder / name).write_bytes((CASES / name).read_bytes())
    judge = ["JUDGE=data/demo/judge"] if name == "safety.csv" else []
    made = subprocess.run(
        ["make", "--no-print-directory", "-f", ROOT / "Makefile", "new", f"DATA={name}",
         "MODEL=data/demo/model", *judge,
         f"VENV={venv}", f"BIN={Path(sys.executable).parent}"],
        cwd=project.folder, capture_output=True, text=True,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    config = f"config/experiments/{Path(name).stem}.yaml"
    assert OWN[name].what in made.stdout.splitlines()[0]
    assert made.stdout.splitlines()[-1].endswith(f"snakemake check --configfile {config}")
    project.run("--cores", "1", "--configfile", config)


@pytest.mark.dag
@pytest.mark.long
@pytest.mark.parametrize("name", OWN)
def test_from_the_file_to_the_report(project: Project, tmp_path: Path, name: str) -> None:
    commands(project, name, tmp_path)
    check(project.folder, name)


def check(root: Path, name: str) -> None:
    """What lies there after the run."""
    folder, case, rows = root / f"results/{Path(name).stem}", OWN[name], read(name)
    places = list(range(60)) if case.eval == "safety" else held_back(rows, case)
    _data(folder, case, rows, places)
    if case.eval != "safety":
        _training(folder, root, case, rows, places)
    states = ["untrained"] if case.eval == "safety" else ["base-model", "tuned"]
    found = {state: figure(case, folder, state, rows, places) for state in states}
    final = json.loads((folder / "tables/final_metrics.json").read_text())
    [run] = final["runs"]
    result = run["evals"][case.eval]
    assert (result["metric"], result["n"]) == (case.metric, case.test)
    assert result["counts"]["total"] == case.test
    assert result["value"] == pytest.approx(found[states[-1]])
    page = (folder / "report.html").read_text(encoding="utf-8")
    for state in states:
        document = json.loads((folder / f"metrics/{state}/{case.eval}.json").read_text())
        values = {r["metric"]: r["value"] for r in document["rows"] if r["subset"] == "all"}
        assert values[case.metric] == pytest.approx(found[state])
        assert shown(found[state], case.metric) in page
        if case.eval == "text":
            _perplexity(folder, root, case, state, rows, places, values)
    assert f"{case.test} in all" in page
    if case.eval == "safety":
        return
    with (folder / "tables/comparisons.csv").open(newline="") as file:
        [row] = [
            r for r in csv.DictReader(file) if (r["metric"], r["subset"]) == (case.metric, "all")
        ]
    assert float(row["difference"]) == pytest.approx(found["tuned"] - found["base-model"])
    evidence = run["verdicts"][case.eval]["evidence"]
    assert evidence["chance"] == (None if case.guess is None else pytest.approx(case.guess))
    assert [sentence.partition(":")[0] for sentence in final["headline"]] == [case.eval]


def shown(value: float, metric: str) -> str:
    return f"{value:.3f}" if metric == "token_probability" else f"{100 * value:.1f} %"


def _data(folder: Path, case: Case, rows: list[Row], places: list[int]) -> None:
    """Which rows are where, and that all of them are somewhere."""
    manifest = json.loads((folder / "data/data/manifest.json").read_text())
    count = {"train": 60 - case.test, "dev": 0, "test": case.test}
    counts = {split: {"in": n, "out": n, "rejected": {}} for split, n in count.items()}
    assert manifest["splits"] == counts
    test = lines_of(folder / "data/data/test.jsonl")
    golds = [case.golds(rows[i]) for i in places]
    if case.eval == "text":
        assert [row["question"] for row in test] == [rows[i]["text"] for i in places]
        assert sum(len(rows[i]["text"].split()) for i in places) == case.counted["words"]
    elif case.eval != "safety":
        right = [
            row["label"] if case.eval in ("choices", "classes") else row["gold"] for row in test
        ]
        assert right == [gold[0] for gold in golds]
        assert Counter(right) == case.counted
    if case.told:
        said = json.dumps([manifest["sources"], manifest.get("recognised")])
        assert case.told in said


def _training(folder: Path, root: Path, case: Case, rows: list[Row], places: list[int]) -> None:
    """All other rows twice, and of these the replies with a token that ends each."""
    meta = json.loads((folder / "train/tuned/train_meta.json").read_text())
    assert (meta["rows"], meta["epochs"]) == (60 - case.test, 2)
    assert meta["steps"] == 2 * -(-(60 - case.test) // 4)
    replies = case.replies or (lambda row: case.golds(row)[:1])
    tokens = tokens_in(root)
    learned = [t for i, row in enumerate(rows) if i not in set(places) for t in replies(row)]
    assert meta["trained_tokens"] == 2 * sum(tokens(text) + 1 for text in learned)


def tokens_in(root: Path) -> Callable[[str], int]:
    """Counts by the tokenizer's file alone."""
    tokenizer = Tokenizer.from_file(str(root / "data/demo/model/tokenizer.json"))
    return lambda text: len(tokenizer.encode(text, add_special_tokens=False).ids)


def _perplexity(
    folder: Path, root: Path, case: Case, state: str, rows: list[Row], places: list[int],
    values: dict[str, float],
) -> None:  # fmt: skip
    """By tokens that are counted with the tokenizer, words and bytes of the file."""
    texts, tokens = [rows[i]["text"] for i in places], tokens_in(root)
    made = lines_of(folder / f"predictions/{state}/text.jsonl")
    assert [line["tokens"] for line in made] == [[tokens(text)] for text in texts]
    total = sum(line["sums"][0] for line in made)
    assert values["perplexity"] == pytest.approx(exp(-total / sum(map(tokens, texts))))
    assert values["word_perplexity"] == pytest.approx(exp(-total / case.counted["words"]))
    size = sum(len(text.encode()) for text in texts)
    assert values["bits_per_byte"] == pytest.approx(-total / log(2) / size)


def test_every_file_is_there() -> None:
    assert {file.name for file in CASES.iterdir()} == set(OWN)


@pytest.mark.parametrize("name", OWN)
def test_each_draft_is_read_and_planned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The same without running: what would be made, and by whom it would be asked."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(new, "FOLDER", tmp_path)
    judge = "data/demo/judge" if name == "safety.csv" else None
    file = new.write_draft(str(CASES / name), "data/demo/model", judge=judge)
    text = file.read_text(encoding="utf-8")
    case = OWN[name]
    assert case.what in text.splitlines()[1]
    experiment = with_test_splits(load_experiment(yaml.safe_load(text), []))
    spec, plan = experiment.datasets["data"], make_plan(experiment)
    [run] = plan.table
    assert (list(run.evals), run.evals[case.eval].primary) == ([case.eval], case.metric)
    assert (run.train_data, len(plan.tokens)) == ((None, 0) if judge else ("data", 1))
    assert spec.group == case.group
    if case.guess and case.eval == "classes":
        assert spec.labels == sorted(case.counted)
        assert spec.draw and spec.draw.stratify == (case.sorted_by or "label")
