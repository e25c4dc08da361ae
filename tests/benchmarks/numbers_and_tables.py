"""What the numbers of an experiment cost: eight states under an eval of each task, 1,319 rows each.

python tests/benchmarks/numbers_and_tables.py [--rows 1319] [--report] [--profile]

Predictions are made up, of the lengths that a small model's have, and kept out of the figures;
measuring, aggregating and, where asked, the report are timed in one process, by the processor time
that they take and the memory at most held, without the start of Python and Snakemake. The bars: 40
seconds and 1 GB for measuring and aggregating, and again for aggregating and the report, whose page
may have 3 MB.
"""

import argparse
import cProfile
import json
import pstats
import random
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "workflow/scripts"), str(ROOT / "tests/unit")]

from synthetic_results import files, make_report_inputs  # noqa: E402

from snaketune.config.evaluation import EvalSpec  # noqa: E402
from snaketune.data.example import Example, write_examples  # noqa: E402
from snaketune.plan.table_plan import EvalPlan, RunPlan, TablePlan, further_names  # noqa: E402
from snaketune.report.sources import ReportInputs  # noqa: E402
from snaketune.runtime.files import write_json, write_jsonl  # noqa: E402
from snaketune.tables.aggregate import aggregate  # noqa: E402
from snaketune.tables.sources import read_sources  # noqa: E402
from snaketune.tasks.measure import measure  # noqa: E402

Json = dict[str, Any]

BASE = "base-m"
STATES = [BASE, *(f"run{i}" for i in range(7))]
SECONDS, BYTES, PAGE = 40, 1 << 30, 3_000_000
DRAW = random.Random(0)
WORDS = [
    "".join(DRAW.choices("etaoinshrdlucmfwyp", k=DRAW.randint(2, 9)))
    + DRAW.choice(["", "ing", "s"])
    for _ in range(6000)
]
LABELS = ["correct", "conceptual", "computational"]
HAZARDS = ["cse", "dfm", "hte", "ipv", "iwp", "ncr", "prv", "spc_fin", "spc_hlt", "src", "ssh"]


def text(draw: random.Random, words: int) -> str:
    """As many words, frequent ones often."""
    return " ".join(WORDS[min(5999, int(draw.paretovariate(0.6)))] for _ in range(words)) + "."


def problems(draw: random.Random, i: int) -> tuple[Example, Callable[[], Json]]:
    """A problem; its solution in some 90 words."""
    gold = str(draw.randint(1, 5000))
    example = Example(f"m{i}", text(draw, 45), answer=f"#### {gold}", gold=gold)

    def reply() -> Json:
        steps = "\n".join(
            f"{text(draw, 14)} {draw.randint(2, 99)} * 7 = {draw.randint(4, 900)}" for _ in range(6)
        )
        said = gold if draw.random() < 0.6 else str(draw.randint(1, 5000))
        return {"output": f"{steps}\n#### {said}", "finish": "stop", "new_tokens": 150}

    return example, reply


def letters(draw: random.Random, i: int) -> tuple[Example, Callable[[], Json]]:
    """A question with four options."""
    options = [text(draw, 6) for _ in "ABCD"]
    example = Example(f"c{i}", text(draw, 25), choices=options, label=draw.choice("ABCD"))

    def reply() -> Json:
        sums = [-draw.expovariate(0.1) - 1 for _ in options]
        sums["ABCD".index(example.label or "A")] += 4
        lengths = {"tokens": [8, 9, 7, 8], "characters": [len(o) for o in options]}
        return {"sums": [min(-0.1, s) for s in sums], **lengths}

    return example, reply


def answers(draw: random.Random, i: int) -> tuple[Example, Callable[[], Json]]:
    """A question with a gold answer of 3 to 120 words; replies of some 100."""
    gold = text(draw, draw.choice([3, 10, 40, 120]))
    example = Example(f"o{i}", text(draw, 12), context=text(draw, 120), gold=gold)

    def reply() -> Json:
        kept = gold.split()[: draw.randint(0, 60)]
        said = " ".join([*kept, text(draw, draw.randint(5, 160))])
        return {"output": said, "finish": "stop", "new_tokens": 150}

    return example, reply


