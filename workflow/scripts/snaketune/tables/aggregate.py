"""All tables of an experiment: which there are, their columns, and in what order they are made.

Among them `final_metrics`: what each run arrived at, with the verdict in words, against its
thresholds and expected totals.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypedDict

from snaketune.plan.table_plan import (
    EvalPlan,
    RunPlan,
    TablePlan,
    further_names,
    joined_runs,
    single_seeds,
)
from snaketune.runtime.content import FINAL_METRICS
from snaketune.runtime.errors import UserError
from snaketune.runtime.files import write_json, write_rows
from snaketune.tables import answers, comparisons, origins, summary
from snaketune.tables.evidence import Place, all_evidence
from snaketune.tables.exports import write_exports
from snaketune.tables.gate import judge_gate, write_gate
from snaketune.tables.sources import Row, TableSources, all_columns, base_of, write_csv
from snaketune.tables.verdict import RunVerdict, headlines, verdict_on


class EvalResult(TypedDict):
    """An eval of one state."""

    task: str
    protocol: str
    protocol_hash: str
    metric: str
    """The primary one; its value and 95 % interval follow. None: missing."""
    value: float | None
    n: int
    low: float | None
    high: float | None
    counts: dict[str, int]
    """math: correct, unparsed, total; safety: safe, unsafe, unparsed, empty, unknown, total"""
    metrics: dict[str, float | None]
    """All metrics over all rows."""


class Threshold(TypedDict):
    """A least value and whether it was reached. A missing one is not; None: not evaluated."""

    metric: str
    """`eval.metric`"""
    at_least: float
    value: float | None
    passed: bool | None


class Result(TypedDict):
    """A run, and its base under the same protocols."""

    run: str
    state: str
    model: str
    method: str
    evals: dict[str, EvalResult]
    base_state: str | None
    """None, and no evals, for predictions made elsewhere that are compared with nothing."""
    base_evals: dict[str, EvalResult]
    thresholds: list[Threshold]
    verdicts: dict[str, RunVerdict]
    """By eval: did it help, in words, and what that rests on."""


class JoinedEval(TypedDict):
    """An eval of runs that differ in their seed alone: its primary metric, over rows and seeds."""

    protocol: str
    metric: str
    value: float | None
    """The mean of the runs' values."""
    between_seeds: float | None
    """Their standard deviation."""
    n: int
    low: float | None
    high: float | None


class Joined(TypedDict):
    """Such runs."""

    run: str
    """The row's own name."""
    runs: list[str]
    base_state: str | None
    evals: dict[str, JoinedEval]
    verdicts: dict[str, RunVerdict]
    """By eval."""


class FinalMetrics(TypedDict):
    """`final_metrics.json`"""

    experiment: str
    headline: list[str]
    """The answer in a sentence an eval, over all runs."""
    runs: list[Result]
    joined: list[Joined]


def final_metrics(
    plan: TablePlan, sources: TableSources, verdicts: Mapping[Place, RunVerdict]
) -> FinalMetrics:
    """What each run arrived at. `verdicts`: by run and eval."""
    runs = [_result(run, sources, verdicts) for run in plan.runs]
    joined = joined_runs(plan)
    single = single_seeds(plan)
    by_eval: dict[str, list[RunVerdict]] = {}
    for (run_name, name), found in verdicts.items():
        if run_name not in single:
            by_eval.setdefault(name, []).append(found)
    return FinalMetrics(
        experiment=plan.experiment,
        headline=[*_rehearsed(plan.experiment), *headlines(by_eval)],
        runs=runs,
        joined=[_joined(name, found, sources, verdicts) for name, found in joined.items()],
    )


def _rehearsed(experiment: str) -> list[str]:
    """What stands before all of a rehearsal, which is known by the name of its folder."""
    few = "A rehearsal on a few rows and steps"
    if experiment.endswith("-smoke_demo"):
        return [f"{few}, with the demo's small models: no figure says anything of your own."]
    return [f"{few}: no figure says how good a model is."] if experiment.endswith("-smoke") else []


