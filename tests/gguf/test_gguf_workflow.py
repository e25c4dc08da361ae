"""The workflow exports what a run is and measures it beside the run; as conda or a venv has it."""

import csv
import json
from pathlib import Path

import yaml
from project_copy import SHORT, Project, copy_project
from real_models import HERE, pretrained, real_data

KINDS = ("f16", "q8_0")
DEMO = {
    **SHORT,
    "experiment": "exported",
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


# Of the categories' recipe as much as a few minutes are enough for.
FEW = {
    "experiment": "few",
    "datasets": {"dolly": {"draw": {"test": 64, "train": 64, "seed": 42}}},
    "presets": {"tell": {"max_length": 512, "max_steps": 4, "batch_size": 4}},
    "evals": {"problems": {"sample": {"count": 4}}},
}


def test_a_real_models_export_is_measured_beside_its_run(tmp_path):
    """What llama.cpp's copy of a run loses of it, on the same rows."""
    spec, data = pretrained("instruct"), real_data()
    project = copy_project(tmp_path / "project")
    own = {
        "models": {"learner": {"id": spec.id}},
        "datasets": {
            "dolly": {"source": str(data / "dolly/train.csv")},
            "gsm8k": {"source": {"test": str(data / "gsm8k/test.jsonl")}},
        },
        "runs": {"told": {"gguf": [*KINDS]}},
    }
    files = {
        "recipe": yaml.safe_load((HERE / "categories.yaml").read_text()),
        "few": FEW,
        "own": own,
    }
    for name, text in files.items():
        (project.folder / f"{name}.yaml").write_text(yaml.safe_dump(text))
    named = [f"{name}.yaml" for name in files]
    project.run("--configfile", *named, "--max-threads", "2")
    compared = table(project, "results/few", "comparisons")
    found = {
        row["run"]: row
        for row in compared
        if (row["eval"], row["metric"], row["subset"]) == ("category", "accuracy", "all")
    }
    for run, row in found.items():
        interval = f"{row['low']} to {row['high']}"
        print(f"{run}: {row['base']} -> {row['tuned']} of {row['n']}, {interval}")
    folder = project.folder / "results/few/predictions"
    own_sums = {r["id"]: r["sums"] for r in lines(folder / "told/category.jsonl")}
    for kind, most in (("f16", 0.1), ("q8_0", 0.5)):
        row = found[f"told-gguf_{kind}"]
        assert row["n"] == "64" and row["verdict"] == "no significant difference"
        assert abs(float(row["tuned"]) - float(row["base"])) <= 3 / 64
        sums = {r["id"]: r["sums"] for r in lines(folder / f"told-gguf_{kind}/category.jsonl")}
        off = [abs(a - b) for key in sums for a, b in zip(sums[key], own_sums[key], strict=True)]
        print(
            f"{kind}: sums differ by {sum(off) / len(off):.2g} on average, {max(off):.2g} at most"
        )
        assert sum(off) / len(off) < most
