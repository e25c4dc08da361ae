"""The workflow on pretrained models: they learn, and the merged model is what learned."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from project_copy import Project, copy_project
from real_models import HERE, MODELS, pretrained, real_data
from test_real_replies import generated
from transformers import AutoModelForCausalLM, AutoTokenizer

from snaketune.prompts.wording import MATH_SYSTEM

pytestmark = pytest.mark.long

TOLD = Path("results/categories")
AGAIN = Path("results/merged")
BASE = "base-learner"


def sources() -> dict:
    """Where the data of `categories.yaml` lies here."""
    folder = real_data()
    return {
        "dolly": {"source": str(folder / "dolly/train.csv")},
        "gsm8k": {"source": {"test": str(folder / "gsm8k/test.jsonl")}},
    }


def run(project: Project, changes: dict, *targets: str) -> None:
    """`categories.yaml` with changes, on all cores for each job."""
    shutil.copy2(HERE / "categories.yaml", project.folder)
    (project.folder / "own.yaml").write_text(yaml.safe_dump({"datasets": sources(), **changes}))
    files = ["--configfile", "categories.yaml", "own.yaml", "--max-threads", "2"]
    project.run(*files, "--", "all", *targets)


def lines(project: Project, file: Path) -> dict[str, dict]:
    """Records by id."""
    text = (project.folder / file).read_text(encoding="utf-8")
    return {record["id"]: record for record in map(json.loads, text.splitlines())}


def compared(project: Project, folder: Path) -> dict[str, str]:
    """The row that compares accuracies of the categories."""
    with (project.folder / folder / "tables/comparisons.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["eval"] == "category"]
    (row,) = [row for row in rows if (row["metric"], row["subset"]) == ("accuracy", "all")]
    return row


@pytest.mark.parametrize("kind", MODELS)
def test_categories_are_learned_and_merged(kind, tmp_path):
    spec = pretrained(kind)
    project = copy_project(tmp_path / "project")
    model = {"id": spec.id} | ({"chat_template": spec.chat_template} if spec.chat_template else {})
    run(project, {"models": {"learner": model}}, "merge_all")
    learned(project, kind)
    merged_is_the_state(project, kind)


def learned(project: Project, kind: str) -> None:
    row = compared(project, TOLD)
    print(f"{kind}: {row['base']} -> {row['tuned']} of {row['n']}, exact p {row['p_exact']}")
    assert row["n"] == "200" and row["verdict"] == "better"
    assert float(row["p_exact"]) < 0.001 and float(row["low"]) > 0.05


def merged_is_the_state(project: Project, kind: str) -> None:
    """The merged model as a base of its own, beside the predictions of the run that it is."""
    told = {name: f"{TOLD}/predictions/told/{name}.jsonl" for name in ("category", "problems")}
    merged = {"id": f"{TOLD}/merged/told"}
    again = {"predictions": told, "model": "learner", "preset": None, "train": None}
    changes = {"experiment": AGAIN.name, "models": {"learner": merged}, "runs": {"told": again}}
    run(project, changes)
    row = compared(project, AGAIN)
    assert row["verdict"] == "no significant difference", row
    one, other = (
        lines(project, folder / f"predictions/{state}/category.jsonl")
        for folder, state in ((TOLD, "told"), (AGAIN, BASE))
    )
    a, b = (np.array([found[name]["sums"] for name in one]) for found in (one, other))
    same, off = (a.argmax(1) == b.argmax(1)).mean(), np.abs(a - b)
    first = lines(project, TOLD / "predictions/told/problems.jsonl")
    second = lines(project, AGAIN / f"predictions/{BASE}/problems.jsonl")
    replies = [first[name]["output"] == second[name]["output"] for name in first]
    print(
        f"{kind}: state and merged model choose the same of 8 categories for {100 * same:.1f} %, "
        f"sums differ by {off.mean():.2g} on average, {off.max():.2g} at most; "
        f"{sum(replies)} of {len(replies)} replies are the same"
    )
    assert same >= 0.98 and off.mean() < 0.05
    assert all(replies)
    plain_replies(project, second)


def plain_replies(project: Project, found: dict[str, dict]) -> None:
    """Plain transformers says with the merged model what the workflow says with it."""
    folder = project.folder / TOLD / "merged/told"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    ends = model.generation_config.eos_token_id
    ends = [ends] if isinstance(ends, int) else ends
    asked = lines(project, AGAIN / "data/gsm8k/test.jsonl")
    for name, record in found.items():
        turns = [{"role": "system", "content": MATH_SYSTEM}]
        turns.append({"role": "user", "content": asked[name]["question"]})
        prompt = tokenizer.apply_chat_template(turns, add_generation_prompt=True)["input_ids"]
        said = generated(model, prompt, 24, ends)
        assert tokenizer.decode(said, skip_special_tokens=True) == record["output"], name
