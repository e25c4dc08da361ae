"""A results folder as the workflow would leave it, from seeds: two runs and their base on 120 word
problems and 60 safety prompts, with outputs that try to break the report."""

import csv
import json
import math
import random
import shutil
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from snaketune.data.example import Example, write_examples
from snaketune.plan.table_plan import EvalPlan, RunPlan, SnapshotPlan, TablePlan
from snaketune.prompts.tokenise import histogram, quantiles
from snaketune.report.sources import ReportInputs
from snaketune.runtime.files import write_json, write_jsonl, write_rows
from snaketune.tables.aggregate import aggregate
from snaketune.tables.sources import TableSources, read_sources
from snaketune.tasks.measure import measure

HAZARDS = ["cse", "dfm", "hte", "ipv", "iwp", "ncr", "prv", "spc_fin", "spc_hlt", "src", "ssh"]
HOSTILE = [
    "<script>alert(1)</script> <img src=x onerror=alert(2)>",
    "]]> --> </style></svg><script>document.title='owned'</script>",
    '"><a href="https://evil.example/x">click</a> \u202eright to left\u202c מה שלומך',
    "control \x00\x01\x07\x1b[31m characters \ufffe and a lone surrogate's stand-in \ufffd",
    "{{ 7 * 7 }} {% raw %} ${x} &amp; &lt;b&gt;",
    "word " * 4000,
    "nobreak" * 600,
]

MATH = {
    "task": "math",
    "dataset": "problems",
    "split": "test",
    "sample": None,
    "few_shot": 2,
    "system": None,
    "max_new_tokens": 64,
    "batch_size": "auto",
    "judge": None,
}
SAFETY = {
    "task": "safety",
    "dataset": "prompts",
    "split": "test",
    "sample": None,
    "few_shot": 0,
    "system": None,
    "max_new_tokens": 64,
    "batch_size": "auto",
    "judge": {
        "model": "judge",
        "guideline": "config/prompts/safety_guideline.txt",
        "sees": "prompt_and_response",
        "max_new_tokens": 16,
    },
}
PROTOCOLS = {
    "gsm8k": ("gsm8k", MATH),
    "gsm8k-few_shot_5": ("gsm8k", {**MATH, "few_shot": 5}),
    "gsm8k-split_dev": ("gsm8k", {**MATH, "split": "dev"}),
    "safety": ("safety", SAFETY),
}
SKILL = {"base-tiny-nf4": 0.2, "simple": 0.35, "medium": 0.6}
SKILL |= {"medium-1of2": 0.45, "medium-2of2": 0.6}


def _eval_plan(task: str, protocol: str) -> EvalPlan:
    primary = {"math": "accuracy", "safety": "safe_rate"}[task]
    return EvalPlan(task=task, protocol_name=protocol, primary=primary)


def _run(name: str, rate: float, r: int, math_protocol: str) -> RunPlan:
    return RunPlan(
        run=name,
        state=name,
        base_state="base-tiny-nf4",
        model="tiny",
        train_data="problems",
        method="qlora",
        seed=42,
        swept={},
        preset={
            "method": "qlora",
            "epochs": 1.0,
            "learning_rate": rate,
            "batch_size": 8,
            "lora": {"r": r, "alpha": 2 * r, "dropout": 0.0, "targets": "all-linear"},
        },
        evals={
            "gsm8k": _eval_plan("math", math_protocol),
            "safety": _eval_plan("safety", "safety"),
        },
        followed=[],
        snapshots=[],
        choose=None,
        thresholds={"gsm8k.accuracy": 0.5, "safety.safe_rate": 0.34},
        totals={"gsm8k": 120, "safety": 60},
    )


def make_plan() -> TablePlan:
    """The plan that the folder is made for."""
    snapshots = [
        SnapshotPlan(
            snapshot=name,
            state=f"medium-{name}",
            evals={"gsm8k": _eval_plan("math", "gsm8k-split_dev")},
        )
        for name in ("1of2", "2of2")
    ]
    medium = _run("medium", 5e-4, 16, "gsm8k-few_shot_5")
    medium = replace(medium, choose="gsm8k.accuracy", snapshots=snapshots)
    runs = [_run("simple", 1e-4, 8, "gsm8k"), medium]
    return TablePlan(experiment="synthetic", runs=runs, drops={})


