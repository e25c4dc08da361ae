"""`epoch_results` and `summary_results`: how runs that are followed by evals got on."""

from typing import Any

from snaketune.plan.table_plan import EvalPlan, RunPlan, TablePlan
from snaketune.tables.sources import Row, TableSources, number_of
from snaketune.tables.summary import step_of
from snaketune.tasks.task import ALL

EPOCH_COLUMNS = ["model", "run", "epoch", "step", "snapshot", "eval", "metric", "value", "n"]
EPOCH_COLUMNS += ["low", "high", "train_seconds", "train_loss", "evaluation_seconds"]
EPOCH_COLUMNS += ["state", "protocol"]

FOLLOWED_COLUMNS = ["model", "run", "eval", "train_seconds", "final_train_loss", "accuracy"]
FOLLOWED_COLUMNS += ["evaluation_seconds", "device", "gpu_name", "gpu_memory_bytes"]
FOLLOWED_COLUMNS += ["peak_gpu_memory_bytes", "metric", "value", "n", "low", "high", "base_value"]


def epoch_rows(plan: TablePlan, sources: TableSources) -> list[Row]:
    """One row a snapshot and eval, the base model as epoch 0 first."""
    return [
        row
        for run in plan.runs
        for name in _followed(run)
        for row in (_before(run, name, sources), *_after(run, name, sources))
    ]


def followed_rows(plan: TablePlan, sources: TableSources) -> list[Row]:
    """One row a run and eval that follows it. `accuracy` is empty where the eval has none; `metric`
    and `value` are the eval's primary one. Of the GPU's memory all that the card has, and what the
    training took at most."""
    return [_summary(run, name, sources) for run in plan.runs for name in _followed(run)]


def _followed(run: RunPlan) -> list[str]:
    return list(dict.fromkeys(name for snap in run.followed for name in snap.evals))


def _base_state(run: RunPlan) -> str:
    if run.base_state is None:
        raise ValueError(f"run {run.run} is followed, so it was trained and has a base")
    return run.base_state


def _before(run: RunPlan, name: str, sources: TableSources) -> Row:
    head = {"model": run.model, "run": run.run, "epoch": 0, "step": 0, "eval": name}
    return head | _number(_base_state(run), run.evals[name], sources)


def _after(run: RunPlan, name: str, sources: TableSources) -> list[Row]:
    rows, start = [], 0
    for snapshot in run.followed:
        step = step_of(snapshot.snapshot, sources.train_meta[run.run]["steps"])
        head = {"model": run.model, "run": run.run, "snapshot": snapshot.snapshot}
        trained = _trained(sources.train_log[run.run], start, step)
        number = _number(snapshot.state, snapshot.evals[name], sources)
        rows.append(head | {"step": step, "eval": name} | trained | number)
        start = step
    return rows


def _trained(log: list[dict[str, Any]], start: int, step: int) -> Row:
    """Epoch and seconds up to `step`, and the mean loss a token since `start`."""
    steps = [row for row in log if row["loss"] is not None and row["step"] <= step]
    recent = [row for row in steps if row["step"] > start]
    tokens = sum(row["trained_tokens"] for row in recent)
    loss = sum(row["loss"] * row["trained_tokens"] for row in recent)
    return {
        "epoch": steps[-1]["epoch"] if steps else None,
        "train_seconds": sum(row["seconds"] for row in steps),
        "train_loss": loss / tokens if tokens else None,
    }


def _number(state: str, plan: EvalPlan, sources: TableSources) -> Row:
    metric = sources.metric(state, plan, plan.primary)
    return {
        "metric": plan.primary,
        **number_of(metric),
        "evaluation_seconds": sources.seconds(state, plan),
        "state": state,
        "protocol": plan.protocol_name,
    }


def _summary(run: RunPlan, name: str, sources: TableSources) -> Row:
    meta, plan = sources.train_meta[run.run], run.evals[name]
    gpu = meta["device"] == "cuda"
    return {
        "model": run.model,
        "run": run.run,
        "eval": name,
        "train_seconds": meta["wall_seconds"],
        "final_train_loss": meta["final_loss"],
        "accuracy": _accuracy(run, plan, sources),
        "base_value": sources.metric(_base_state(run), plan, plan.primary)["value"],
        "device": meta["device"],
        "gpu_name": meta["device_name"] if gpu else None,
        "gpu_memory_bytes": meta["device_memory_bytes"],
        "peak_gpu_memory_bytes": meta["peak_memory_bytes"] if gpu else None,
        **{
            key: value
            for key, value in _number(run.state, plan, sources).items()
            if key in FOLLOWED_COLUMNS
        },
    }


def _accuracy(run: RunPlan, plan: EvalPlan, sources: TableSources) -> float | None:
    rows = sources.document(run.state, plan)["rows"]
    found = [row["value"] for row in rows if (row["metric"], row["subset"]) == ("accuracy", ALL)]
    return found[0] if found else None
