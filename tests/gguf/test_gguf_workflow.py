"""The workflow exports what a run is and measures it beside the run; as conda or a venv has it."""

import csv
import json
from pathlib import Path

import yaml
from project_copy import Project, copy_project
from real_models import HERE, pretrained, real_data

KINDS = ("f16", "q8_0")
DEMO = {
    "experiment": "exported",
    "models": {"tiny": {"id": "data/demo/model"}, "judge": {"id": "data/demo/judge"}},
    "datasets": {
        "problems": {"source": "data/demo/math", "format": "gsm8k", "dev": 8},
        "prompts": {"source": "data/demo/safety/prompts.csv", "format": "ailuminate"},
    },
    "presets": {
        "short": {"method": "qlora", "max_steps": 3, "batch_size": 4, "learning_rate": 1e-2}
    },
    "evals": {
        "math": {"task": "math", "dataset": "problems", "sample": {"count": 6},
                 "max_new_tokens": 24, "shards": 2},
        "drawn": {"task": "math", "dataset": "problems", "sample": {"count": 3},
                  "max_new_tokens": 12, "sampling": {"samples": 2, "at": [1, 2]}},
        "safety": {"task": "safety", "dataset": "prompts", "judge": "judge",
                   "sample": {"count": 4}, "max_new_tokens": 12},
    },
    "runs": {
        "first": {"model": "tiny", "preset": "short", "train": "problems", "gguf": [*KINDS],
                  "snapshots": 2, "choose": "math.accuracy"}
    },
}  # fmt: skip


def table(project: Project, folder: str, name: str) -> list[dict[str, str]]:
    with (project.folder / folder / f"tables/{name}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def lines(file: Path) -> list[dict]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def test_the_demos_model_is_exported_and_measured(tmp_path):
    project = copy_project(tmp_path / "project")
    (project.folder / "exported.yaml").write_text(yaml.safe_dump(DEMO))
    project.run("--configfile", "exported.yaml")
    states = [f"first-gguf_{kind}" for kind in KINDS]
    folder = "results/exported"
    for kind in KINDS:
        assert (project.folder / folder / f"gguf/first/first-{kind}.gguf").is_file()
    compared = table(project, folder, "comparisons")
    assert {row["run"] for row in compared} == {"first", *states}
    summary = {row["run"]: row for row in table(project, folder, "summary")}
    assert [summary[state]["base"] for state in states] == ["first", "first"]
    assert {summary[state]["method"] for state in states} == {"gguf"}
    for state in states:
        for protocol in ("math", "drawn", "safety"):
            meta = json.loads(
                (project.folder / folder / f"predictions/{state}/{protocol}.meta.json").read_text()
            )
            assert meta["backend"].startswith("llama.cpp") and meta["engine"] == "row by row"
    own = lines(project.folder / folder / "predictions/first/math.jsonl")
    found = lines(project.folder / folder / f"predictions/{states[0]}/math.jsonl")
    assert [r["id"] for r in own] == [r["id"] for r in found]
    assert [r["prompt_tokens"] for r in own] == [r["prompt_tokens"] for r in found]
    page = (project.folder / folder / "report.html").read_text()
    assert all(state in page for state in states)
    again = project.run("-n", "--configfile", "exported.yaml")
    assert "Nothing to be done" in again


def test_a_real_models_export_is_measured_beside_its_run(tmp_path):
    """What llama.cpp's copy of a run that learned loses of it, on the same rows."""
    spec, data = pretrained("instruct"), real_data()
    project = copy_project(tmp_path / "project")
    config = yaml.safe_load((HERE / "categories.yaml").read_text())
    config["models"]["learner"]["id"] = spec.id
    config["datasets"]["dolly"]["source"] = str(data / "dolly/train.csv")
    config["datasets"]["gsm8k"]["source"] = {"test": str(data / "gsm8k/test.jsonl")}
    config["runs"]["told"]["gguf"] = [*KINDS]
    (project.folder / "own.yaml").write_text(yaml.safe_dump(config))
    project.run("--configfile", "own.yaml", "--max-threads", "2")
    rows = table(project, "results/categories", "comparisons")
    found = {
        row["run"]: row
        for row in rows
        if (row["eval"], row["metric"], row["subset"]) == ("category", "accuracy", "all")
    }
    for run, row in found.items():
        interval = f"{row['low']} to {row['high']}"
        print(f"{run}: {row['base']} -> {row['tuned']} of {row['n']}, {interval}")
    assert found["told"]["verdict"] == "better"
    for kind in KINDS:
        row = found[f"told-gguf_{kind}"]
        assert row["n"] == "200" and row["verdict"] == "no significant difference"
        assert abs(float(row["tuned"]) - float(row["base"])) <= 0.02
