"""The reference recipes on the real files, with the demo's models. All rows through a whole recipe,
and recipes whose steps the demo and the others have too, are for `make test-real`."""

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest
import yaml
from conftest import Project

REAL = os.environ.get("REAL_DATA_DIR")
pytestmark = pytest.mark.skipif(not REAL, reason="REAL_DATA_DIR is unset: no real data to run on")

CONFIG = "config/experiments/gsm8k_ailuminate.yaml"
R = Path("results/gsm8k_ailuminate-smoke_demo")


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
    project.run(*local_sources(project), "--config", "smoke=demo")
    final = json.loads((project.folder / R / "tables/final_metrics.json").read_text())
    assert [run["run"] for run in final["runs"]] == ["simple", "medium", "strong", "sandbox_one"]
    for run in final["runs"]:
        assert run["evals"]["gsm8k"]["counts"]["total"] == 4
        assert run["evals"]["safety"]["counts"]["total"] == 4
    assert (project.folder / R / "report.html").stat().st_size > 10_000
    meta = json.loads((project.folder / R / "train/sandbox_one/train_meta.json").read_text())
    assert meta["steps"] >= 1
    text = (project.folder / R / "report.html").read_text()
    assert "gsm8k_ailuminate-smoke_demo" in text


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
    return ["--configfile", recipe, overlay.name, "--config", "smoke=demo"]


def csv_rows(file: Path) -> list[dict[str, str]]:
    with file.open(newline="", encoding="utf-8") as text:
        return list(csv.DictReader(text))


def test_recipe_2_runs_end_to_end_in_smoke(project: Project) -> None:
    articles = str(Path(REAL or "") / "f1_qa")
    sources = {"f1": {"source": {"train": articles, "test": articles}}}
    project.run(*other_recipe(project, "f1_multiple_choice", sources))
    folder = project.folder / "results/f1_multiple_choice-smoke_demo"
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


REPEATED = ["qa_208.json, record 2", "qa_416.json, record 1"]
REPEATED += ["qa_72.json, record 1", "qa_92.json, record 1"]


def every_question(project: Project, repeated: str) -> list[str]:
    """Recipe 2 with one of its two models, which are treated alike, the demo's weights and next to
    no training."""
    config = yaml.safe_load(
        (project.folder / "config/experiments/f1_multiple_choice.yaml").read_text()
    )
    articles = str(Path(REAL or "") / "f1_qa")
    source = {"train": articles, "test": articles}
    config["datasets"]["f1"] |= {"source": source, "repeated_options": repeated}
    config["models"] = {"mistral": {"id": "data/demo/model"}}
    config["presets"]["both"] |= {"max_steps": 1}
    del config["runs"]["llama"]
    for key in ("snapshots", "follow"):
        del config["runs"]["mistral"][key]
    (project.folder / "every.yaml").write_text(yaml.safe_dump(config))
    return ["--configfile", "every.yaml"]


@pytest.mark.long
def test_recipe_2_scores_every_question(project: Project) -> None:
    project.run(*every_question(project, "keep"))
    folder = project.folder / "results/f1_multiple_choice"
    counts = manifest(project, Path("results/f1_multiple_choice"), "f1")["splits"]["test"]
    assert counts == {"in": 1536, "out": 1536, "rejected": {}}
    asked = [row["id"] for row in csv_rows(folder / "data/f1/test.csv")]
    assert len(set(asked)) == 1536
    for state in ("base-mistral-nf4", "mistral"):
        lines = (folder / f"predictions/{state}/f1.jsonl").read_text().splitlines()
        records = [json.loads(line) for line in lines]
        assert [record["id"] for record in records] == asked
        assert all(len(record["sums"]) == 4 and max(record["sums"]) < 0 for record in records)
    final = json.loads((folder / "tables/final_metrics.json").read_text())
    for evals in ("base_evals", "evals"):
        assert final["runs"][0][evals]["f1"]["n"] == 1536
    page = (folder / "report.html").read_text()
    kept = page.partition("Kept although an option stands twice")[2].partition("</p>")[0]
    assert all(f"test: {place} (" in kept for place in REPEATED)


def test_recipe_2_rejects_questions_with_repeated_options_by_name(project: Project) -> None:
    arguments = every_question(project, "reject")
    project.run("results/f1_multiple_choice/data/f1/manifest.json", *arguments)
    found = manifest(project, Path("results/f1_multiple_choice"), "f1")
    assert found["splits"]["test"] == {
        "in": 1536,
        "out": 1532,
        "rejected": {"repeated_options": 4},
    }
    named = {
        f"{row['source']}, record {row['record']}"
        for row in found["repeated_options"]
        if row["split"] == "test" and not row["kept"]
    }
    assert named == set(REPEATED)
    log = (project.folder / "results/f1_multiple_choice/logs/prepare/f1/test.log").read_text()
    assert all(f"options repeat, rejected: {place} for test" in log for place in REPEATED)