def _joined(
    name: str,
    runs: list[RunPlan],
    sources: TableSources,
    verdicts: Mapping[Place, RunVerdict],
) -> Joined:
    evals = {}
    for key, entry in runs[0].evals.items():
        row = comparisons.joined_metric(runs, entry, sources)
        evals[key] = JoinedEval(**{k: row.get(k) for k in JoinedEval.__annotations__})  # type: ignore[typeddict-item]
    return Joined(
        run=name,
        runs=[run.run for run in runs],
        base_state=runs[0].base_state,
        evals=evals,
        verdicts={key: verdicts[name, key] for key in evals},
    )


def check_totals(plan: TablePlan, sources: TableSources) -> None:
    """Raises UserError where an eval had another number of rows than the config expects."""
    for run in plan.runs:
        for name, expected in run.totals.items():
            if name not in run.evals:
                continue
            found = sources.document(run.state, run.evals[name])["counts"]["total"]
            if found != expected:
                raise UserError(
                    f"run {run.run}, eval {name}: {found} rows were evaluated, but `totals` "
                    f"expects {expected}. Mend the eval's sample or the total in the config."
                )


def final_rows(final: FinalMetrics) -> list[Row]:
    """One row a run and eval, for the CSV."""
    return [_final_row(result, name) for result in final["runs"] for name in result["evals"]]


def _result(run: RunPlan, sources: TableSources, verdicts: Mapping[Place, RunVerdict]) -> Result:
    evals = _evals(run.state, run.evals, sources)
    base = base_of(run)
    return Result(
        run=run.run,
        state=run.state,
        model=run.model,
        method=run.method,
        evals=evals,
        base_state=base.state if base else None,
        base_evals=_evals(base.state, base.evals, sources) if base else {},
        thresholds=[_threshold(k, least, evals) for k, least in run.thresholds.items()],
        verdicts={name: verdicts[run.run, name] for name in run.evals},
    )


def _evals(state: str, plans: dict[str, EvalPlan], sources: TableSources) -> dict[str, EvalResult]:
    return {name: _eval(state, plan, sources) for name, plan in plans.items()}


def _eval(state: str, plan: EvalPlan, sources: TableSources) -> EvalResult:
    document = sources.document(state, plan)
    primary = sources.metric(state, plan, plan.primary)
    return EvalResult(
        task=plan.task,
        protocol=plan.protocol_name,
        protocol_hash=document["protocol_hash"],
        metric=plan.primary,
        value=primary["value"],
        n=primary["n"],
        low=primary["low"],
        high=primary["high"],
        counts=document["counts"],
        metrics={r["metric"]: r["value"] for r in document["rows"] if r["subset"] == "all"},
    )


def _threshold(metric: str, at_least: float, evals: dict[str, EvalResult]) -> Threshold:
    name, _, key = metric.partition(".")
    value = evals[name]["metrics"].get(key) if name in evals else None
    # What was evaluated and has no value, such as a rate that too many unread verdicts forbid, is
    # not reached.
    passed = value is not None and value >= at_least if name in evals else None
    return Threshold(metric=metric, at_least=at_least, value=value, passed=passed)


def _final_row(result: Result, name: str) -> Row:
    found = result["evals"][name]
    threshold = _threshold_of(result, f"{name}.{found['metric']}")
    head: dict[str, Any] = {"run": result["run"], "eval": name}
    head |= {key: found[key] for key in ("task", "protocol", "metric", "value", "low", "high")}
    said = result["verdicts"][name]
    head |= {"verdict": said["kind"], "in_words": said["sentence"]}
    return head | found["counts"] | threshold


def _threshold_of(result: Result, metric: str) -> Row:
    for entry in result["thresholds"]:
        if entry["metric"] == metric:
            return {"threshold": entry["at_least"], "passed": entry["passed"]}
    return {"threshold": None, "passed": None}


