"""What was trained is what is asked, or it is told before anything runs."""

import json

import pytest
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


@pytest.mark.parametrize("rows", [60])
def test_a_table_of_bare_numbers_is_trained_as_it_is_asked(project: Project, rows: int) -> None:
    lines = [f"Gus has {n} coins and gets {n + 3} more. How many?,{2 * n + 3}" for n in range(rows)]
    (project.folder / "own.csv").write_text("\n".join(["question,answer", *lines]) + "\n")
    columns = {"question": "question", "answer": "answer"}
    configured(
        project,
        {
            "datasets.own": {
                "source": "own.csv",
                "format": "table",
                "columns": columns,
                "draw": {"test": 10},
                "few_shot": {"count": 0},
            },
            "evals.own": {"task": "math", "dataset": "own", "max_new_tokens": 8},
            "runs.own": {"model": "tiny", "preset": "simple", "train": "own"},
        },
    )
    project.run("results/demo/prompts/own.json")
    (stats,) = (project.folder / "results/demo/tokens").glob("tiny-own-*/stats.json")
    assert json.loads(stats.read_text())["example"]["trained"].startswith("#### ")