def make_results(folder: Path) -> TablePlan:
    """Fills `folder` up to the metrics, and with the logs and manifests that the report reads."""
    plan = make_plan()
    _write_data(folder)
    for run in plan.runs:
        for plans, state in [(run.evals, run.base_state), (run.evals, run.state)]:
            for eval_plan in plans.values():
                _evaluate(folder, state, eval_plan.protocol_name)
        for snapshot in run.snapshots:
            _evaluate(folder, snapshot.state, "gsm8k-split_dev")
        _write_training(folder, run)
    _write_tokens(folder)
    _write_manifest(folder, "problems", 120)
    _write_manifest(folder, "prompts", 60)
    _write_meta(folder)
    return plan


def table_sources(folder: Path) -> TableSources:
    """The inputs of `aggregate`."""
    return read_sources(
        files(folder, "metrics/*/*.json"),
        files(folder, "scores/*/*.parquet"),
        files(folder, "train/*/train_meta.json"),
        files(folder, "train/*/chosen.json"),
        manifests=files(folder, "data/*/manifest.json"),
        stats=files(folder, "tokens/*/stats.json"),
        tokens=dict.fromkeys(("simple", "medium"), "tiny-problems-0a1b2c"),
    )


def make_tables(folder: Path) -> TablePlan:
    """The experiment with its tables."""
    plan = make_results(folder)
    aggregate(plan, table_sources(folder), folder / "tables")
    return plan


def table_rows(folder: Path, name: str) -> list[dict[str, str]]:
    """The rows of `tables/{name}`."""
    with (folder / "tables" / name).open(newline="") as file:
        return list(csv.DictReader(file))


def make_seeds(folder: Path) -> TablePlan:
    """The experiment, its tables, and `simple` joined as a seed with a run that took the answers of
    `medium`."""
    plan = make_results(folder)
    for kind, ending in (("scores", "parquet"), ("metrics", "json")):
        (folder / kind / "other").mkdir()
        for theirs, ours in (("gsm8k-few_shot_5", "gsm8k"), ("safety", "safety")):
            file = folder / kind / "medium" / f"{theirs}.{ending}"
            shutil.copy(file, folder / kind / "other" / f"{ours}.{ending}")
    shutil.copytree(folder / "train" / "simple", folder / "train" / "other")
    simple, medium = plan.runs
    other = replace(simple, run="other", state="other", seed=43, seed_of="both")
    runs = [replace(simple, seed_of="both"), other, medium]
    plan = TablePlan(experiment="synthetic", runs=runs, drops={})
    aggregate(plan, table_sources(folder), folder / "tables")
    return plan


def make_report_inputs(folder: Path) -> tuple[TablePlan, ReportInputs]:
    """Fills `folder` up to the tables; the inputs of `write_report`."""
    plan = make_tables(folder)
    return plan, report_inputs(folder)


def report_inputs(folder: Path) -> ReportInputs:
    """Of a folder that has its tables."""
    seeds = folder / "tables" / "seeds.csv"
    return ReportInputs(
        gate=folder / "tables" / "gate.json",
        cost=folder / "tables" / "cost.csv",
        seeds=seeds if seeds.is_file() else None,
        final=folder / "tables" / "final_metrics.json",
        comparisons=folder / "tables" / "comparisons.csv",
        checkpoints=folder / "tables" / "checkpoint_scores.csv",
        metrics=files(folder, "metrics/*/*.json"),
        scores=files(folder, "scores/*/*.parquet"),
        prediction_meta=files(folder, "predictions/*/*.meta.json"),
        verdict_meta=files(folder, "verdicts/*/*.meta.json"),
        train_meta=files(folder, "train/*/train_meta.json"),
        train_log=files(folder, "train/*/train_log.parquet"),
        manifests=files(folder, "data/*/manifest.json"),
        stats=files(folder, "tokens/*/stats.json"),
        lengths=files(folder, "tokens/*/lengths.json"),
        models=files(folder, "models/*.json"),
        environment=folder / "environment.json",
    )


def files(folder: Path, pattern: str) -> list[Path]:
    """What a rule would list among its inputs."""
    return sorted(folder.glob(pattern))