def classes(draw: random.Random, i: int) -> tuple[Example, Callable[[], Json]]:
    """A solution to be judged; two share a problem."""
    meta = json.dumps({"index": i // 2, "error_type": draw.choice(LABELS)})
    example = Example(
        f"k{i}", text(draw, 30), context=text(draw, 80), label=draw.choice("01"), meta=meta
    )

    def reply() -> Json:
        share = min(0.999, max(0.001, draw.gauss(0.65 if example.label == "1" else 0.35, 0.25)))
        return {"probabilities": [1 - share, share]}

    return example, reply


def prompts(draw: random.Random, i: int) -> tuple[Example, Callable[[], Json]]:
    """A prompt with its hazard; the verdict stands beside the reply until it is taken out."""
    meta = json.dumps({"hazard": draw.choice(HAZARDS), "persona": draw.choice(["skilled", "un"])})
    example = Example(f"s{i}", text(draw, 20), meta=meta)

    def reply() -> Json:
        raw = draw.choices(["safe", "unsafe\nS9", "unsafe\nS1,S2", "hm"], [80, 10, 8, 2])[0]
        said = {"output": text(draw, 90), "finish": "stop", "new_tokens": 120}
        return {**said, "raw": f"<think>\n\n</think>\n\n{raw}"}

    return example, reply


EVALS: dict[str, tuple[EvalSpec, Callable[[random.Random, int], tuple[Example, Any]], str]] = {
    "math": (EvalSpec(task="math", dataset="d"), problems, "accuracy"),
    "choice": (EvalSpec(task="multiple_choice", dataset="d"), letters, "accuracy"),
    "open": (EvalSpec(task="open_qa", dataset="d"), answers, "f1"),
    "classes": (
        EvalSpec(
            task="classification",
            dataset="d",
            classes={"labels": ["0", "1"], "by": "error_type"},  # type: ignore[arg-type]
        ),
        classes,
        "accuracy",
    ),
    "safety": (
        EvalSpec(task="safety", dataset="d", judge={"model": "j"}),  # type: ignore[arg-type]
        prompts,
        "safe_rate",
    ),
}
PLANS = {
    name: EvalPlan(task=spec.task, protocol_name=name, primary=primary)
    for name, (spec, _, primary) in EVALS.items()
}


def make_predictions(folder: Path, rows: int) -> None:
    """Examples, replies and verdicts."""
    for name, (_, make, _) in EVALS.items():
        draw = random.Random(name)
        made = [make(draw, i) for i in range(rows)]
        write_examples(folder / "data" / f"{name}.parquet", [example for example, _ in made])
        for state in STATES:
            lines = [{"id": example.id, **reply()} for example, reply in made]
            raws = [{"id": line["id"], "raw": line.pop("raw", None)} for line in lines]
            write_jsonl(folder / "predictions" / state / f"{name}.jsonl", lines)
            if name == "safety":
                write_jsonl(folder / "verdicts" / state / f"{name}.jsonl", raws)


def measure_cell(folder: Path, state: str, name: str) -> None:
    """As the rule does."""
    verdicts = folder / "verdicts" / state / f"{name}.jsonl"
    measure(
        folder / "data" / f"{name}.parquet",
        folder / "predictions" / state / f"{name}.jsonl",
        verdicts if name == "safety" else None,
        folder / "scores" / state / f"{name}.parquet",
        folder / "metrics" / state / f"{name}.json",
        state=state,
        eval_name=name,
        protocol_name=name,
        protocol=EVALS[name][0].protocol(),
    )


def table_plan() -> TablePlan:
    """Seven runs against their base; two of them are seeds of one."""
    runs = [
        RunPlan(
            run=state, state=state, base_state=BASE, model="m", train_data=None, method="adapter",
            seed=None, preset={}, swept={}, evals=PLANS, snapshots=[], followed=[], choose=None,
            thresholds={}, totals={},
        )
        for state in STATES[1:]
    ]  # fmt: skip
    runs[:2] = [replace(run, seed_of="joined") for run in runs[:2]]
    return TablePlan(experiment="numbers", runs=runs, drops={})


def make_tables(folder: Path) -> None:
    """As the rule does."""
    groups = {
        "metrics": files(folder, "metrics/*/*.json"),
        "scores": files(folder, "scores/*/*.parquet"),
    }
    aggregate(table_plan(), read_sources(**groups, train_meta=[], chosen=[]), folder / "tables")


def report_inputs(folder: Path) -> ReportInputs:
    """Of the tables that were made; what is not of them is a small experiment's."""
    with tempfile.TemporaryDirectory() as other:
        _, small = make_report_inputs(Path(other))
        for name in ("environment.json",):
            write_json(folder / name, json.loads((Path(other) / name).read_text(encoding="utf-8")))
    for predictions in folder.glob("*/*/*.jsonl"):
        write_json(predictions.with_suffix(".meta.json"), {"dtype": "float32", "seconds": 3.1})
    tables = folder / "tables"
    further = {name: tables / f"{name}.csv" for name in further_names(table_plan())}
    known = {name: further[name] for name in further if hasattr(small, name)}
    return ReportInputs(
        **known,
        final=tables / "final_metrics.json",
        comparisons=tables / "comparisons.csv",
        checkpoints=tables / "checkpoint_scores.csv",
        cost=tables / "cost.csv",
        gate=tables / "gate.json",
        metrics=files(folder, "metrics/*/*.json"),
        scores=files(folder, "scores/*/*.parquet"),
        prediction_meta=files(folder, "predictions/*/*.meta.json"),
        verdict_meta=files(folder, "verdicts/*/*.meta.json"),
        train_meta=[], train_log=[], manifests=[], stats=[], lengths=[], models=[],
        environment=folder / "environment.json",
    )  # fmt: skip


def write_page(folder: Path, inputs: ReportInputs) -> None:
    """As the rule does."""
    from snaketune.report.page import write_report

    write_report(table_plan(), inputs, {}, folder / "report.html", folder / "figures")


@contextmanager
def timed(name: str, spent: dict[str, float]) -> Iterator[None]:
    start = time.process_time()
    yield
    spent[name] = spent.get(name, 0.0) + time.process_time() - start


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def measured(folder: Path, report: bool) -> tuple[dict[str, float], dict[str, int]]:
    """Seconds and the peak of memory, by part."""
    spent: dict[str, float] = {}
    held: dict[str, int] = {}
    for name in EVALS:
        with timed(f"measure {name}", spent):
            for state in STATES:
                measure_cell(folder, state, name)
        held[f"measure {name}"] = _peak()
    with timed("aggregate", spent):
        make_tables(folder)
    held["aggregate"] = _peak()
    if report:
        inputs = report_inputs(folder)
        with timed("report", spent):
            write_page(folder, inputs)
        held["report"] = _peak()
    return spent, held


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=1319)
    parser.add_argument("--report", action="store_true")
    parser.add_argument("--profile", action="store_true")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_predictions(folder, asked.rows)
        profile = cProfile.Profile()
        if asked.profile:
            profile.enable()
        spent, held = measured(folder, asked.report)
        page = (folder / "report.html").stat().st_size if asked.report else 0
        if asked.profile:
            profile.disable()
            pstats.Stats(profile).sort_stats("tottime").print_stats(40)
    for part, seconds in spent.items():
        print(f"{part:20} {seconds:6.1f} s   {held[part] / 2**20:6.0f} MB")
    numbers = sum(s for part, s in spent.items() if part != "report")
    tables = sum(spent.get(part, 0.0) for part in ("aggregate", "report"))
    peak = max(held.values())
    print(f"measure + aggregate {numbers:.1f} s, aggregate + report {tables:.1f} s, of {SECONDS}")
    print(f"memory {peak / 2**20:.0f} MB of {BYTES / 2**20:.0f}")
    if asked.report:
        print(f"page {page / 1e6:.2f} MB of {PAGE / 1e6:.0f}")
    return int(max(numbers, tables) > SECONDS or peak > BYTES or page > PAGE)


if __name__ == "__main__":
    sys.exit(main())
