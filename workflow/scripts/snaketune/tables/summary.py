"""The tables of single numbers.

- `metrics`: every number of the experiment, one a row.
- `checkpoint_scores`: what each snapshot of a run scored, and which one was chosen.
- `summary`: a row a base and a row a run, with hyperparameters and the main numbers.
- `sweep`: the primary metric of every swept run beside the values that its sweep set.
- `epoch_results` and `summary_results`: how runs that are followed by evals got on.
"""

from collections import Counter
from typing import Any

import pyarrow as pa

from snaketune.plan.table_plan import EvalPlan, RunPlan, SnapshotPlan, TablePlan, joined_runs
from snaketune.runtime.content import flat, settings_of
from snaketune.tables.comparisons import joined_metric
from snaketune.tables.sources import NUMBER, BasePlan, Row, TableSources, bases, number_of
from snaketune.tasks.task import ALL

METRICS_SCHEMA = pa.schema(
    [
        ("experiment", pa.string()),
        ("state", pa.string()),
        ("run", pa.string()),  # null: a base model
        ("seed", pa.int64()),  # of the training; null: none
        ("eval", pa.string()),
        ("protocol", pa.string()),  # its name: the stem of the files
        ("subset", pa.string()),
        ("metric", pa.string()),
        ("value", pa.float64()),  # null: missing, which is not 0
        ("n", pa.int64()),
        ("low", pa.float64()),
        ("high", pa.float64()),
        ("protocol_hash", pa.string()),
    ]
)


def metric_rows(plan: TablePlan, sources: TableSources) -> list[Row]:
    """Sorted by state and protocol; within a file in its own order."""
    owners = {run.state: run for run in plan.runs}
    for run in plan.runs:
        owners |= {snap.state: run for snap in (*run.snapshots, *run.followed)}
    table = []
    for (state, protocol), document in sorted(sources.metrics.items()):
        owner = owners.get(state)
        trained = settings_of(sources.train_meta.get(owner.run, {})) if owner else {}
        head = {
            "experiment": plan.experiment,
            "state": state,
            "run": owner.run if owner else None,
            "seed": trained.get("seed"),
            "protocol": protocol,
            "protocol_hash": document["protocol_hash"],
        }
        table += [head | row for row in document["rows"]]
    return table


CHECKPOINT_COLUMNS = ["run", "snapshot", "step", "eval", "metric", "protocol", *NUMBER, "chosen"]


def checkpoint_rows(plan: TablePlan, sources: TableSources) -> list[Row]:
    """One row a snapshot and eval, in training order: 2of12 before 10of12."""
    return [
        row
        for run in plan.runs
        for snapshot in sorted(run.snapshots, key=place)
        for row in _snapshot_rows(run, snapshot, sources)
    ]


def chosen_snapshot(run: RunPlan, sources: TableSources) -> str | None:
    """The snapshot that stands for the run; None where it is simply the final adapter."""
    chosen = sources.chosen.get(run.run)
    return chosen["snapshot"] if chosen else None


def place(snapshot: SnapshotPlan) -> int:
    """2 of `2of12`: as text, 10of12 would come before it."""
    return int(snapshot.snapshot.partition("of")[0])


