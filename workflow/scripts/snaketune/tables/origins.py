"""What the numbers rest on and what they cost: `origins` and `cost`.

- `origins`: a row a run and eval, with all that its numbers came from in one place: settings and
  seed, the training rows and those that were lost, the test rows and those that were lost, and the
  rows that resemble training rows.
- `cost`: a row a run and eval, with the time, tokens, memory and, where the device tells, energy of
  the training and of the eval, and what a point gained cost.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from snaketune.data.example import FEW_SHOT
from snaketune.plan.table_plan import PLAIN, RunPlan, TablePlan, learned_data
from snaketune.runtime.content import flat, settings_of
from snaketune.tables.evidence import Evidence, Place
from snaketune.tables.sources import NUMBER, Row, TableSources, number_of
from snaketune.tables.verdict import RunVerdict

ORIGIN_COLUMNS = ["run", "state", "base_state", "model", "method", "seed", "eval", "task"]
ORIGIN_COLUMNS += ["metric", *NUMBER, "protocol", "protocol_hash", "dataset", "split"]
ORIGIN_COLUMNS += ["test_in", "test_out", "test_rejected", "rows", "left_out", "unparsed"]
ORIGIN_COLUMNS += ["overlong", "truncated", "equal_to_training", "near_to_training"]
ORIGIN_COLUMNS += ["train_data", "train_in", "train_out", "train_rejected", "rows_learned"]
ORIGIN_COLUMNS += ["rows_dropped", "few_shot_examples", "rows_cut", "train_tokens"]


def origin_rows(
    plan: TablePlan, sources: TableSources, evidence: dict[Place, Evidence | None]
) -> list[Row]:
    """A row a run and eval; behind `ORIGIN_COLUMNS` a column a setting of the training."""
    return [
        _of_run(run, sources) | _of_eval(run, name, sources, evidence) | _settings(run, sources)
        for run in plan.runs
        for name in run.evals
    ]


def _of_run(run: RunPlan, sources: TableSources) -> Row:
    row: Row = {key: getattr(run, key) for key in ("run", "state", "base_state", "model", "method")}
    row["seed"] = settings_of(sources.train_meta.get(run.run, {})).get("seed")
    if run.train_data is None:
        return row
    known = [sources.manifests.get(part, {}).get("splits", {}) for part in learned_data(run)]
    data = _together([splits["train"] for splits in known if "train" in splits])
    rows = sources.stats.get(run.run, {}).get("splits", {}).get("train", {})
    dropped = dict(rows.get("dropped", {}))
    shown = dropped.pop(FEW_SHOT, 0) if rows else None
    return row | {
        "train_data": run.train_data,
        "train_in": data.get("in"),
        "train_out": data.get("out"),
        "train_rejected": sum(data["rejected"].values()) if data else None,
        "rows_learned": rows.get("out"),
        "rows_dropped": sum(dropped.values()) if rows else None,
        "few_shot_examples": shown,
        "rows_cut": rows.get("truncated"),
        "train_tokens": rows.get("tokens"),
    }


def _together(splits: list[Row]) -> Row:
    """The counts of several datasets' splits, added up."""
    if len(splits) < 2:
        return splits[0] if splits else {}
    reasons: Counter[str] = Counter()
    for split in splits:
        reasons.update(split["rejected"])
    return {key: sum(s[key] for s in splits) for key in ("in", "out")} | {"rejected": reasons}


def _of_eval(
    run: RunPlan, name: str, sources: TableSources, evidence: dict[Place, Evidence | None]
) -> Row:
    spec, found = run.evals[name], evidence.get((run.run, name))
    document = sources.document(run.state, spec)
    protocol = document["protocol"]
    data = sources.manifests.get(protocol.get("dataset"), {}).get("splits", {})
    split = data.get(protocol.get("split"), {})
    shares = {r["metric"]: r["value"] for r in document["rows"] if r["subset"] == "all"}
    overlap = found["overlap"] if found else None
    return {
        "eval": name,
        "task": spec.task,
        "metric": spec.primary,
        **number_of(sources.metric(run.state, spec, spec.primary)),
        "protocol": spec.protocol_name,
        "protocol_hash": document["protocol_hash"],
        "dataset": protocol.get("dataset"),
        "split": protocol.get("split"),
        "test_in": split.get("in"),
        "test_out": split.get("out"),
        "test_rejected": sum(split["rejected"].values()) if split else None,
        "rows": document["counts"]["total"],
        "left_out": found["compared"]["left_out"] if found else None,
        **{key: shares.get(key) for key in ("unparsed", "overlong", "truncated")},
        "equal_to_training": overlap["equal"] if overlap else None,
        "near_to_training": overlap["near"] if overlap else None,
    }


