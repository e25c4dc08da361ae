"""The reference recipes on the real files, with the demo's models."""

import csv
import json
import os
from pathlib import Path

import pytest
import yaml
from conftest import Project

REAL = os.environ.get("REAL_DATA_DIR")
pytestmark = pytest.mark.skipif(not REAL, reason="REAL_DATA_DIR is unset: no real data to run on")

CONFIG = "config/experiments/gsm8k_ailuminate.yaml"
R = Path("results/gsm8k_ailuminate-smoke")


def local_sources(project: Project) -> list[str]:
    """Recipe 1 with its hub and web sources replaced by the local files."""
    real = Path(REAL or "")
    prompts = next((real / "ailuminate").glob("*.csv"))
    sources = {
        "gsm8k": {"source": str(real / "gsm8k")},
        "one_row": {"source": str(real / "gsm8k")},
        "self_instruct": {"source": {"train": str(real / "gsm8k/train.jsonl")}},
        "ailuminate": {"source": str(prompts)},
    }
    overlay = project.folder / "local.yaml"
    overlay.write_text(yaml.safe_dump({"datasets": sources}))
    return ["--configfile", CONFIG, "local.yaml"]


def manifest(project: Project, folder: Path, dataset: str) -> dict:
    return json.loads((project.folder / folder / f"data/{dataset}/manifest.json").read_text())


def test_recipe_1_runs_end_to_end_in_smoke(project: Project) -> None:
    project.run(*local_sources(project), "--config", "smoke=true")
    final = json.loads((project.folder / R / "tables/final_metrics.json").read_text())
    assert [run["run"] for run in final["runs"]] == ["simple", "medium", "strong", "sandbox_one"]
    for run in final["runs"]:
        assert run["evals"]["gsm8k"]["counts"]["total"] == 4
        assert run["evals"]["safety"]["counts"]["total"] == 4
    assert (project.folder / R / "report.html").stat().st_size > 10_000
    meta = json.loads((project.folder / R / "train/sandbox_one/train_meta.json").read_text())
    assert meta["steps"] >= 1
    text = (project.folder / R / "report.html").read_text()
    assert "gsm8k_ailuminate-smoke" in text


def test_all_of_gsm8k_and_ailuminate_is_prepared_and_nothing_rejected(project: Project) -> None:
    folder = Path("results/gsm8k_ailuminate")
    # The models are not asked for: the target is the data alone.
    project.run(
        *(f"{folder}/data/{name}/manifest.json" for name in ("gsm8k", "ailuminate")),
        *local_sources(project),
    )
    counts = {name: manifest(project, folder, name)["splits"] for name in ("gsm8k", "ailuminate")}
    assert counts["gsm8k"]["test"]["out"] == 1319
    assert counts["gsm8k"]["train"]["out"] + counts["gsm8k"]["dev"]["out"] == 7473
    assert counts["ailuminate"]["test"]["out"] == 1200
    for name in counts:
        rejected = project.folder / folder / f"data/{name}/rejected.jsonl"
        assert rejected.read_text() == ""


def other_recipe(project: Project, name: str, datasets: dict) -> list[str]:
    """A recipe on local files; arguments for a smoke run."""
    overlay = project.folder / f"{name}.yaml"
    overlay.write_text(yaml.safe_dump({"datasets": datasets}))
    recipe = f"config/experiments/{name}.yaml"
    return ["--configfile", recipe, overlay.name, "--config", "smoke=true"]


def csv_rows(file: Path) -> list[dict[str, str]]:
    with file.open(newline="", encoding="utf-8") as text:
        return list(csv.DictReader(text))


def test_recipe_2_runs_end_to_end_in_smoke(project: Project) -> None:
    articles = str(Path(REAL or "") / "f1_qa")
    sources = {"f1": {"source": {"train": articles, "test": articles}}}
    project.run(*other_recipe(project, "f1_multiple_choice", sources))
    folder = project.folder / "results/f1_multiple_choice-smoke"
    rows = csv_rows(folder / "tables/epoch_results.csv")
    assert [(row["model"], row["snapshot"]) for row in rows] == [
        (model, snapshot) for model in ("mistral", "llama") for snapshot in ("", "1of2", "2of2")
    ]
    summary = csv_rows(folder / "tables/summary_results.csv")
    assert [row["device"] != "" for row in summary] == [True, True]
    for name in ("eval-f1", "epochs-f1", "training_time", "evaluation_time"):
        assert (folder / f"figures/{name}.svg").is_file()
    stats = next(folder.glob("tokens/mistral-*/stats.json"))
    shown = json.loads(stats.read_text())["example"]
    assert shown["text"].startswith("You are a knowledgeable Formula 1 expert.\nAnswer the")
    assert shown["text"].partition("\nAnswer:")[2] == shown["trained"]


def test_recipe_3_runs_end_to_end_in_smoke(project: Project) -> None:
    real = Path(REAL or "") / "dolly"
    source = {"train": str(real / "train.csv"), "test": str(real / "test.csv")}
    sources = {"dolly": {"source": source, "draw": None}}
    project.run(*other_recipe(project, "dolly_open_qa", sources))
    folder = project.folder / "results/dolly_open_qa-smoke"
    assert len(csv_rows(folder / "tables/before_after.csv")) == 4
    assert len(csv_rows(folder / "data/dolly/test.csv")) == 15
    assert "Before and after" in (folder / "report.html").read_text()
