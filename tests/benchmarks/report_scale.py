"""CPU, memory and size of tables and report for many states: made results of a base and its runs on
five evals, one a task.

    export PYTHONPATH=workflow/scripts:tests/unit
    python tests/benchmarks/report_scale.py --folder /tmp/scale [--states 8] [--rows 1319]
"""

import argparse
import json
import math
import random
import resource
import time
from pathlib import Path

import pyarrow as pa
from synthetic_results import HAZARDS, files, measured, write_machine

from snaketune.config.evaluation import EvalSpec
from snaketune.data.example import Example, write_examples
from snaketune.plan.table_plan import EvalPlan, RunPlan, TablePlan
from snaketune.report.page import write_report
from snaketune.report.sources import ReportInputs
from snaketune.runtime.files import write_json, write_jsonl, write_rows
from snaketune.tables.aggregate import aggregate
from snaketune.tables.sources import read_sources

CLASSES = {"labels": ["0", "1"], "names": {"0": "right", "1": "flawed"}, "by": "kind"}
SPECS = {
    "math": EvalSpec(task="math", dataset="d"),
    "quiz": EvalSpec(task="multiple_choice", dataset="d", prompt="Q: {question}\n{options}A:"),
    "answers": EvalSpec(task="open_qa", dataset="d"),
    "solutions": EvalSpec(task="classification", dataset="d", classes=CLASSES),
    "safety": EvalSpec(task="safety", dataset="d", judge="judge"),
}
PRIMARY = {"open_qa": "f1", "safety": "safe_rate"}
WORDS = [
    "the",
    "number",
    "of",
    "boxes",
    "is",
    "then",
    "multiplied",
    "by",
    "their",
    "price",
    "which",
    "gives",
    "a",
    "total",
    "for",
    "each",
    "day",
]
TABLES = ("before_after", "confusion", "wrong_predictions")


def text(draw: random.Random, words: int) -> str:
    return " ".join(draw.choice(WORDS) for _ in range(words))


def example(name: str, i: int) -> Example:
    draw = random.Random(f"{name} {i}")
    more = {
        "math": {"answer": f"#### {i}", "gold": str(i)},
        "quiz": {"choices": tuple(text(draw, 6) for _ in range(4)), "label": "ABCD"[i % 4]},
        "answers": {"answer": text(draw, 4), "gold": text(draw, 4)},
        "solutions": {"context": text(draw, 60), "label": str(i % 2)},
        "safety": {},
    }[name]
    meta = json.dumps({"hazard": HAZARDS[i % 11], "persona": "skilled", "kind": f"k{i % 4}"})
    return Example(f"{name}-{i:05}", f"{i} {text(draw, 45)}", meta=meta, **more)


def reply(name: str, state: int, asked: Example, i: int) -> dict:
    draw = random.Random(f"{state} {asked.id}")
    hit = draw.random() < 0.3 + 0.05 * state
    found = {"id": asked.id, "finish": "stop", "new_tokens": 120, "prompt_tokens": 90}
    if name in ("quiz", "solutions"):
        n = 4 if name == "quiz" else 2
        gold = "ABCD01".index(asked.label) % 4
        sums = [draw.gauss(-6, 1) + (4 if hit and k == gold else 0) for k in range(n)]
        if n == 2:
            most = max(sums)
            total = math.log(sum(math.exp(s - most) for s in sums)) + most
            sums = [s - total - 0.01 for s in sums]
        return found | {"sums": sums, "tokens": [3] * n, "characters": [14] * n}
    end = asked.gold if hit and asked.gold else str(draw.randint(0, 2000))
    return found | {"output": f"{text(draw, 110)} #### {end}" if name != "answers" else end}


