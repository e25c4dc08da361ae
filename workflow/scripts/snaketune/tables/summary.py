"""`summary`: a row a base and a row a run, with hyperparameters and the main numbers."""

from typing import Any

from snaketune.plan.table_plan import EvalPlan, RunPlan, TablePlan
from snaketune.runtime.records import settings_of
from snaketune.tables.bases import BasePlan, bases
from snaketune.tables.checkpoints import chosen_snapshot
from snaketune.tables.sources import Sources
from snaketune.tables.write import Row


def summary(plan: TablePlan, sources: Sources) -> list[Row]:
    """Bases first. Each eval gives `{eval}.{metric}` with interval, n and protocol."""
    return [_base_row(base, sources) for base in bases(plan)] + [
        _run_row(run, sources) for run in plan.runs
    ]


def _base_row(base: BasePlan, sources: Sources) -> Row:
    head = {"run": base.state, "model": base.model, "method": "base"}
    return head | _numbers(base.state, base.evals, sources)


def _run_row(run: RunPlan, sources: Sources) -> Row:
    head = {key: run[key] for key in ("run", "model", "train_data", "method")}
    trained = settings_of(sources.train_meta.get(run.run, {}))
    head["seed"] = trained.get("seed")
    settings = {k: v for k, v in flat(trained.get("preset", {})).items() if k not in head}
    numbers = _numbers(run.state, run.evals, sources)
    checkpoint = chosen_snapshot(run, sources) or ("final" if run.preset else None)
    return head | settings | numbers | {"base": run.base_state, "checkpoint": checkpoint}


def flat(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """`{"lora": {"r": 8}}` as `{"lora_r": 8}`; lists as text."""
    row: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, dict):
            row |= flat(value, f"{prefix}{key}_")
        else:
            row[prefix + key] = " ".join(map(str, value)) if isinstance(value, list) else value
    return row


def _numbers(state: str, evals: dict[str, EvalPlan], sources: Sources) -> Row:
    row: Row = {}
    for name, plan in evals.items():
        metric = sources.metric(state, plan, plan.primary)
        column = f"{name}.{plan['primary']}"
        row |= {
            column: metric["value"],
            f"{column}.low": metric["low"],
            f"{column}.high": metric["high"],
            f"{column}.n": metric["n"],
            f"{column}.protocol": plan.protocol_name,
        }
    return row
