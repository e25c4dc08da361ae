"""Tables and report of an experiment with options and open answers, followed by epoch."""

import csv
import json
from pathlib import Path

import pyarrow as pa
import pytest
from synthetic_results import HOSTILE, files, measured, write_machine
from test_report_page import Page

from snaketune.config.evaluation import EvalSpec
from snaketune.data.example import Example, write_examples
from snaketune.plan.table_plan import EvalPlan, RunPlan, SnapshotPlan, TablePlan
from snaketune.report.page import write_report
from snaketune.report.sources import ReportInputs
from snaketune.runtime.files import write_json, write_rows
from snaketune.tables.aggregate import aggregate
from snaketune.tables.sources import read_sources

N = 20
QUESTIONS = [
    Example(f"q{i}", f"Q{i}?", choices=["w", "x", "y", "z"], label="ABCD"[i % 4]) for i in range(N)
]
OPEN = [Example(f"o{i}", f"Name number {i}", gold=f"number {i}") for i in range(N)]
EVALS = {
    "letters": EvalSpec(task="multiple_choice", dataset="d"),
    "open": EvalSpec(task="open_qa", dataset="d"),
}
# How many of the questions each state knows.
KNOWN = {"base-m": 4, "run-1of2": 10, "run": 16}
LOG = pa.schema(
    {
        "step": pa.int64(), "epoch": pa.float64(), "loss": pa.float64(),
        "dev_loss": pa.float64(), "seconds": pa.float64(), "trained_tokens": pa.int64(),
    }
)  # fmt: skip


def _evaluate(folder: Path, state: str, name: str) -> None:
    spec, known = EVALS[name], KNOWN[state]
    if name == "letters":
        examples = QUESTIONS
        records = [_scores(e, i < known) for i, e in enumerate(examples)]
    else:
        examples = OPEN
        wrong = HOSTILE[0] if state == "run" else ""
        records = [
            {"id": e.id, "output": e.gold if i < known else wrong, "finish": "stop"}
            for i, e in enumerate(examples)
        ]
        records[-1]["output"] = "number" if state == "base-m" else ""
    write_examples(folder / "data" / f"{name}.parquet", examples)
    write_json(folder / "predictions" / state / f"{name}.meta.json", {"seconds": 7.5})
    measured(folder, state, name, records, spec.model_dump(mode="json"))


def _scores(example: Example, right: bool) -> dict:
    gold = "ABCD".index(example.label)
    best = gold if right else (gold + 1) % 4
    sums = [-1.0 if i == best else -3.0 for i in range(4)]
    return {"id": example.id, "sums": sums, "tokens": [1] * 4, "characters": [1] * 4}


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("tasks")
    plans = {
        "letters": EvalPlan("multiple_choice", "letters", "accuracy"),
        "open": EvalPlan("open_qa", "open", "f1"),
    }
    followed = [("1of2", "run-1of2"), ("2of2", "run")]
    run = RunPlan(
        run="run", state="run", base_state="base-m", model="m", train_data="d",
        method="lora", seed=1, preset={"epochs": 2.0}, swept={"lora.r": 8},
        evals=plans, snapshots=[],
        followed=[
            SnapshotPlan(k, state, {"letters": plans["letters"]})
            for k, state in followed
        ],
        choose=None, thresholds={"letters.accuracy": 0.5}, totals={"letters": N},
    )  # fmt: skip
    plan = TablePlan(experiment="tasks", runs=[run], drops={})
    for state in KNOWN:
        for name in ("letters", "open") if state != "run-1of2" else ("letters",):
            _evaluate(folder, state, name)
    train = folder / "train" / "run"
    meta = {"steps": 4, "wall_seconds": 40.0, "final_loss": 0.5, "device": "cuda"}
    meta |= {"device_name": "GPU", "device_memory_bytes": 16, "peak_memory_bytes": 9}
    meta |= {"settings": {"preset": {"epochs": 2.0}, "seed": 1}}
    write_json(train / "train_meta.json", meta)
    rows = [
        {"step": k, "epoch": k / 2, "loss": 4.0 - k, "seconds": 10.0, "trained_tokens": k}
        for k in (1, 2, 3, 4)
    ]
    write_rows(train / "train_log.parquet", [*rows, {"step": 2, "dev_loss": 9.0}], LOG)
    groups = {
        "metrics": files(folder, "metrics/*/*.json"),
        "scores": files(folder, "scores/*/*.parquet"),
        "train_meta": files(folder, "train/*/train_meta.json"),
        "train_log": files(folder, "train/*/train_log.parquet"),
        "prediction_meta": files(folder, "predictions/*/*.meta.json"),
    }
    aggregate(plan, read_sources(chosen=[], **groups), folder / "tables")
    tables = {
        "final": "final_metrics.json", "comparisons": "comparisons.csv",
        "checkpoints": "checkpoint_scores.csv", "epoch_results": "epoch_results.csv",
        "summary_results": "summary_results.csv", "before_after": "before_after.csv",
        "sweep": "sweep.csv",
    }  # fmt: skip
    inputs = ReportInputs(
        **groups,
        **{key: folder / "tables" / name for key, name in tables.items()},
        verdict_meta=[], manifests=[], stats=[], lengths=[], models=[],
        environment=write_machine(folder),
    )  # fmt: skip
    write_report(plan, inputs, {}, folder / "report.html", folder / "figures")
    return folder