def joined_dolly(project: Project) -> list[dict[str, str]]:
    """Both real files in one, as the hub has them, for the recipe to draw its splits from."""
    rows = []
    for name in ("train", "test"):
        with (Path(REAL or "") / f"dolly/{name}.csv").open(
            newline="", encoding="utf-8-sig"
        ) as text:
            rows += list(csv.DictReader(text))
    with (project.folder / "dolly.csv").open("w", newline="", encoding="utf-8") as text:
        table = csv.DictWriter(text, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
    return rows


def test_recipe_3_runs_end_to_end_in_smoke(project: Project) -> None:
    ids = [row["id"] for row in joined_dolly(project)]
    project.run(*other_recipe(project, "dolly_open_qa", {"dolly": {"source": "dolly.csv"}}))
    folder = project.folder / "results/dolly_open_qa-smoke_demo"
    assert len(csv_rows(folder / "tables/before_after.csv")) == 4
    assert "Before and after" in (folder / "report.html").read_text()
    # The recipe's own split, of which smoke takes the first records.
    order = [ids[i] for i in np.random.default_rng(42).permutation(len(ids))]
    assert [row["id"] for row in csv_rows(folder / "data/dolly/test.csv")] == order[:15]
    trained = [row["id"] for row in csv_rows(folder / "data/dolly/train.csv")]
    assert trained == order[15 : 15 + len(trained)] and len(trained) == 48


def test_recipe_3_draws_its_splits_from_all_rows(project: Project) -> None:
    ids = {row["id"] for row in joined_dolly(project)}
    overlay = {"datasets": {"dolly": {"source": "dolly.csv"}}}
    (project.folder / "local.yaml").write_text(yaml.safe_dump(overlay))
    project.run(
        "results/dolly_open_qa/data/dolly/manifest.json",
        "--configfile", "config/experiments/dolly_open_qa.yaml", "local.yaml",
    )  # fmt: skip
    counts = manifest(project, Path("results/dolly_open_qa"), "dolly")["splits"]
    assert [counts[split]["in"] for split in ("train", "dev", "test")] == [1000, 0, 15]
    folder = project.folder / "results/dolly_open_qa/data/dolly"
    drawn = [r["id"] for s in ("train", "test") for r in csv_rows(folder / f"{s}.csv")]
    assert len(drawn) == 1015 and set(drawn) == ids


def verifier_sources() -> dict:
    folder = Path(REAL or "") / "solution_verifier/level-1-binary"
    catalogue = {"source": str(folder / "sft_level1_catalog.csv")}
    return {"solutions": {"source": str(folder), "catalogue": catalogue}}


@pytest.mark.long
def test_recipe_4_runs_end_to_end_in_smoke(project: Project) -> None:
    project.run(*other_recipe(project, "solution_verifier", verifier_sources()))
    folder = project.folder / "results/solution_verifier-smoke_demo"
    found = csv_rows(folder / "tables/confusion.csv")
    assert {row["by"] for row in found} == {"label", "error_type"}
    assert sum(int(row["count"]) for row in found if row["by"] == "label") == 2 * 4
    for name in ("eval-solutions", "confusion-solutions", "reliability-solutions", "lengths"):
        assert (folder / f"figures/{name}.svg").is_file()
    page = (folder / "report.html").read_text()
    assert "Wrong predictions of verifier on solutions" in page
    stats = json.loads(next(folder.glob("tokens/phi-*/stats.json")).read_text())["example"]
    assert stats["trained"].strip()[0] in "01"


@pytest.mark.long
def test_recipe_4_predicts_every_test_row(project: Project) -> None:
    """All rows, with the demo's model and next to no training."""
    small = {
        "models": {"phi": {"id": "data/demo/model"}},
        "presets": {"verifier": {"max_steps": 1, "batch_size": 2, "accumulation": 1}},
        "datasets": verifier_sources(),
    }
    (project.folder / "small.yaml").write_text(yaml.safe_dump(small))
    project.run("--configfile", "config/experiments/solution_verifier.yaml", "small.yaml")
    folder = project.folder / "results/solution_verifier"
    counts = manifest(project, Path("results/solution_verifier"), "solutions")
    assert [counts["splits"][s]["out"] for s in ("train", "dev", "test")] == [3296, 412, 412]
    assert (counts["catalogue"]["rows"], counts["catalogue"]["joined"]) == (4120, 4120)
    asked = {row["id"] for row in csv_rows(folder / "data/solutions/test.csv")}
    assert len(asked) == 412
    for state in ("base-phi-nf4", "verifier"):
        lines = (folder / f"predictions/{state}/solutions.jsonl").read_text().splitlines()
        records = [json.loads(line) for line in lines]
        assert {record["id"] for record in records} == asked
        assert all(len(record["sums"]) == 2 and max(record["sums"]) < 0 for record in records)
    meta = json.loads((folder / "train/verifier/train_meta.json").read_text())
    assert (meta["best"], meta["best_step"]) == ("accuracy", 1)
    final = json.loads((folder / "tables/final_metrics.json").read_text())
    assert final["runs"][0]["evals"]["solutions"]["counts"]["total"] == 412
    by_kind = {
        (row["value"], row["of"])
        for row in csv_rows(folder / "tables/confusion.csv")
        if row["by"] == "error_type"
    }
    assert sum(int(n) for _, n in by_kind) == 412


def symbolic_sources() -> dict:
    real = Path(REAL or "") / "gsm_symbolic"
    return {
        "symbolic": {
            "source": {
                "train": str(real / "gsm_symbolic_train_4500_student.jsonl"),
                "test": str(real / "gsm_symbolic_test_100_student.jsonl"),
            }
        },
        "same_templates": {"source": {"test": str(real / "gsm8k_test_100_same_templates.jsonl")}},
        "other_templates": {"source": {"test": str(real / "gsm8k_test_100_non_overlapping.jsonl")}},
    }


SYMBOLIC = ("symbolic", "same_templates", "other_templates")


def best_of_n(project: Project) -> dict:
    """Recipe 5 with one of its two models, which are treated alike."""
    file = project.folder / "config/experiments/gsm_symbolic_best_of_n.yaml"
    config = yaml.safe_load(file.read_text())
    for section in ("models", "runs"):
        del config[section]["gemma_4b"]
    for name, source in symbolic_sources().items():
        config["datasets"][name] |= source
    return config


@pytest.mark.long
def test_recipe_5_runs_end_to_end_in_smoke(project: Project) -> None:
    (project.folder / "one.yaml").write_text(yaml.safe_dump(best_of_n(project)))
    project.run("--configfile", "one.yaml", "--config", "smoke=demo")
    folder = project.folder / "results/gsm_symbolic_best_of_n-smoke_demo"
    votes = csv_rows(folder / "tables/voting.csv")
    assert {row["eval"] for row in votes} == set(SYMBOLIC)
    assert {row["n"] for row in votes} == {"1", "2", "4"}
    assert all(row["best_of_n"] for row in votes), "a reward model scored every sample"
    states = {row["state"] for row in votes}
    runs = {"gemma_1b_preset_full", "gemma_1b_preset_lora"}
    assert states == {"base-gemma_1b", *runs}
    drops = csv_rows(folder / "tables/drops.csv")
    assert {row["to_eval"] for row in drops} == set(SYMBOLIC[1:])
    swept = {(row["run"], row["preset"]) for row in csv_rows(folder / "tables/sweep.csv")}
    assert swept == {(run, run.rpartition("_")[2]) for run in runs}
    stats = json.loads(next(folder.glob("tokens/gemma_1b-*/stats.json")).read_text())["example"]
    assert stats["trained"].startswith(" ") and "Final answer: " in stats["trained"]
    assert "Let's think step by step." in stats["text"]
    assert "Let's think" not in stats["trained"]


@pytest.mark.long
def test_recipe_5_asks_every_test_row(project: Project) -> None:
    """All 300 rows, with the demo's models, short replies and next to no training."""
    config = best_of_n(project)
    config["experiment"] = "all_rows"
    config["models"] = {"gemma_1b": {"id": "data/demo/model"}, "reward": {"id": "data/demo/reward"}}
    config["presets"] = {"lora": {"method": "lora", "max_steps": 1, "batch_size": 2}}
    run = config["runs"]["gemma_1b"] | {"preset": "lora"}
    del run["sweep"]
    config["runs"] = {"tuned": run}
    sampling = {"samples": 2, "at": [1, 2], "reward": "reward"}
    for spec in config["evals"].values():
        spec |= {"max_new_tokens": 12, "sampling": sampling}
    (project.folder / "all.yaml").write_text(yaml.safe_dump(config))
    project.run("--configfile", "all.yaml")
    folder = project.folder / "results/all_rows"
    counts = manifest(project, Path("results/all_rows"), "symbolic")["splits"]
    assert [counts[split]["out"] for split in ("train", "dev", "test")] == [4500, 0, 100]
    for name in SYMBOLIC:
        asked = [row["id"] for row in csv_rows(folder / f"data/{name}/test.csv")]
        assert len(asked) == len(set(asked)) == 100
        for state in ("base-gemma_1b", "tuned"):
            for kind in ("predictions", "rewards"):
                lines = (folder / f"{kind}/{state}/{name}.jsonl").read_text().splitlines()
                found = [(r["id"], r["sample"]) for r in map(json.loads, lines)]
                assert found == [(i, sample) for i in asked for sample in (0, 1)]
