"""The plan of the tables: the plain JSON that the Snakefile hands to `aggregate` and `report`.

The Snakefile builds a `TablePlan` from the config, because only the config knows what belongs
together: which base a run is compared with, which protocol an eval has under a run, what the
thresholds are. All else comes from the files that jobs wrote. Light: no import but Python's own.

Nothing here names a path: files are found among the job's inputs by the two names at the end of
their paths, `metrics/{state}/{protocol_name}.json` and `train/{run}/train_meta.json`. Labels are
no part of it either, since a changed label must not make anything run again.

Bases are not listed: the rows of the base models are the distinct pairs of `base_state` and
protocols among the runs, in order.

Which tables and figures there will be is known from the plan alone: the Snakefile lists them.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self, TypedDict


@dataclass(frozen=True)
class EvalPlan:
    """An eval under the protocol that it has for one state."""

    task: str
    """`math`, `math_samples`, `safety`, …: the name of a file in `tasks/`."""
    protocol_name: str
    """The file's stem: `metrics/{state}/{protocol_name}.json`, and so for predictions, verdicts
    and scores."""
    primary: str
    """The metric that stands in summaries: `accuracy`, `safe_rate`, …; `TaskInfo.primary` of its
    task."""


@dataclass(frozen=True)
class SnapshotPlan:
    """A snapshot of a run that is evaluated."""

    snapshot: str
    """`1of3`"""
    state: str
    """`medium-1of3`"""
    evals: dict[str, EvalPlan]
    """By eval name; the protocol is the one of the dev split where the snapshots are chosen on it.
    """


@dataclass(frozen=True)
class RunPlan:
    """A run, or an adapter that stands in for one, and what it is compared with."""

    run: str
    state: str
    """The state that is evaluated: the chosen snapshot's or the final adapter's."""
    base_state: str | None
    """The untrained model in the same quantisation; evaluated under the same protocols. Of
    predictions made elsewhere the state that they are held against; None: nothing."""
    model: str
    """Name under `models`; empty for predictions made elsewhere of an unnamed model."""
    train_data: str | None
    """Name under `datasets`, or several: see `learned_data`; None for an adapter that was not
    trained here."""
    method: str
    """`qlora`, `lora`, `full`; `adapter` for an adapter from a folder or the hub; `predictions` for
    those made elsewhere; `model` for a model as it is; `gguf` for what a run is exported as."""
    seed: int | None
    """The training's seed; None for an adapter that was not trained here."""
    preset: dict[str, Any]
    """`Preset.model_dump(mode="json")`, every key of which becomes a column of `summary.csv`
    (`lora.r` as `lora_r`); {} for an adapter that was not trained here."""
    swept: dict[str, Any]
    """The values that a sweep set for this run, by hyperparameter; {} where there is no sweep."""
    evals: dict[str, EvalPlan]
    """By eval name. An eval that the run leaves out has no key."""
    snapshots: list[SnapshotPlan]
    """In training order; [] where none is evaluated."""
    followed: list[SnapshotPlan]
    """Snapshots under the protocols of the run's own evals, in training order; the last one may be
    the run's final state. They choose nothing; [] where none is asked for."""
    choose: str | None
    """`eval.metric` that the snapshot was chosen by; None: the final adapter is used."""
    thresholds: dict[str, float]
    """Least value by `eval.metric`."""
    totals: dict[str, int]
    """Rows that an eval must have had, by eval name; a different count fails the tables."""
    seed_of: str | None = None
    """The row that joins the run with others that differ in their seed alone; None: it stands by
    itself."""


@dataclass(frozen=True)
class TablePlan:
    """What `aggregate` and `report` get as `params.table`."""

    experiment: str
    runs: list[RunPlan]
    drops: dict[str, str]
    """By eval: the eval, in distribution, that its drop is measured from."""

    def as_json(self) -> dict[str, Any]:
        """What a job gets as `params.table`; `asdict` is slow with a large sweep."""
        return json.loads(json.dumps(vars(self), default=vars))

    @classmethod
    def from_json(cls, table: Mapping[str, Any]) -> Self:
        """The plan that a job got."""
        return cls(**{**table, "runs": [_run_of(row) for row in table["runs"]]})