def _settings(run: RunPlan, sources: TableSources) -> Row:
    preset = settings_of(sources.train_meta.get(run.run, {})).get("preset", {})
    return {key: value for key, value in flat(preset).items() if key not in ORIGIN_COLUMNS}


COST_COLUMNS = ["run", "eval", "device", "device_name", "devices", "train_seconds"]
COST_COLUMNS += ["train_job_seconds", "train_device_seconds", "train_tokens"]
COST_COLUMNS += ["train_tokens_per_second", "train_energy_joules", "train_device_memory_bytes"]
COST_COLUMNS += ["train_main_memory_bytes", "eval_seconds", "eval_job_seconds", "eval_new_tokens"]
COST_COLUMNS += ["eval_tokens_per_second", "eval_energy_joules", "eval_device_memory_bytes"]
COST_COLUMNS += ["eval_main_memory_bytes", "verdict", "points_gained"]
COST_COLUMNS += ["device_seconds_per_point", "energy_joules_per_point"]
"""Memory is what was taken at most; nothing where there is no such device."""


def cost_rows(
    plan: TablePlan, sources: TableSources, verdicts: Mapping[Place, RunVerdict]
) -> list[Row]:
    """A row a run and eval. Device time is the seconds of training times its devices. A point's
    cost is that of the training; it has none where nothing was gained significantly in content,
    and none where nothing was trained here."""
    return [
        _trained(run, sources)
        | _evaluated(run, name, sources)
        | _per_point(run, sources, verdicts[run.run, name])
        for run in plan.runs
        for name in run.evals
    ]


def _trained(run: RunPlan, sources: TableSources) -> Row:
    meta = sources.train_meta.get(run.run)
    if meta is None:
        return {"run": run.run}
    return {
        "run": run.run,
        "device": meta.get("device"),
        "device_name": meta.get("device_name"),
        "devices": meta.get("processes", 1),
        "train_seconds": meta.get("wall_seconds"),
        "train_job_seconds": meta.get("job_seconds"),
        "train_device_seconds": _device_seconds(meta),
        "train_tokens": meta.get("tokens"),
        "train_tokens_per_second": meta.get("tokens_per_second"),
        "train_energy_joules": meta.get("energy_joules"),
        "train_device_memory_bytes": meta.get("gpu_memory_bytes"),
        "train_main_memory_bytes": meta.get("main_memory_bytes"),
    }


def _device_seconds(meta: dict[str, Any]) -> float | None:
    seconds = meta.get("wall_seconds")
    return None if seconds is None else seconds * (meta.get("processes") or 1)


def _evaluated(run: RunPlan, name: str, sources: TableSources) -> Row:
    spec = run.evals[name]
    meta = sources.prediction_meta.get((run.state, spec.protocol_name), {})
    return {
        "eval": name,
        "eval_seconds": sources.seconds(run.state, spec),
        "eval_job_seconds": meta.get("job_seconds"),
        "eval_new_tokens": meta.get("new_tokens"),
        "eval_tokens_per_second": meta.get("tokens_per_second"),
        "eval_energy_joules": meta.get("energy_joules"),
        "eval_device_memory_bytes": meta.get("gpu_memory_bytes"),
        "eval_main_memory_bytes": meta.get("main_memory_bytes"),
    }


_GAINED = ("better", "partly form")


def _per_point(run: RunPlan, sources: TableSources, found: RunVerdict) -> Row:
    """What the training cost for each point gained in content, of metrics that have points."""
    evidence = found["evidence"]
    compared = (evidence["content"] or evidence["compared"]) if evidence else None
    gain = compared["difference"] if compared else None
    if evidence and evidence["metric"] in PLAIN:
        gain = None
    row: Row = {"points_gained": None if gain is None else 100 * gain, "verdict": found["kind"]}
    meta = sources.train_meta.get(run.run)
    if meta is None or not gain or found["kind"] not in _GAINED:
        return row
    seconds, energy = _device_seconds(meta), meta.get("energy_joules")
    return row | {
        "device_seconds_per_point": None if seconds is None else seconds / (100 * gain),
        "energy_joules_per_point": None if energy is None else energy / (100 * gain),
    }
