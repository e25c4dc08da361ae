"""`before_after`: every open answer of a run beside its base's, and what each metric gained."""

from typing import Any

from snaketune.plan.table_plan import RunPlan, TablePlan
from snaketune.tables.sources import Sources
from snaketune.tables.write import Row
from snaketune.tasks.open_qa import MEANS, SHARES

METRICS = [*MEANS, *SHARES]
COLUMNS = ["run", "base_state", "eval", "protocol", "id", "question", "context", "gold", "short"]
COLUMNS += ["base_output", "tuned_output"]
COLUMNS += [f"{name}_{part}" for name in METRICS for part in ("base", "tuned", "change")]
COLUMNS += ["gold_words", "words_base", "words_tuned", "words_change"]

TASK = "open_qa"


def before_after(plan: TablePlan, sources: Sources) -> list[Row]:
    """One row a run, eval and example; within a run and eval the worst loss in F1 first."""
    return [
        row
        for run in plan.runs
        if run.base_state is not None
        for name, entry in run.evals.items()
        if entry.task == TASK
        for row in _rows(run, name, sources)
    ]


def _rows(run: RunPlan, name: str, sources: Sources) -> list[Row]:
    plan = run.evals[name]
    base = {score["id"]: score for score in sources.rows(run.base_state, plan)}
    head = {
        "run": run.run,
        "base_state": run.base_state,
        "eval": name,
        "protocol": plan.protocol_name,
    }
    tuned = sources.rows(run.state, plan)
    rows = [head | _row(base[score["id"]], score) for score in tuned]
    return sorted(rows, key=lambda row: (row["f1_change"], row["rouge_l_change"], row["id"]))


def _row(base: dict[str, Any], tuned: dict[str, Any]) -> Row:
    row = {key: tuned[key] for key in ("id", "question", "context", "gold", "short", "gold_words")}
    row |= {"base_output": base["output"], "tuned_output": tuned["output"]}
    for name in METRICS:
        before, after = base[name], tuned[name]
        row |= {f"{name}_base": before, f"{name}_tuned": after, f"{name}_change": after - before}
    before, after = base["words"], tuned["words"]
    return row | {"words_base": before, "words_tuned": after, "words_change": after - before}