def _run_of(row: Mapping[str, Any]) -> RunPlan:
    snapshots = {key: [_snapshot_of(s) for s in row[key]] for key in ("snapshots", "followed")}
    return RunPlan(**{**row, **snapshots, "evals": _evals_of(row["evals"])})


def _snapshot_of(row: Mapping[str, Any]) -> SnapshotPlan:
    return SnapshotPlan(**{**row, "evals": _evals_of(row["evals"])})


def _evals_of(rows: Mapping[str, Mapping[str, Any]]) -> dict[str, EvalPlan]:
    return {name: EvalPlan(**row) for name, row in rows.items()}


def joined_runs(plan: TablePlan) -> dict[str, list[RunPlan]]:
    """Runs that differ in their seed alone, by the name of the row that joins them."""
    found: dict[str, list[RunPlan]] = {}
    for run in plan.runs:
        if run.seed_of is not None:
            found.setdefault(run.seed_of, []).append(run)
    return {name: runs for name, runs in found.items() if len(runs) > 1}


def single_seeds(plan: TablePlan) -> set[str]:
    """The runs that such rows join: these count once, by that row."""
    return {run.run for runs in joined_runs(plan).values() for run in runs}


def compared_in(verdict: Mapping[str, Any]) -> Mapping[str, Any]:
    """The comparison that a verdict of `final_metrics.json` rests on; n is 0 if there is none."""
    return verdict["evidence"]["compared"] if verdict["evidence"] else {"n": 0}


JOINED = "+"
"""Stands between the names of datasets that a run learns from."""


def learned_data(run: RunPlan) -> list[str]:
    """The names of the datasets that a run learned from; empty where it was not trained here."""
    return run.train_data.split(JOINED) if run.train_data else []


CLASSIFICATION, OPEN_QA, MATH_SAMPLES = "classification", "open_qa", "math_samples"
SAFETY = "safety"


def _has_task(plan: TablePlan, task: str) -> bool:
    return any(spec.task == task for run in plan.runs for spec in run.evals.values())


def further_names(plan: TablePlan) -> list[str]:
    """The tables that only some experiments have: by epoch, of open answers, classes, hazards that
    judges named, samples, of drops from one eval to another, of sweeps, of seeds."""
    return [
        *(["epoch_results", "summary_results"] if any(run.followed for run in plan.runs) else []),
        *(["before_after"] if _has_task(plan, OPEN_QA) else []),
        *(["confusion", "wrong_predictions"] if _has_task(plan, CLASSIFICATION) else []),
        *(["categories"] if _has_task(plan, SAFETY) else []),
        *(["voting", "failures", "unique_answers"] if _has_task(plan, MATH_SAMPLES) else []),
        *(["drops"] if plan.drops else []),
        *(["sweep"] if any(run.swept for run in plan.runs) else []),
        *(["seeds"] if joined_runs(plan) else []),
    ]


def exported_states(plan: TablePlan) -> list[str]:
    """The states of the runs and their bases, each of which has a file for other tools."""
    states = [state for run in plan.runs for state in (run.base_state, run.state)]
    return list(dict.fromkeys(state for state in states if state is not None))


class FigureName(TypedDict):
    """What the Snakefile needs for `report(...)`."""

    name: str
    """The file is `figures/{name}.svg`."""
    kind: str
    """The caption is `workflow/report/{kind}.rst`."""
    category: str
    labels: dict[str, str]