def step_of(snapshot: str, steps: int) -> int:
    """The step after which training saves the k-th of n snapshots: k/n of all, rounded up."""
    k, _, n = snapshot.partition("of")
    return -(-int(k) * steps // int(n))


def _snapshot_rows(run: RunPlan, snapshot: SnapshotPlan, sources: TableSources) -> list[Row]:
    name = snapshot.snapshot
    return [
        {
            "run": run.run,
            "snapshot": name,
            "step": step_of(name, sources.train_meta[run.run]["steps"]),
            "eval": eval_name,
            "metric": metric,
            "protocol": plan.protocol_name,
            **number_of(sources.metric(snapshot.state, plan, metric)),
            "chosen": name == chosen_snapshot(run, sources),
        }
        for eval_name, plan in snapshot.evals.items()
        for metric in _shown_metrics(run.choose, eval_name, plan)
    ]


def _shown_metrics(choose: str | None, eval_name: str, plan: EvalPlan) -> list[str]:
    """The primary metric, and the one that the snapshot was chosen by where it is another."""
    by_eval, _, by_metric = (choose or "").partition(".")
    return list(dict.fromkeys([plan.primary, *([by_metric] if by_eval == eval_name else [])]))


def summary_rows(plan: TablePlan, sources: TableSources) -> list[Row]:
    """Bases first, then seeds that are joined, then runs, each row under a name of its own: a state
    under two protocols of an eval is named with them. Each eval gives `{eval}.{metric}` with
    interval, n and protocol."""
    by_state = {run.state: run.evals for run in plan.runs}
    # What stands in for a base may be a run, which has its own row.
    own = [b for b in bases(plan) if not b.evals.items() <= by_state.get(b.state, {}).items()]
    rows = [_base_row(base, sources) for base in own]
    rows += [_joined_row(name, runs, sources) for name, runs in joined_runs(plan).items()]
    rows += [_run_row(run, sources) for run in plan.runs]
    names = Counter(row["run"] for row in rows)
    for base, row in zip(own, rows, strict=False):
        if names[base.state] > 1:
            row["run"] = f"{base.state} ({', '.join(s.protocol_name for s in base.evals.values())})"
    return rows


def _joined_row(name: str, runs: list[RunPlan], sources: TableSources) -> Row:
    first = _run_row(runs[0], sources)
    row = {key: value for key, value in first.items() if key not in ("seed", "checkpoint")}
    for key, entry in runs[0].evals.items():
        number = joined_metric(runs, entry, sources)
        column = f"{key}.{entry.primary}"
        row |= {column: number["value"]}
        row |= {f"{column}.{part}": number.get(part) for part in ("low", "high", "n")}
    return row | {"run": name, "seeds": len(runs)}


def _base_row(base: BasePlan, sources: TableSources) -> Row:
    head = {"run": base.state, "state": base.state, "model": base.model, "method": "base"}
    return head | _main_numbers(base.state, base.evals, sources)


def _run_row(run: RunPlan, sources: TableSources) -> Row:
    names = ("run", "state", "model", "train_data", "method")
    head: Row = {key: getattr(run, key) for key in names}
    trained = settings_of(sources.train_meta.get(run.run, {}))
    head["seed"] = trained.get("seed")
    settings = {k: v for k, v in flat(trained.get("preset", {})).items() if k not in head}
    numbers = _main_numbers(run.state, run.evals, sources)
    checkpoint = chosen_snapshot(run, sources) or ("final" if run.preset else None)
    return head | settings | numbers | {"base": run.base_state, "checkpoint": checkpoint}


def _main_numbers(state: str, evals: dict[str, EvalPlan], sources: TableSources) -> Row:
    row: Row = {}
    for name, plan in evals.items():
        metric = sources.metric(state, plan, plan.primary)
        column = f"{name}.{plan.primary}"
        row |= {
            column: metric["value"],
            f"{column}.low": metric["low"],
            f"{column}.high": metric["high"],
            f"{column}.n": metric["n"],
            f"{column}.protocol": plan.protocol_name,
        }
    return row


SWEEP_COLUMNS = ["run", "model", "train_data", "eval", "metric", *NUMBER]


def sweep_rows(plan: TablePlan, sources: TableSources) -> list[Row]:
    """A row a swept run and eval; behind `SWEEP_COLUMNS` a column a swept key, such as `lora.r`."""
    return [
        {key: getattr(run, key) for key in ("run", "model", "train_data")}
        | {"eval": name, "metric": spec.primary}
        | number_of(sources.metric(run.state, spec, spec.primary))
        | run.swept
        for run in plan.runs
        if run.swept
        for name, spec in run.evals.items()
    ]


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
    return head | _primary_value(_base_state(run), run.evals[name], sources)


def _after(run: RunPlan, name: str, sources: TableSources) -> list[Row]:
    rows, start = [], 0
    for snapshot in run.followed:
        step = step_of(snapshot.snapshot, sources.train_meta[run.run]["steps"])
        head = {"model": run.model, "run": run.run, "snapshot": snapshot.snapshot}
        trained = _trained(sources.train_log[run.run], start, step)
        number = _primary_value(snapshot.state, snapshot.evals[name], sources)
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


def _primary_value(state: str, plan: EvalPlan, sources: TableSources) -> Row:
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
            for key, value in _primary_value(run.state, plan, sources).items()
            if key in FOLLOWED_COLUMNS
        },
    }


def _accuracy(run: RunPlan, plan: EvalPlan, sources: TableSources) -> float | None:
    rows = sources.document(run.state, plan)["rows"]
    found = [row["value"] for row in rows if (row["metric"], row["subset"]) == ("accuracy", ALL)]
    return found[0] if found else None