# Tables that only some experiments have: their columns and how their rows are made.
_FURTHER: dict[str, tuple[list[str], Callable[[TablePlan, TableSources], list[Row]]]] = {
    "epoch_results": (summary.EPOCH_COLUMNS, summary.epoch_rows),
    "summary_results": (summary.FOLLOWED_COLUMNS, summary.followed_rows),
    "before_after": (answers.BEFORE_AFTER_COLUMNS, answers.before_after_rows),
    "confusion": (answers.CONFUSION_COLUMNS, answers.confusion_rows),
    "wrong_predictions": (answers.WRONG_COLUMNS, answers.wrong_prediction_rows),
    "categories": (answers.CATEGORY_COLUMNS, answers.category_rows),
    "voting": (answers.VOTING_COLUMNS, answers.voting_rows),
    "failures": (answers.FAILURE_COLUMNS, answers.failure_rows),
    "unique_answers": (answers.UNIQUE_COLUMNS, answers.unique_answer_rows),
    "drops": (comparisons.DROP_COLUMNS, comparisons.drop_rows),
    "sweep": (summary.SWEEP_COLUMNS, summary.sweep_rows),
    "seeds": (comparisons.SEED_COLUMNS, comparisons.seed_rows),
}


NO_GATE: dict[str, Any] = {"not_worse": {}, "against": None, "undecided": "fail"}


def aggregate(
    plan: TablePlan, sources: TableSources, folder: Path, gate: Mapping[str, Any] = NO_GATE
) -> None:
    """Writes all tables into `folder`: those that every experiment has, those of
    `plan.table_plan.further_names`, the gate's and what other tools read. `gate` is the config's
    section.

    Totals are checked first, so that wrong denominators leave no table behind.
    """
    check_totals(plan, sources)
    compared = comparisons.comparison_rows(plan, sources)
    evidence = all_evidence(plan, sources, compared)
    methods = {run.run: run.method for run in plan.runs}
    verdicts = {
        place: verdict_on(found, methods.get(place[0])) for place, found in evidence.items()
    }
    final = final_metrics(plan, sources, verdicts)
    metrics = summary.metric_rows(plan, sources)
    write_rows(folder / "metrics.parquet", metrics, summary.METRICS_SCHEMA)
    write_csv(folder / "metrics.csv", summary.METRICS_SCHEMA.names, metrics)
    write_csv(folder / "comparisons.csv", comparisons.COMPARISON_COLUMNS, compared)
    rows = summary.summary_rows(plan, sources)
    # A run has columns that a base lacks: it decides on their order.
    write_csv(folder / "summary.csv", all_columns(rows[::-1]), rows)
    snapshots = summary.checkpoint_rows(plan, sources)
    write_csv(folder / "checkpoint_scores.csv", summary.CHECKPOINT_COLUMNS, snapshots)
    # Settings become columns behind those that all have.
    rows = origins.origin_rows(plan, sources, evidence)
    write_csv(
        folder / "origins.csv", dict.fromkeys([*origins.ORIGIN_COLUMNS, *all_columns(rows)]), rows
    )
    write_csv(folder / "cost.csv", origins.COST_COLUMNS, origins.cost_rows(plan, sources, verdicts))
    for name in further_names(plan):
        columns, make = _FURTHER[name]
        rows = make(plan, sources)
        # A sweep's keys become columns behind those that all sweeps have.
        write_csv(folder / f"{name}.csv", dict.fromkeys([*columns, *all_columns(rows)]), rows)
    write_json(folder / Path(FINAL_METRICS).name, final)
    rows = final_rows(final)
    write_csv(folder / "final_metrics.csv", all_columns(rows), rows)
    write_gate(judge_gate(plan, final, compared, sources, gate), folder)
    write_exports(plan, sources, final, folder)