def figure_names(plan: TablePlan) -> list[FigureName]:
    """Every figure that the report of this plan draws, in its order."""
    evals = {name: spec.task for run in plan.runs for name, spec in run.evals.items()}
    compared = any(run.base_state is not None and run.evals for run in plan.runs)
    names = [_figure("effects", "effects", "Results", "runs against bases")] if compared else []
    names += [_figure(f"eval-{name}", "eval", "Results", name) for name in evals]
    names += [
        _figure(f"hazards-{name}", "hazards", "Results", f"{name} by hazard")
        for name, task in evals.items()
        if task == "safety"
    ]
    for name in (name for name, task in evals.items() if task == CLASSIFICATION):
        names.append(_figure(f"confusion-{name}", "confusion", "Results", f"{name} confusion"))
        names.append(_figure(f"reliability-{name}", "reliability", "Results", f"{name} confidence"))
    for name in failure_names(plan):
        names.append(_figure(f"votes-{name}", "votes", "Results", f"{name} by samples"))
        names.append(_figure(f"unique-{name}", "unique", "Results", f"{name}: unique answers"))
    by_epoch = dict.fromkeys(
        name for run in plan.runs for snap in run.followed for name in snap.evals
    )
    names += [
        _figure(f"epochs-{name}", "epochs", "Results", f"{name} by epoch") for name in by_epoch
    ]
    if by_epoch:
        names.append(_figure("training_time", "training_time", "Training", "training time"))
        names.append(_figure("evaluation_time", "evaluation_time", "Results", "evaluation time"))
    swept = dict.fromkeys(e for run in plan.runs if run.swept for e in run.evals)
    names += [_figure(f"sweep-{name}", "sweep", "Results", f"{name} by sweep") for name in swept]
    if any(run.snapshots for run in plan.runs):
        names.append(_figure("snapshots", "snapshots", "Results", "snapshots"))
    # Losses on different data say nothing of each other.
    for data in dict.fromkeys(run.train_data for run in plan.runs if run.train_data):
        names.append(_figure(f"loss-{data}", "loss", "Training", f"loss on {data}"))
    if any(run.train_data for run in plan.runs):
        names.append(_figure("lengths", "lengths", "Training", "row lengths"))
    return names


def example_names(plan: TablePlan) -> list[str]:
    """The evals, all of whose examples have a page: `examples/{eval}.html` and `.csv`."""
    return list(dict.fromkeys(name for run in plan.runs for name in run.evals))


def failure_names(plan: TablePlan) -> list[str]:
    """The evals whose missed questions have pages: `failures/{eval}.html` and `.txt`."""
    sampled = (
        name for run in plan.runs for name, spec in run.evals.items() if spec.task == "math_samples"
    )
    return list(dict.fromkeys(sampled))


def _figure(name: str, kind: str, category: str, label: str) -> FigureName:
    return FigureName(name=name, kind=kind, category=category, labels={"figure": label})


GATE_SIGNS = {"passed": "✓", "failed": "✗", "undecided": "?", "skipped": "–"}
"""What stands before a check of the gate, by its outcome."""


def percent_figure(value: float) -> str:
    """The figure of a share in percent, with as many digits as tell it from 0 and 100."""
    told = [f"{100 * value:.{digits}f}" for digits in (1, 2, 3, 4)]
    return next((text for text in told if float(text) not in (0, 100) or value in (0, 1)), told[-1])


def p_figure(p: float) -> str:
    """`0.012`, `< 0.001`; near 0.05 with as many digits as tell it from that."""
    if p < 0.001:
        return "< 0.001"
    text = f"{p:.3f}" if p < 0.1 else f"{p:.2f}"
    for digits in (4, 5, 6):  # which side of the line it is on must show
        if text.startswith("0.05") and float(text) == 0.05 and p != 0.05:
            text = f"{p:.{digits}f}"
    return text


def p_words(p: float) -> str:
    """`p = 0.012`, `p < 0.001`"""
    figure = p_figure(p)
    return f"p {figure}" if figure.startswith("<") else f"p = {figure}"


def points_figure(value: float) -> str:
    """0.425 as `+42.5`, with a true minus sign and digits that tell it from 0, which has none."""
    return _signed(100 * value, 1)


def _signed(value: float, least: int) -> str:
    digits = next((d for d in range(least, least + 3) if round(value, d)), least)
    text = f"{value:+.{digits}f}".replace("-", "−")
    return text if round(value, digits) else text[1:]


PLAIN: tuple[str, ...] = ("brier", "roc_auc", "unique_answers")
PLAIN += ("token_probability", "perplexity", "word_perplexity", "bits_per_byte")
"""Metrics that are no shares of rows: percent and points mean nothing of them."""


def level_figure(value: float, metric: str) -> str:
    """`62.5 %`; of a plain metric `0.125`."""
    return f"{value:.3f}" if metric in PLAIN else f"{percent_figure(value)} %"


def change_figure(value: float, metric: str, unit: str = "") -> str:
    """`+12.5`, in points, and the unit; of a plain metric `+0.125` without one."""
    return _signed(value, 3) if metric in PLAIN else points_figure(value) + unit
