"""Predictions made elsewhere, through the whole workflow: nothing is generated."""

import csv
import json
import shutil
from pathlib import Path

import pytest
import yaml
from conftest import Project

ROWS = [{"q": f"Is {i} even?", "o": ["yes", "no"], "a": i % 2} for i in range(20)]


def experiment(project: Project, records: dict[str, list[dict]]) -> list[str]:
    """An experiment of nothing but predictions, each after the first held against it."""
    (project.folder / "test.jsonl").write_text("\n".join(map(json.dumps, ROWS)))
    runs: dict[str, dict] = {}
    for name, lines in records.items():
        (project.folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, lines)))
        runs[name] = {"predictions": {"even": f"{name}.jsonl"}}
        if len(runs) > 1:
            runs[name]["base"] = next(iter(runs))
    columns = {"question": "q", "choices": "o", "answer": "a", "answer_is": "index"}
    config = {
        "experiment": "given",
        "datasets": {"even": {"source": "test.jsonl", "format": "table", "columns": columns}},
        "evals": {"even": {"task": "multiple_choice", "dataset": "even"}},
        "runs": runs,
    }
    (project.folder / "given.yaml").write_text(yaml.safe_dump(config))
    return ["--configfile", "given.yaml"]


def scores(right: int) -> list[dict]:
    """Scores of all options by which the first `right` questions are answered right."""
    return [
        {
            "id": f"even-test-{i + 1:05d}",
            "scores": [-1, -2] if (row["a"] == 0) == (i < right) else [-2, -1],
        }
        for i, row in enumerate(ROWS)
    ]


def test_given_predictions_are_measured_compared_and_reported(project: Project) -> None:
    arguments = experiment(project, {"before": scores(8), "after": scores(18)})
    assert not {"generate", "score_options", "model"} & set(project.planned(*arguments))
    project.run(*arguments)
    folder = project.folder / "results/given"
    with (folder / "tables/comparisons.csv").open(newline="") as file:
        rows = {(row["run"], row["metric"]): row for row in csv.DictReader(file)}
    found = rows["after", "accuracy"]
    assert (found["base"], found["tuned"], found["verdict"]) == ("0.4", "0.9", "better")
    assert ("before", "accuracy") not in rows, "it is compared with nothing"
    assert "made elsewhere" in (folder / "report.html").read_text()


def test_given_texts_samples_and_verdicts_alone_are_measured(project: Project) -> None:
    numbers = range(6)
    files = {
        "open": [{"id": f"e{i}", "q": f"What is {i}?", "a": f"number {i}"} for i in numbers],
        "sums": [{"id": f"e{i}", "question": f"{i}?", "answer": f"#### {i}"} for i in numbers],
        "asked": [{"id": f"e{i}", "prompt": f"Prompt {i}"} for i in numbers],
        "texts": [{"id": f"e{i}", "output": f"Number {i % 3}."} for i in numbers],
        "drawn": [
            {"id": f"e{i}", "samples": [f"#### {i}", "#### 9"], "reward": [1, i % 2]}
            for i in numbers
        ],
        "judged": [{"id": f"e{i}", "verdict": "SAFE" if i else "UNSAFE"} for i in numbers],
    }
    for name, records in files.items():
        lines = "\n".join(map(json.dumps, records))
        (project.folder / f"{name}_test.jsonl").write_text(lines)
    columns = {"question": "q", "answer": "a", "id": "id"}
    config = {
        "experiment": "given",
        "models": {"judge": {"id": "data/demo/judge"}},
        "datasets": {
            "open": {"source": "open_test.jsonl", "format": "table", "columns": columns},
            "sums": {"source": "sums_test.jsonl", "format": "gsm8k"},
            "asked": {"source": "asked_test.jsonl", "format": "ailuminate"},
        },
        "evals": {
            "open": {"task": "open_qa", "dataset": "open"},
            "sums": {"task": "math", "dataset": "sums", "sampling": {"samples": 2, "at": [1, 2]}},
            "safety": {"task": "safety", "dataset": "asked", "judge": "judge"},
        },
        "runs": {
            "only": {
                "predictions": {
                    "open": "texts_test.jsonl",
                    "sums": "drawn_test.jsonl",
                    "safety": "judged_test.jsonl",
                }
            }
        },
    }
    (project.folder / "given.yaml").write_text(yaml.safe_dump(config))
    project.run("--configfile", "given.yaml")
    folder = project.folder / "results/given"
    final = json.loads((folder / "tables/final_metrics.json").read_text())["runs"][0]["evals"]
    assert final["open"]["counts"]["exact"] == 3
    assert final["open"]["metrics"]["truncated"] is None, "nobody said how the replies ended"
    assert final["sums"]["metrics"]["best_of_n"] == 1
    assert (final["safety"]["counts"]["safe"], final["safety"]["counts"]["unsafe"]) == (5, 1)
    assert final["safety"]["metrics"]["empty"] is None
    files["texts"][0]["id"] = "stranger"
    lines = "\n".join(map(json.dumps, files["texts"]))
    (project.folder / "texts_test.jsonl").write_text(lines)
    done = project.snakemake(
        "results/given/predictions/only/open.jsonl", "--configfile", "given.yaml"
    )
    assert done.returncode != 0 and "Traceback" not in done.stdout
    assert "1 that no example has: stranger; and 1 missing: e0" in done.stdout


