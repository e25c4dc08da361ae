"""What was trained is what is asked, or it is told before anything runs."""

import json
import os
from pathlib import Path

import yaml
from conftest import Project


def configured(project: Project, changes: dict) -> None:
    file = project.folder / "config/config.yaml"
    config = yaml.safe_load(file.read_text())
    for path, value in changes.items():
        *parents, last = path.split(".")
        section = config
        for name in parents:
            section = section[name]
        section[last] = value
    file.write_text(yaml.safe_dump(config))


def test_another_prompt_stops_before_training_and_can_be_accepted(project: Project) -> None:
    configured(project, {"evals.math.system": "Only the number."})
    done = project.snakemake("results/demo/prompts/simple.json")
    assert done.returncode != 0
    assert "evals.math: asks with another prompt than was trained in" in done.stdout
    assert "they part here" in done.stdout
    assert "note: run simple is trained under another system turn than evals.math" in done.stdout
    assert not (project.folder / "results/demo/train").exists()
    configured(project, {"runs.simple.accept": ["prompt"]})
    project.run("results/demo/prompts/simple.json")
    record = json.loads((project.folder / "results/demo/prompts/simple.json").read_text())
    assert "evals.math: asks with another prompt" in record["accepted"][0]


def test_a_table_of_bare_numbers_is_trained_and_read_as_it_is_asked(project: Project) -> None:
    """In the task's form, so that the number of every reply is the one that a reader finds."""
    (project.folder / "own.csv").write_text(own_numbers())
    config = {
        "experiment": "own",
        "models": {"tiny": {"id": "data/demo/model"}},
        "datasets": {
            "own": {
                "source": "own.csv",
                "format": "table",
                "columns": {"question": "question", "answer": "answer"},
                "draw": {"test": 20},
                "few_shot": {"count": 0},
            }
        },
        "presets": {"own": {"method": "lora", "epochs": 8, "learning_rate": 3.0e-3}},
        "evals": {"own": {"task": "math", "dataset": "own", "max_new_tokens": 24}},
        "runs": {"own": {"model": "tiny", "preset": "own", "train": "own"}},
    }
    (project.folder / "own.yaml").write_text(yaml.safe_dump(config))
    project.run("results/own/metrics/own/own.json", "--configfile", "own.yaml")
    results = project.folder / "results/own"
    (stats,) = (results / "tokens").glob("tiny-own-*/stats.json")
    assert json.loads(stats.read_text())["example"]["trained"].startswith("#### ")
    assert (results / "prompts/own.json").is_file(), "rows and prompts were compared"
    measured = json.loads((results / "metrics/own/own.json").read_text())
    found = {row["metric"]: row["value"] for row in measured["rows"] if row["subset"] == "all"}
    assert found["unparsed"] == 0
    assert found["accuracy"] == found["accuracy_flexible"]
    said = (results / "predictions/own/own.jsonl").read_text().splitlines()
    assert len(said) == 20
    assert all(json.loads(line)["output"].startswith("#### ") for line in said)


def own_numbers() -> str:
    """A table of questions and numbers as people keep it: of the cases where they are there."""
    case = Path(os.environ.get("REAL_DATA_DIR", "nowhere")).parent / "cases/own-data/math.csv"
    if case.is_file():
        return case.read_text(encoding="utf-8")
    lines = [f"Gus has {n} coins and gets {n + 3} more. How many?,{2 * n + 3}" for n in range(60)]
    return "\n".join(["question,answer", *lines]) + "\n"
