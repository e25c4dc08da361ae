"""A results folder of an experiment with classes, from seeds: a run and its base on two evals, one
of which reads replies; texts try to break the report."""

import json
import math
import random
from pathlib import Path

from synthetic_results import HOSTILE, files, measured, write_machine

from snaketune.config.evaluation import EvalSpec
from snaketune.data.example import Example, write_examples
from snaketune.plan.table_plan import EvalPlan, RunPlan, TablePlan
from snaketune.report.sources import ReportInputs
from snaketune.tables.aggregate import aggregate
from snaketune.tables.sources import read_sources

N = 120
LABELS = ["0", "1"]
KINDS = ["correct", "conceptual", "<b>computational</b>"]
NAMES = {"0": "correct", "1": "flawed <i>"}
CLASSES = {"labels": LABELS, "names": NAMES, "by": "error_type"}
EVALS = {
    "solutions": EvalSpec(task="classification", dataset="d", classes=CLASSES),
    "replies": EvalSpec(task="classification", dataset="d", classes={**CLASSES, "read": "text"}),
}
STATES = ["base-m", "run"]
PLANS = {
    name: EvalPlan(task="classification", protocol_name=name, primary="accuracy") for name in EVALS
}


def make_plan() -> TablePlan:
    """The plan that the folder is made for."""
    run = RunPlan(
        run="run", state="run", base_state="base-m", model="m", train_data=None,
        method="adapter", seed=None, preset={}, swept={},
            evals=PLANS, snapshots=[],
        followed=[], choose=None, thresholds={"solutions.accuracy": 0.7}, totals={},
    )  # fmt: skip
    return TablePlan(experiment="classes", runs=[run], drops={})


def make_class_results(folder: Path) -> tuple[TablePlan, ReportInputs]:
    """Fills `folder` up to the tables; the inputs of `write_report`."""
    plan = make_plan()
    write_examples(folder / "data" / "d.parquet", [example(i) for i in range(N)])
    for state in STATES:
        for name in EVALS:
            _evaluate(folder, state, name)
    groups = {
        "metrics": files(folder, "metrics/*/*.json"),
        "scores": files(folder, "scores/*/*.parquet"),
    }
    sources = read_sources(**groups, train_meta=[], chosen=[])
    tables = folder / "tables"
    aggregate(plan, sources, tables)
    return plan, ReportInputs(
        **groups,
        final=tables / "final_metrics.json",
        comparisons=tables / "comparisons.csv",
        checkpoints=tables / "checkpoint_scores.csv",
        gate=tables / "gate.json",
        confusion=tables / "confusion.csv",
        wrong_predictions=tables / "wrong_predictions.csv",
        prediction_meta=[], verdict_meta=[], train_meta=[], train_log=[], manifests=[], stats=[],
        lengths=[], models=[], environment=write_machine(folder),
    )  # fmt: skip


def example(i: int) -> Example:
    """Every other solution is flawed, in one way or the other; some are hostile."""
    label = LABELS[i % 2]
    kind = KINDS[0] if label == "0" else KINDS[1 + i % 4 // 2]
    solution = HOSTILE[i % len(HOSTILE)] if i % 9 == 1 else f"{i} and {i} make {2 * i + i % 2}"
    meta = json.dumps({"index": i // 2, "error_type": kind})
    question = f"How many are {i} and {i}?"
    return Example(f"{i // 2}-{label}", question, solution, label, label=label, meta=meta)


def _evaluate(folder: Path, state: str, name: str) -> None:
    records = [_record(state, name, example(i), i) for i in range(N)]
    measured(folder, state, name, records, EVALS[name].model_dump(mode="json"), data="d")


def _record(state: str, name: str, asked: Example, i: int) -> dict:
    draw = random.Random(f"{state} {asked.id}")
    gold = LABELS.index(asked.label)
    lean = draw.gauss(0.2 if state == "base-m" else 1.4, 1.2) * (1 if gold else -1)
    if name == "replies":
        text = HOSTILE[i % len(HOSTILE)] if i % 11 == 3 else LABELS[lean > 0]
        return {"id": asked.id, "output": text, "finish": "stop", "new_tokens": 1}
    one = 1 / (1 + math.exp(-lean))
    sums = [math.log(0.9 * (1 - one)), math.log(0.9 * one)]
    return {"id": asked.id, "sums": sums, "tokens": [1, 1], "characters": [1, 1]}