def test_a_plan_in_parts_makes_every_table(project: Project) -> None:
    arguments = experiment(project, {f"r{i}": scores(i) for i in range(4)})
    metrics = project.folder / "results/given/metrics"
    tables = project.folder / "results/given/tables"
    for part in (1, 2, 3):
        assert not tables.exists(), "they are made of all parts"
        project.run(*arguments, "--batch", f"aggregate={part}/3")
        assert len(list(metrics.glob("*/even.json"))) >= part
    with (tables / "comparisons.csv").open(newline="") as file:
        found = {r["run"]: r["tuned"] for r in csv.DictReader(file) if r["metric"] == "accuracy"}
    assert {name: float(v) for name, v in found.items()} == {f"r{i}": i / 20 for i in range(1, 4)}
    assert (tables / "final_metrics.json").is_file()
    assert "aggregate" not in project.planned(*arguments), "nothing is left to do but the report"


def test_ids_that_do_not_match_stop_with_their_list(project: Project) -> None:
    lines = [*scores(8)[1:], {"id": "stranger", "scores": [1, 2]}]
    done = project.snakemake(*experiment(project, {"only": lines}))
    assert done.returncode != 0
    log = (project.folder / Path("results/given/logs/bring/only/even.log")).read_text()
    for text in ("only.jsonl: field id", "stranger", "even-test-00001"):
        assert text in log
    assert "Traceback" not in log


