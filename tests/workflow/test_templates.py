"""The demo's verifier is as right under one kind of chat template as under another."""

import json

import pytest
import yaml
from conftest import Project
from five_templates import PROMPT, SYSTEM, TEMPLATES

from snaketune.demo.files import verifier_splits
from snaketune.runtime.files import write_jsonl

PROBLEMS = {"train": 6000, "validation": 10, "test": 600}
"""Each with a right solution and a flawed one."""
PRESET = {
    "method": "full",
    "epochs": 1,
    "learning_rate": 4.0e-4,
    "warmup_ratio": 0.05,
    "batch_size": 8,
    "max_length": 256,
    "eval_per_epoch": 0,
}


@pytest.mark.long
def test_the_verifier_is_as_right_under_every_kind_of_template(project: Project) -> None:
    """Trained and asked by the workflow: the same rows, preset and seed, five templates."""
    names = {name.replace(" ", "_"): text for name, text in TEMPLATES.items()}
    write_inputs(project, names)
    asked = {name: f"results/templates/metrics/{name}/solutions.json" for name in names}
    project.run(*asked.values(), "--configfile", "templates.yaml")
    found = {name: accuracy(project, file) for name, file in asked.items()}
    print(found)
    assert found["plain"] >= 0.95
    assert max(abs(share - found["plain"]) for share in found.values()) <= 0.03, found


def write_inputs(project: Project, templates: dict[str, str]) -> None:
    """Solutions as the demo has them, but more; a model, the demo's checker, for each template."""
    for split, rows in verifier_splits(PROBLEMS)[0].items():
        write_jsonl(project.folder / f"solutions/{split}.jsonl", rows)
    for name, text in templates.items():
        (project.folder / f"{name}.jinja").write_text(text, encoding="utf-8")
    solutions = {
        "source": "solutions",
        "format": "solution_verifier",
        "labels": ["0", "1"],
        "few_shot": {"count": 0},
        "system": SYSTEM,
        "prompt": PROMPT,
    }
    config = {
        "experiment": "templates",
        "models": {
            name: {"id": "data/demo/checker", "chat_template": f"{name}.jinja"}
            for name in templates
        },
        "datasets": {"solutions": solutions},
        "presets": {"verifier": PRESET},
        "evals": {"solutions": {"task": "classification", "dataset": "solutions"}},
        "runs": {
            name: {"model": name, "preset": "verifier", "train": "solutions"} for name in templates
        },
    }
    (project.folder / "templates.yaml").write_text(yaml.safe_dump(config, sort_keys=False))


def accuracy(project: Project, file: str) -> float:
    """Share of the test rows that are right."""
    rows = json.loads((project.folder / file).read_text())["rows"]
    (found,) = [r for r in rows if (r["metric"], r["subset"]) == ("accuracy", "all")]
    assert found["n"] == 2 * PROBLEMS["test"]
    return found["value"]