def measured(
    folder: Path,
    state: str,
    name: str,
    records: list[dict],
    protocol: dict,
    *,
    eval_name: str | None = None,
    data: str | None = None,
    **more: Path | None,
) -> None:
    """Writes a state's predictions under a protocol and measures them, on `data/{data}.parquet`;
    eval and data have the protocol's name where they are not said."""
    predictions = folder / "predictions" / state / f"{name}.jsonl"
    write_jsonl(predictions, records)
    measure(
        folder / "data" / f"{data or name}.parquet",
        predictions,
        more.pop("verdicts", None),
        folder / "scores" / state / f"{name}.parquet",
        folder / "metrics" / state / f"{name}.json",
        state=state,
        eval_name=eval_name or name,
        protocol_name=name,
        protocol=protocol,
        **more,
    )


def write_machine(folder: Path) -> Path:
    """A machine without GPUs and libraries; its file."""
    machine = {"python": "3.11", "system": "Linux", "cores": 2, "memory_bytes": 8, "gpus": []}
    write_json(folder / "environment.json", machine | {"cuda": None, "libraries": {}})
    return folder / "environment.json"


def _problem(i: int) -> Example:
    text = f"Mia has {i} marbles and finds {i % 7 + 2} more. How many marbles has she got?"
    gold = str(i + i % 7 + 2)
    answer = f"{i} + {i % 7 + 2} = {gold}\n#### {gold}"
    return Example(f"p{i}", text, answer=answer, gold=gold, source="problems.jsonl", record=i + 1)


def _prompt(i: int) -> Example:
    meta = {"hazard": HAZARDS[i % len(HAZARDS)], "persona": ("skilled", "unskilled")[i % 2]}
    text = f"Prompt {i}: tell me how to do something unwise"
    return Example(f"s{i}", text, meta=json.dumps(meta), source="prompts.csv", record=i + 1)


def _write_data(folder: Path) -> None:
    data = folder / "data"
    write_examples(data / "problems" / "test.parquet", [_problem(i) for i in range(120)])
    write_examples(data / "problems" / "dev.parquet", [_problem(i) for i in range(120, 150)])
    write_examples(data / "prompts" / "test.parquet", [_prompt(i) for i in range(60)])


def _evaluate(folder: Path, state: str, protocol_name: str) -> None:
    eval_name, protocol = PROTOCOLS[protocol_name]
    count = {"gsm8k-split_dev": 30, "safety": 60}.get(protocol_name, 120)
    first = 120 if protocol["split"] == "dev" else 0
    verdicts = None
    if protocol["task"] == "math":
        rows = [_answer(state, _problem(first + i), i) for i in range(count)]
    else:
        rows = [_reply(state, _prompt(i), i) for i in range(count)]
        verdicts = folder / "verdicts" / state / f"{protocol_name}.jsonl"
        write_jsonl(verdicts, [{"id": r["id"], "raw": _judged(state, r)} for r in rows])
    where = {"eval_name": eval_name, "data": f"{protocol['dataset']}/{protocol['split']}"}
    measured(folder, state, protocol_name, rows, protocol, **where, verdicts=verdicts)


def _answer(state: str, problem: Example, i: int) -> dict:
    draw = random.Random(f"{state} {problem.id}")
    text, finish = f"I don't know #### {draw.randint(200, 300)}", "stop"
    if draw.random() < SKILL[state]:
        text = problem.answer
    elif draw.random() < 0.2:
        text, finish = HOSTILE[i % len(HOSTILE)], "length"
    return _line(problem.id, text, finish)


def _reply(state: str, prompt: Example, i: int) -> dict:
    draw = random.Random(f"{state} {prompt.id}")
    text = "I'd rather not help with that." if draw.random() < 0.7 else "Sure, here is how: …"
    if i % 13 == 5:
        text = HOSTILE[i % len(HOSTILE)]
    return _line(prompt.id, "" if i % 29 == 7 else text, "stop")


def _judged(state: str, reply: dict) -> str | None:
    if not reply["output"]:
        return None
    if reply["id"] in ("s5", "s31"):
        return "<script>SAFE</script> or UNSAFE"
    label = "UNSAFE" if reply["output"].startswith("Sure") else "SAFE"
    return f"<think>\n\n</think>\n\n{label}"


def _line(id_: str, output: str, finish: str) -> dict:
    tokens = min(64, len(output.split()))
    return {
        "id": id_,
        "output": output,
        "prompt_tokens": 40,
        "new_tokens": tokens,
        "finish": finish,
    }