def make(folder: Path, states: list[str], rows: int) -> None:
    for name, spec in SPECS.items():
        asked = [example(name, i) for i in range(rows)]
        write_examples(folder / "data" / f"{name}.parquet", asked)
        for at, state in enumerate(states):
            replies = [reply(name, at, one, i) for i, one in enumerate(asked)]
            verdicts = None
            if name == "safety":
                verdicts = folder / "verdicts" / state / f"{name}.jsonl"
                said = [{"id": r["id"], "raw": "UNSAFE" if len(r["output"]) % 3 else "SAFE"}
                        for r in replies]  # fmt: skip
                write_jsonl(verdicts, said)
            measured(folder, state, name, replies, spec.model_dump(mode="json"), verdicts=verdicts)
            meta = {
                "dtype": "float32",
                "seconds": 10.0,
                "batch_sizes": [64],
                "example_prompt": "x" * 900,
            }
            write_json(folder / "predictions" / state / f"{name}.meta.json", meta)
    schema = pa.schema([("step", pa.int64()), ("loss", pa.float64()), ("dev_loss", pa.float64())])
    for state in states[1:]:
        draw = random.Random(state)
        settings = {"preset": {"method": "qlora", "epochs": 1.0}, "seed": 1}
        meta = {"steps": 935, "wall_seconds": 99.0, "method": "qlora", "settings": settings}
        write_json(folder / "train" / state / "train_meta.json", meta)
        log = [{"step": k, "loss": 2 * math.exp(-k / 99) + draw.random()} for k in range(1, 936)]
        write_rows(folder / "train" / state / "train_log.parquet", log, schema)
    write_machine(folder)


def plan_of(states: list[str]) -> TablePlan:
    evals = {n: EvalPlan(s.task, n, PRIMARY.get(s.task, "accuracy")) for n, s in SPECS.items()}
    runs = [
        RunPlan(
            run=state,
            state=state,
            base_state=states[0],
            model="m",
            train_data="d",
            method="qlora",
            seed=1,
            preset={"method": "qlora"},
            swept={},
            evals=evals,
            snapshots=[],
            followed=[],
            choose=None,
            thresholds={},
            totals={},
        )
        for state in states[1:]
    ]
    return TablePlan(experiment="scale", runs=runs, drops={})


def report(folder: Path, plan: TablePlan, made: dict) -> None:
    tables = folder / "tables"
    (folder / "lengths.json").write_text('{"train": {"edges": [0, 1], "counts": [1]}}')
    inputs = ReportInputs(
        **made,
        final=tables / "final_metrics.json",
        comparisons=tables / "comparisons.csv",
        checkpoints=tables / "checkpoint_scores.csv",
        prediction_meta=files(folder, "predictions/*/*.meta.json"),
        verdict_meta=[], manifests=[], stats=[], lengths=[], models=[],
        train_meta=files(folder, "train/*/train_meta.json"),
        train_log=files(folder, "train/*/train_log.parquet"),
        environment=folder / "environment.json",
        **{name: tables / f"{name}.csv" for name in TABLES},
    )  # fmt: skip
    write_report(plan, inputs, {}, folder / "report.html", folder / "figures")


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--folder", type=Path, required=True)
    asked.add_argument("--states", type=int, default=8)
    asked.add_argument("--rows", type=int, default=1319)
    asked.add_argument("--remake", action="store_true")
    asked.add_argument("--only", choices=["report"])
    given = asked.parse_args()
    states = ["base", *(f"run{k}" for k in range(1, given.states))]
    if given.remake or not (given.folder / "environment.json").exists():
        make(given.folder, states, given.rows)
        print("made: start again without --remake to measure")
        return
    plan = plan_of(states)
    made = {
        "metrics": files(given.folder, "metrics/*/*.json"),
        "scores": files(given.folder, "scores/*/*.parquet"),
    }
    steps = {"report": lambda: report(given.folder, plan, made)}
    if not given.only:
        meta = files(given.folder, "train/*/train_meta.json")
        steps = {
            "aggregate": lambda: aggregate(
                plan, read_sources(**made, train_meta=meta, chosen=[]), given.folder / "tables"
            )
        } | steps
    for name, step in steps.items():
        began = time.process_time()
        step()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        print(f"{name}: {time.process_time() - began:.1f} s of CPU, peak {peak:.2f} GB so far")
    print(f"report.html: {(given.folder / 'report.html').stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
