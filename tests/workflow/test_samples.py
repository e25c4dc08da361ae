"""Samples through the whole workflow: drawn, rewarded, voted on, reported; and some from elsewhere
that join them."""

import csv
import json
from pathlib import Path

import torch
import yaml
from conftest import Project
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

SAMPLING = {"samples": 4, "at": [1, 2, 4]}
EVAL = {
    "task": "math", "dataset": "problems", "split": "dev", "sample": {"count": 6},
    "max_new_tokens": 32,
}  # fmt: skip
DRAWN = {
    "experiment": "drawn",
    "models": {"tiny": {"id": "data/demo/model"}, "scorer": {"id": "scorer"}},
    "datasets": {"problems": {"source": "data/demo/math", "format": "gsm8k", "dev": 8}},
    "presets": {"brief": {"method": "lora", "max_steps": 2, "batch_size": 4, "max_length": 512}},
    "evals": {"near": {**EVAL, "sampling": {**SAMPLING, "reward": "scorer"}}},
    "runs": {"brief": {"model": "tiny", "preset": "brief", "train": "problems"}},
}
GIVEN = {
    "experiment": "given",
    "datasets": DRAWN["datasets"],
    "evals": {name: {**EVAL, "sampling": SAMPLING} for name in ("near", "far")},
    "runs": {"brief": {"predictions": {"near": "given.jsonl", "far": "given.jsonl"}}},
    "drops": {"far": "near"},
}


def make_scorer(folder: Path) -> None:
    """A reward model with random weights and the demo's tokenizer."""
    torch.manual_seed(0)
    config = AutoConfig.from_pretrained("data/demo/model", num_labels=1)
    AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained("data/demo/model").save_pretrained(folder)


def run(project: Project, config: dict) -> Path:
    """The folder of the results."""
    name = config["experiment"]
    (project.folder / f"{name}.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    project.run("--configfile", f"{name}.yaml")
    return project.folder / "results" / name


def rows(folder: Path, name: str) -> list[dict[str, str]]:
    with (folder / f"tables/{name}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def lines(file: Path) -> list[dict]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_samples_are_drawn_rewarded_and_reported(project: Project) -> None:
    make_scorer(project.folder / "scorer")
    folder = run(project, DRAWN)
    drawn = lines(folder / "predictions/brief/near.jsonl")
    rewards = lines(folder / "rewards/brief/near.jsonl")
    places = [(line["id"], line["sample"]) for line in drawn]
    assert places == [(line["id"], line["sample"]) for line in rewards]
    assert len(set(places)) == 6 * 4
    found = rows(folder, "voting")
    keys = [(row["state"], row["n"]) for row in found]
    assert keys == [(state, n) for state in ("base-tiny", "brief") for n in ("1", "2", "4")]
    assert all(row["best_of_n"] for row in found)
    page = (folder / "report.html").read_text()
    assert 'id="samples"' in page and "Where the right answer was missed" in page
    assert 'href="failures/near.html"' in page
    for ending in ("html", "txt"):
        assert (folder / f"failures/near.{ending}").stat().st_size > 0
    # What is shown of the failures changes the report and nothing else.
    shown = "evals={near: {sampling: {unique_at_least: 2}}}"
    assert set(project.planned("--configfile", "drawn.yaml", "--config", shown)) == {
        "report", "all",
    }  # fmt: skip

    # The same samples as if they came from elsewhere: the same figures.
    given = [
        {key: line[key] for key in ("id", "sample", "output")} | {"reward": scored["reward"]}
        for line, scored in zip(drawn, rewards, strict=True)
    ]
    (project.folder / "given.jsonl").write_text("\n".join(map(json.dumps, given)))
    folder = run(project, GIVEN)
    assert [row for row in rows(folder, "voting") if row["eval"] == "near"] == found[3:]
    assert [row["drop"] for row in rows(folder, "drops")] == ["0.0"] * 3
    assert 'id="drops"' in (folder / "report.html").read_text()