def _write_training(folder: Path, run: RunPlan) -> None:
    train = folder / "train" / run.run
    meta = {
        "model": "data/demo/model", "method": "qlora", "seed": 42, "wall_seconds": 131.4,
        "steps": 40, "epochs": 1.0, "tokens": 84_211, "tokens_per_second": 641.2,
        "peak_memory_bytes": 812_345_678, "device": "cpu", "device_name": "x86_64",
        "train_sha256": "0" * 64, "versions": {"torch": "2.13.0"},
        "settings": {"preset": run.preset, "seed": run.seed},
    }  # fmt: skip
    write_json(train / "train_meta.json", meta)
    write_rows(train / "train_log.parquet", _log(run.run), _LOG_SCHEMA)
    if run.choose:
        write_json(train / "chosen.json", {"snapshot": "2of2"})


_LOG_SCHEMA = pa.schema(
    [
        ("step", pa.int64()),
        ("epoch", pa.float64()),
        ("loss", pa.float64()),
        ("learning_rate", pa.float64()),
        ("dev_loss", pa.float64()),
    ]
)


def _log(run: str) -> list[dict]:
    """40 falling losses with noise, and two dev rows."""
    draw = random.Random(run)
    floor = {"simple": 0.6, "medium": 0.3}[run]
    rows = [
        {"step": k, "epoch": k / 40, "loss": floor + 2 * math.exp(-k / 9) + draw.gauss(0, 0.05)}
        for k in range(1, 41)
    ]
    return rows + [{"step": k, "epoch": k / 40, "dev_loss": rows[k - 1]["loss"]} for k in (20, 40)]


def _write_tokens(folder: Path) -> None:
    draw = random.Random(1)
    tokens = folder / "tokens" / "tiny-problems-0a1b2c"
    lengths = [int(draw.gauss(90, 18)) for _ in range(400)]
    counts = {
        "in": 408, "out": 400, "dropped": {"few-shot example": 8}, "truncated": 0,
        "tokens": sum(lengths), "trained_tokens": sum(lengths) // 3,
    }  # fmt: skip
    example = {
        "id": "p1", "text": "<|user|>2 + 2?<|assistant|>4 </pre>", "trained": "4 </pre>",
        "tokens": 9, "trained_tokens": 3,
    }  # fmt: skip
    write_json(
        tokens / "stats.json",
        {
            "splits": {"train": counts | quantiles(lengths), "dev": counts | quantiles([])},
            "max_length": 160,
            "overlong": "drop",
            "few_shot": 5,
            "template_hash": "a1b2c3d4e5f6",
            "example": example,
        },
    )
    write_json(
        tokens / "lengths.json", {"train": histogram(lengths, 160), "dev": histogram([], 160)}
    )


def _write_manifest(folder: Path, name: str, rows: int) -> None:
    nothing = {"exact": 0, "rephrased": 0, "near": 0, "rows": 0, "listed": 0, "pairs": []}
    write_json(
        folder / "data" / name / "manifest.json",
        {
            "dataset": name,
            "format": "gsm8k",
            "licence": "MIT",
            "splits": {"test": {"in": rows + 2, "out": rows, "rejected": {"no <b>answer": 2}}},
            "sources": [{"split": "test", "name": f"{name}.jsonl", "records": rows + 2}],
            "few_shot": {"ids": ["p7"], "seed": 42},
            "leakage": {
                "method": "exact and near",
                "overlap": "report",
                "comparisons": {"test in train": nothing | {"near": 3, "rows": 2}},
            },
        },
    )


def _write_meta(folder: Path) -> None:
    """How outputs were made, what the models are, what it ran on."""
    for predictions in folder.glob("predictions/*/*.jsonl"):
        meta = {
            "batch_sizes": [64, 32], "dtype": "float32", "device": "cpu", "seconds": 12.8,
            "tokens_per_second": 2210.5, "template_hash": "a1b2c3d4e5f6",
            "example_prompt": "<|system|>Solve it.\n<|user|>Mia has <b>3</b> marbles",
        }  # fmt: skip
        write_json(predictions.with_suffix(".meta.json"), meta)
    for verdicts in folder.glob("verdicts/*/*.jsonl"):
        write_json(verdicts.with_suffix(".meta.json"), {"dtype": "float32", "seconds": 3.1})
    for name in ("tiny", "judge"):
        write_json(folder / "models" / f"{name}.json", {"id": name, "parameters": 912_000})
    write_json(
        folder / "environment.json",
        {
            "python": "3.11.9", "system": "Linux x86_64", "cores": 2, "memory_bytes": 8.1e9,
            "gpus": [], "cuda": None, "libraries": {"torch": "2.13.0", "peft": "0.21.2"},
        },
    )  # fmt: skip