def rows(made: Path, name: str) -> list[dict[str, str]]:
    with (made / "tables" / f"{name}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_epoch_has_its_score_its_time_and_its_loss(made: Path) -> None:
    found = rows(made, "epoch_results")
    keys = ("epoch", "step", "state", "value", "train_seconds", "evaluation_seconds")
    assert [tuple(row[k] for k in keys) for row in found] == [
        ("0", "0", "base-m", "0.2", "", "7.5"),
        ("1.0", "2", "run-1of2", "0.5", "20.0", "7.5"),
        ("2.0", "4", "run", "0.8", "40.0", "7.5"),
    ]
    # Per trained token: (3·1 + 2·2) / 3, then (1·3 + 0·4) / 7; the base has none.
    losses = [row["train_loss"] for row in found]
    assert losses[0] == ""
    assert [float(x) for x in losses[1:]] == pytest.approx([7 / 3, 3 / 7])


def test_seconds_of_a_job_that_was_gone_on_with_are_missing(made: Path) -> None:
    file = made / "predictions/run/letters.meta.json"
    plan = EvalPlan("multiple_choice", "letters", "accuracy")

    def seconds() -> float | None:
        found = read_sources([], [], [], [], prediction_meta=[file])
        return found.seconds("run", plan)

    assert seconds() == 7.5
    text = file.read_text()
    file.write_text(json.dumps(json.loads(text) | {"resumed_records": 3}))
    assert seconds() is None
    file.write_text(text)


def test_a_snapshot_that_is_followed_belongs_to_its_run(made: Path) -> None:
    owners = {(row["state"], row["run"], row["seed"]) for row in rows(made, "metrics")}
    assert owners == {("base-m", "", ""), ("run-1of2", "run", "1"), ("run", "run", "1")}


def test_the_summary_has_the_columns_of_the_recipe(made: Path) -> None:
    (row,) = rows(made, "summary_results")
    expected = {
        "model": "m", "train_seconds": "40.0", "final_train_loss": "0.5", "metric": "accuracy",
        "value": "0.8", "base_value": "0.2", "evaluation_seconds": "7.5", "device": "cuda",
        "gpu_name": "GPU", "gpu_memory_bytes": "16", "peak_gpu_memory_bytes": "9",
        "accuracy": "0.8",
    }  # fmt: skip
    assert {key: row[key] for key in expected} == expected


def test_before_and_after_is_sorted_by_what_was_lost(made: Path) -> None:
    found = rows(made, "before_after")
    assert len(found) == N
    changes = [float(row["f1_change"]) for row in found]
    assert changes == sorted(changes)
    worst = found[0]
    assert (worst["id"], worst["base_output"], worst["tuned_output"]) == ("o19", "number", "")
    assert (worst["words_base"], worst["words_tuned"], worst["words_change"]) == ("1", "0", "-1")
    assert worst["relaxed_change"] == "-1", "one word of the gold answer was a relaxed match"


def test_a_swept_run_stands_with_its_values_and_every_eval(made: Path) -> None:
    found = rows(made, "sweep")
    assert [(row["eval"], row["metric"], row["lora.r"]) for row in found] == [
        ("letters", "accuracy", "8"),
        ("open", "f1", "8"),
    ]
    assert found[0]["value"] == "0.8" and found[0]["low"] < "0.8" < found[0]["high"]


def test_shares_and_means_are_both_compared(made: Path) -> None:
    found = {(r["eval"], r["metric"], r["subset"]): r for r in rows(made, "comparisons")}
    accuracy, f1 = found["letters", "accuracy", "all"], found["open", "f1", "all"]
    assert (accuracy["only_tuned"], accuracy["verdict"]) == ("12", "better")
    assert float(accuracy["p_exact"]) == pytest.approx(2 / 2**12)
    assert f1["verdict"] == "better" and float(f1["difference"]) > 0.5
    assert len(found) == len(rows(made, "comparisons"))


def test_every_measure_of_open_answers_is_compared_on_the_short_ones_too(made: Path) -> None:
    found = [row for row in rows(made, "comparisons") if row["eval"] == "open"]
    short = {row["metric"]: row for row in found if row["subset"] == "answer=short"}
    assert set(short) == {row["metric"] for row in found if row["subset"] == "all"} == {
        "f1", "rouge_l", "squad_f1", "exact", "relaxed", "rouge_l_half", "squad_exact",
    }  # fmt: skip
    page = (made / "report.html").read_text()
    for metric in ("rouge l", "exact"):
        assert f"answer short: {metric}" in page, metric
    assert page.count("vs base, p") >= 2 * len(short) - 1


def test_the_report_shows_it_all_and_runs_no_script(made: Path) -> None:
    page = (made / "report.html").read_text()
    for text in ("Before and after", "Chosen letters by gold letter", "chose B", "scores by epoch"):
        assert text in page, text
    assert Page(page).tags.count("script") == 1, "the page has its own alone"
    names = {path.stem for path in (made / "figures").glob("*.svg")}
    assert {"epochs-letters", "training_time", "evaluation_time", "sweep-letters"} <= names