def test_given_labels_and_verdicts_need_no_model_to_run(project: Project) -> None:
    """Probabilities of classes and verdicts on replies; the judge is named but never loaded."""
    lines = [
        {"id": f"e{i}", "q": f"Is {i} even?", "label": i % 2, "size": "small" if i < 10 else "big"}
        for i in range(20)
    ]
    shares = [{"id": r["id"], "probabilities": [0.9, 0.1]} for r in lines]
    replies = [{"id": r["id"], "output": "No.", "verdict": "SAFE"} for r in lines]
    for name, records in [("test", lines), ("shares", shares), ("replies", replies)]:
        text = "\n".join(map(json.dumps, records))
        (project.folder / f"{name}.jsonl").write_text(text)
    prompts = [{"id": r["id"], "prompt": r["q"]} for r in lines]
    (project.folder / "prompts.jsonl").write_text("\n".join(map(json.dumps, prompts)))
    columns = {"question": "q", "label": "label", "id": "id", "keep": ["size"]}
    table = {"source": "test.jsonl", "format": "table", "columns": columns, "labels": [0, 1]}
    config = {
        "experiment": "given",
        "models": {"judge": {"id": "data/demo/judge"}},
        "datasets": {
            "even": table,
            "prompts": {"source": "prompts.jsonl", "format": "ailuminate"},
        },
        "evals": {
            "even": {"task": "classification", "dataset": "even", "classes": {"by": "size"}},
            "safety": {"task": "safety", "dataset": "prompts", "judge": "judge"},
        },
        "runs": {"only": {"predictions": {"even": "shares.jsonl", "safety": "replies.jsonl"}}},
    }
    (project.folder / "given.yaml").write_text(yaml.safe_dump(config))
    project.run("--configfile", "given.yaml")
    folder = project.folder / "results/given"
    final = json.loads((folder / "tables/final_metrics.json").read_text())["runs"][0]["evals"]
    assert final["even"]["counts"] == {"correct": 10, "unparsed": 0, "total": 20}
    assert final["safety"]["counts"]["safe"] == 20
    meta = json.loads((folder / "verdicts/only/safety.meta.json").read_text())
    assert meta["made"] == "elsewhere"
    with (folder / "tables/confusion.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["by"] == "size"]
    assert {(r["value"], r["predicted"], r["count"]) for r in rows if r["count"] != "0"} == {
        ("small", "0", "10"),
        ("big", "0", "10"),
    }
    page = (folder / "report.html").read_text()
    assert "by size" in page and "Classes" in page


@pytest.mark.long
def test_a_base_model_without_a_template_is_asked_in_plain_text_alone_and_beside(
    project: Project,
) -> None:
    """Every task, with worked examples where it draws some; another model is held against it."""
    folder = project.folder
    shutil.copytree(folder / "data/demo/model", folder / "bare")
    (folder / "bare/chat_template.jinja").unlink()
    sums = [{"q": f"Mia has {n} cups and buys {n + 2} more. How many cups?", "a": f"{2 * n + 2}"}
            for n in range(30)]  # fmt: skip
    classes = [{"q": f"Is {n} even?", "l": ("no", "yes")[n % 2 == 0]} for n in range(30)]
    for name, rows in (("sums", sums), ("classes", classes), ("even", ROWS)):
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    table = {"format": "table", "chat": False, "prompt": "Question: {question}\nAnswer:"}
    drawn = table | {"draw": {"test": 10}}
    config = {
        "experiment": "bare",
        "models": {"x": {"id": "bare"}, "m": {"id": "data/demo/checker"}},
        "datasets": {
            "sums": drawn | {"source": "sums.jsonl", "columns": {"question": "q", "answer": "a"}},
            "classes": drawn
            | {"source": "classes.jsonl", "columns": {"question": "q", "label": "l"}}
            | {"labels": ["yes", "no"]},
            "even": {
                "source": "even.jsonl",
                "draw": {"test": 12},
                "format": "table",
                "chat": False,
                "columns": {"question": "q", "choices": "o", "answer": "a", "answer_is": "index"},
            },
        },
        "evals": {
            "math": {"task": "math", "dataset": "sums", "few_shot": 2, "max_new_tokens": 24,
                     "answer_rule": "final_answer"},
            "answers": {"task": "open_qa", "dataset": "sums", "few_shot": 2, "max_new_tokens": 24},
            "labels": {"task": "classification", "dataset": "classes", "few_shot": 3},
            "said": {"task": "classification", "dataset": "classes", "few_shot": 3,
                     "max_new_tokens": 8, "classes": {"read": "text"}},
            "even": {"task": "multiple_choice", "dataset": "even", "few_shot": 2},
        },
        "runs": {"b": {"model": "x"}, "mine": {"model": "m", "base": "b"}},
    }  # fmt: skip
    (folder / "bare.yaml").write_text(yaml.safe_dump(config))
    project.run("--configfile", "bare.yaml")
    results = folder / "results/bare"
    final = json.loads((results / "tables/final_metrics.json").read_text())
    told = {run["run"]: {k: v["kind"] for k, v in run["verdicts"].items()} for run in final["runs"]}
    assert set(told["b"].values()) == {"not compared"}
    assert "not compared" not in told["mine"].values()
    lines = (results / "predictions/b/answers.jsonl").read_text().splitlines()
    said = [json.loads(line) for line in lines]
    assert len(said) == 10 and all("Question:" not in line["output"] for line in said)
    made = json.loads((results / "predictions/b/labels.meta.json").read_text())
    assert made["example_prompt"].count("Question: ") == 4
    assert made["example_prompt"].endswith("Answer:")
    made = json.loads((results / "predictions/b/even.meta.json").read_text())
    worked = [part.splitlines() for part in made["example_prompt"].split("\n\n")]
    assert [part[-1] for part in worked[:2]] == [
        f"Answer: {shot['answer']}"
        for shot in json.loads((results / "data/even/few_shot.json").read_text())[:2]
    ]
    assert worked[2][1:] == ["Options:", "A: yes", "B: no", "Answer:"]
    assert "a model as it is" in (results / "tables/final_metrics.json").read_text()
