"""Conversations and plain text through the whole workflow, with the demo's model."""

import csv
import json
from pathlib import Path

import pytest
import yaml
from project_copy import Project

from snaketune.config.model import ModelSpec
from snaketune.models.folder import load_tokenizer
from snaketune.runtime.files import read_rows

R = Path("results/own")
CONFIG = yaml.safe_load("""
experiment: own
models: {tiny: {id: data/demo/model}}
datasets:
  talks: {source: data/talks.jsonl, format: chat, draw: {test: 4}, train_on: all}
  notes: {source: data/notes.txt, format: text, draw: {test: 4}, dev: 2}
presets:
  few: {method: lora, max_steps: 3, batch_size: 4, max_length: 32, lora: {r: 4}, overlong: split}
  talk: {method: lora, max_steps: 3, batch_size: 4, max_length: 256, lora: {r: 4}}
evals:
  talks: {task: open_qa, dataset: talks, max_new_tokens: 8}
  notes: {task: perplexity, dataset: notes}
runs:
  talker: {model: tiny, preset: talk, train: talks}
  reader: {model: tiny, preset: few, train: notes, evals: {talks: false}}
  both:
    model: tiny
    preset: talk
    train: [{dataset: talks, weight: 2}, {dataset: notes, rows: 8}]
""")


def write_own_data(folder: Path) -> None:
    talks = [
        {"messages": [
            {"role": "system", "content": "Answer with a number."},
            {"role": "user", "content": f"What is {n} plus 1?"},
            {"role": "assistant", "content": f"{n + 1}."},
            {"role": "user", "content": f"And {n} plus 2?"},
            {"role": "assistant", "content": f"{n + 2}!"},
        ]}
        for n in range(16)
    ]  # fmt: skip
    (folder / "data/talks.jsonl").write_text("".join(f"{json.dumps(t)}\n" for t in talks))
    notes = [f"Ann has {n} shells. " + f"Ben has {n} pens. " * (n % 5) for n in range(1, 20)]
    (folder / "data/notes.txt").write_text("\n\n".join(notes))


@pytest.mark.dag
@pytest.mark.long
def test_conversations_and_text_run_to_the_report(project: Project) -> None:
    write_own_data(project.folder)
    (project.folder / "own.yaml").write_text(yaml.safe_dump(CONFIG))
    project.run("--configfile", "own.yaml")
    folder = project.folder / R
    manifest = json.loads((folder / "data/talks/manifest.json").read_text())
    assert manifest["recognised"]["train"] == {"messages (OpenAI)": 12}
    _rows_hold_all_replies(project, folder)
    _replies_follow_the_history(folder)
    _perplexity_of_base_and_run(folder)
    _a_mixture_is_counted(folder)
    page = (folder / "report.html").read_text()
    assert "bits per byte" in page and "word perplexity" in page


def _rows_hold_all_replies(project: Project, folder: Path) -> None:
    [tokens] = folder.glob("tokens/tiny-talks-*")
    tokenizer = load_tokenizer(ModelSpec(id=str(project.folder / "data/demo/model")))
    for row in read_rows(tokens / "train.parquet"):
        learned = tokenizer.decode([label for label in row["labels"] if label != -100])
        text = tokenizer.decode(row["input_ids"])
        assert "Answer with a number." in text and "Answer" not in learned
        assert learned.count(".") == 1 and learned.count("!") == 1 and "plus" not in learned
    # As the run alone has them, whose rows are short, and as the mixture does.
    stats = [
        json.loads((tokens / "stats.json").read_text())["splits"]["train"]
        for tokens in folder.glob("tokens/tiny-notes-*")
    ]
    for counts in stats:
        assert (counts["in"], counts["out"], counts["dropped"]) == (13, 13, {})
    assert sorted(counts.get("further_rows", 0) > 0 for counts in stats) == [False, True]


def _replies_follow_the_history(folder: Path) -> None:
    meta = json.loads((folder / "predictions/talker/talks.meta.json").read_text())
    assert meta["example_prompt"].count("plus") == 2
    with (folder / "tables/before_after.csv").open(newline="") as file:
        row = next(csv.DictReader(file))
    assert row["gold"].endswith("!") and "plus 1?" in row["question"]


def _perplexity_of_base_and_run(folder: Path) -> None:
    with (folder / "tables/comparisons.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["run"] == "reader"]
    found = {row["metric"]: row for row in rows}
    assert set(found) == {"token_probability", "perplexity", "word_perplexity", "bits_per_byte"}
    for name, row in found.items():
        metrics = json.loads((folder / "metrics/reader/notes.json").read_text())["rows"]
        [value] = [r["value"] for r in metrics if r["metric"] == name]
        assert float(row["tuned"]) == pytest.approx(value)
    assert float(found["perplexity"]["tuned"]) < float(found["perplexity"]["base"])


def _a_mixture_is_counted(folder: Path) -> None:
    [tokens] = folder.glob("tokens/tiny-mixed-*")
    parts = json.loads((tokens / "stats.json").read_text())["parts"]
    found = {k: (p["occurrences"], p["different"]) for k, p in parts.items()}
    assert found == {"talks": (24, 12), "notes": (8, 8)}
    meta = json.loads((folder / "train/both/train_meta.json").read_text())
    # Three steps of four rows.
    assert sum(part["rows_taken"] for part in meta["parts"].values()) == 12
    assert meta["parts"]["notes"]["dev_loss"] > 0
    for name in ("talks", "notes"):
        assert json.loads((folder / f"prompts/both-{name}.json").read_text())["rows"] > 0
    final = json.loads((folder / "tables/final_metrics.json").read_text())
    [run] = [run for run in final["runs"] if run["run"] == "both"]
    assert set(run["evals"]) == {"talks", "notes"}
