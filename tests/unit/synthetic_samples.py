"""A results folder of an experiment that samples, from seeds: two runs and their base, two evals
with rewards and one without, a drop between the two, outputs that try to break the report."""

import random
from pathlib import Path

from synthetic_results import HOSTILE, files, measured, write_machine

from snaketune.config.evaluation import EvalSpec
from snaketune.data.example import Example, write_examples
from snaketune.plan.table_plan import EvalPlan, RunPlan, TablePlan
from snaketune.report.sources import ReportInputs
from snaketune.runtime.files import write_jsonl
from snaketune.tables.aggregate import aggregate
from snaketune.tables.sources import TableSources, read_sources

COUNT, SAMPLES = 40, 8
EVALS = {"near": 0.0, "far": 0.2, "bare": 0.1}
"""How much harder each is."""
SKILL = {"base-m": 0.25, "light": 0.5, "full": 0.65}


def spec_of(name: str) -> EvalSpec:
    reward = None if name == "bare" else "scorer"
    sampling = {"samples": SAMPLES, "at": [1, 2, 4, 8], "reward": reward}
    return EvalSpec(task="math", dataset=name, answer_rule="final_answer", sampling=sampling)


def make_plan() -> TablePlan:
    """The plan that the folder is made for."""
    evals = {
        name: EvalPlan(task="math_samples", protocol_name=name, primary="majority")
        for name in EVALS
    }
    runs = [
        RunPlan(
            run=name, state=name, base_state="base-m", model="m", train_data=None,
            method="adapter", seed=None, preset={}, swept={},
            evals=evals, snapshots=[],
            followed=[], choose=None, thresholds={"near.best_of_n": 0.5},
            totals={"near": COUNT},
        )
        for name in ("light", "full")
    ]  # fmt: skip
    return TablePlan(experiment="sampled", runs=runs, drops={"far": "near"})


def questions(name: str) -> list[Example]:
    return [
        Example(f"{name}-{i}", f"What is {i} and <b>{i}</b>?", gold=str(2 * i))
        for i in range(COUNT)
    ]


def make_samples(folder: Path) -> tuple[TablePlan, TableSources]:
    """Fills `folder` up to the metrics."""
    for name in EVALS:
        write_examples(folder / "data" / f"{name}.parquet", questions(name))
        for state in SKILL:
            _evaluate(folder, state, name)
    return make_plan(), read_sources(
        files(folder, "metrics/*/*.json"), files(folder, "scores/*/*.parquet"), [], []
    )


def make_report_inputs(folder: Path) -> tuple[TablePlan, ReportInputs]:
    """Fills `folder` up to the tables; the inputs of `write_report`."""
    plan, sources = make_samples(folder)
    aggregate(plan, sources, folder / "tables")
    tables = {
        "final": "final_metrics.json", "comparisons": "comparisons.csv",
        "checkpoints": "checkpoint_scores.csv", "voting": "voting.csv",
        "unique_answers": "unique_answers.csv", "drops": "drops.csv", "gate": "gate.json",
    }  # fmt: skip
    lists = ("prediction_meta", "verdict_meta", "train_meta", "train_log", "manifests")
    lists += ("stats", "lengths", "models")
    return plan, ReportInputs(
        **{key: folder / "tables" / name for key, name in tables.items()},
        **{key: [] for key in lists},
        metrics=files(folder, "metrics/*/*.json"),
        scores=files(folder, "scores/*/*.parquet"),
        environment=write_machine(folder),
    )


def _evaluate(folder: Path, state: str, name: str) -> None:
    lines, rewards = [], []
    for i, question in enumerate(questions(name)):
        draw = random.Random(f"{state} {name} {i}")
        # Some questions are hard for every sample, others easy: samples of one are alike.
        skill = min(1, max(0, draw.gauss(SKILL[state] - EVALS[name], 0.3)))
        for s in range(SAMPLES):
            right = draw.random() < skill
            text = _reply(question.gold, right, draw)
            place = {"id": question.id, "sample": s}
            lines.append(place | {"output": text, "finish": "stop", "new_tokens": 9})
            reward = draw.gauss(1.5 if right else 0, 1) if text else None
            rewards.append(place | {"reward": reward})
    scored = folder / "rewards" / state / f"{name}.jsonl"
    write_jsonl(scored, rewards)
    scored = None if name == "bare" else scored
    measured(folder, state, name, lines, spec_of(name).protocol(), rewards=scored)


def _reply(gold: str, right: bool, draw: random.Random) -> str:
    if right:
        return f"They make {gold}.\nFinal answer: {gold}."
    if draw.random() < 0.15:
        return draw.choice(["", "I don't know.", *HOSTILE])
    return f"Let me see.\nFinal answer: {int(gold) + draw.choice([1, 1, 2, 3, 10])}."
