"""The demo's verifier is as right under one kind of chat template as under another."""

import json

import pyarrow.parquet as pq
import pytest
import yaml
from conftest import Project
from five_templates import PROMPT, SYSTEM, TEMPLATES

from snaketune.demo.files import verifier_splits
from snaketune.runtime.files import write_jsonl

PROBLEMS = {"train": 6000, "validation": 10, "test": 600}
"""Each with a right solution and a flawed one. Many, as a label is all that a row tells: the reward
model, which was taught token by token, is right on 94 % of such tests; the checker with the preset
below on 93 % after 3,000 rows, with adapters on 87 % after 800 three times."""
# All weights, embeddings too: the checker never read `<think>`. At twice the rate it is right on
# 91 % after as many rows, at four times it has learned nothing after a thousand.
PRESET = {
    "method": "full",
    "epochs": 1,
    "learning_rate": 1.5e-4,
    "warmup_ratio": 0.05,
    "batch_size": 8,
    "max_length": 256,
    "eval_per_epoch": 0,
}


SAME = {"thought_opened_by_the_prompt": "empty_thought"}
"""Kinds that print this data as another one does, token by token: what is trained and asked is the
same, so that one training tells of both."""


@pytest.mark.long
def test_the_verifier_is_as_right_under_every_kind_of_template(project: Project) -> None:
    """Trained and asked by the workflow: the same rows, preset and seed, five templates."""
    names = {name.replace(" ", "_"): text for name, text in TEMPLATES.items()}
    write_inputs(project, names)
    asked = {
        name: f"results/templates/metrics/{name}/solutions.json"
        for name in names
        if name not in SAME
    }
    checked = [f"results/templates/prompts/{name}.json" for name in names]
    project.run(*asked.values(), *checked, "--configfile", "templates.yaml")
    for name, other in SAME.items():
        assert token_rows(project, name) == token_rows(project, other)
    found = {name: accuracy(project, file) for name, file in asked.items()}
    print(found)
    assert found["plain"] >= 0.95, found
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


def token_rows(project: Project, model: str) -> list[dict]:
    """What is trained: every row's tokens and which of them carry loss."""
    (file,) = (project.folder / "results/templates/tokens").glob(f"{model}-*/train.parquet")
    return pq.read_table(file, columns=["id", "input_ids", "labels"]).to_pylist()


def accuracy(project: Project, file: str) -> float:
    """Share of the test rows that are right."""
    rows = json.loads((project.folder / file).read_text())["rows"]
    (found,) = [r for r in rows if (r["metric"], r["subset"]) == ("accuracy", "all")]
    assert found["n"] == 2 * PROBLEMS["test"]
    return found["value"]
