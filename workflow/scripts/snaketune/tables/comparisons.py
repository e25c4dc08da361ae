"""The tables of differences: `comparisons` of states and `drops` between evals.

- `comparisons`: every run against its base, on the same rows under the same protocol; and runs that
  differ in their seed alone, joined, against theirs.
- `drops`: how much worse a state is on one eval than on another, such as out of distribution.

The two evals of a drop have different questions, so nothing is paired. Its interval is Newcombe's,
made from the two figures' own intervals: for shares with Wilson's it is his method 10 (Newcombe
1998, Statistics in Medicine 17:873-890); for means with bootstrapped ones the same step is known as
MOVER (Zou & Donner 2008, Statistics in Medicine 27:1693-1702).
"""

from collections.abc import Iterator
from math import sqrt
from statistics import stdev

from snaketune.plan.table_plan import EvalPlan, RunPlan, TablePlan, joined_runs, single_seeds
from snaketune.runtime.errors import UserError
from snaketune.statistics.paired import (
    Comparison,
    compare_seeds,
    false_discovery,
    holm,
    nothing_to_compare,
    seeds_interval,
    verdict_of,
)
from snaketune.tables.sources import Row, TableSources
from snaketune.tasks.task import ALL, LESS_IS_BETTER, Metric, task_of

COMPARISON_COLUMNS = ["run", "base_state", "eval", "metric", "subset", "protocol"]
COMPARISON_COLUMNS += Comparison.__annotations__


def comparison_rows(plan: TablePlan, sources: TableSources) -> list[Row]:
    """One row a run, eval, metric that can be paired and subset on which it is; behind them one of
    seeds that are joined. A metric that neither state has, such as the best of n where nothing was
    rewarded, is left out. What is better is said by p adjusted for all runs of an eval."""
    joined = joined_runs(plan)
    compared = {run.run: [run] for run in plan.runs} | joined
    rows = [
        row
        for name, runs in compared.items()
        if runs[0].base_state is not None
        for eval_name in runs[0].evals
        for row in _compared(name, runs, runs[0].base_state, eval_name, sources)
    ]
    _adjust([row for row in rows if row["run"] not in joined])
    single = single_seeds(plan)
    _adjust([row for row in rows if row["run"] not in single])
    return rows


def _adjust(rows: list[Row]) -> None:
    """Adjusts p within each eval, metric and subset over the runs, and over all rows. Seeds that
    are joined count once, by the row that joins them; one of them by itself stands beside all the
    others."""
    tested = [row for row in rows if row["p"] is not None]
    families: dict[tuple[str, ...], list[Row]] = {}
    for row in tested:
        families.setdefault((row["eval"], row["metric"], row["subset"]), []).append(row)
    for family in families.values():
        for row, p in zip(family, holm([row["p"] for row in family]), strict=True):
            row |= {"p_holm": p, "verdict": verdict_of(_gain(row), p)}
    for row, p in zip(tested, false_discovery([row["p"] for row in tested]), strict=True):
        row |= {"p_fdr": p}


def _gain(row: Row) -> float:
    less = row["metric"] in LESS_IS_BETTER
    return -row["difference"] if less else row["difference"]


def _compared(
    name: str, runs: list[RunPlan], base_state: str, eval_name: str, sources: TableSources
) -> list[Row]:
    plan = runs[0].evals[eval_name]
    head = {
        "run": name,
        "base_state": base_state,
        "eval": eval_name,
        "protocol": plan.protocol_name,
    }
    states = [base_state, *(run.state for run in runs)]
    rows = [row for s in states for row in sources.document(s, plan)["rows"]]
    known = {(row["subset"], row["metric"]) for row in rows}
    # Such as a safe rate of which too many verdicts can't be read.
    missing = {(row["subset"], row["metric"]) for row in rows if row["value"] is None}
    task = task_of(plan.task)
    before, *after = (task.members(sources.rows(state, plan)) for state in states)
    try:
        return [
            head
            | {"metric": metric, "subset": subset}
            | (
                nothing_to_compare(len(after[0][subset]), len(runs))
                if (subset, metric) in missing
                else compare_seeds(before[subset], [rows[subset] for rows in after], outcome)
            )
            for subset in before
            for metric, outcome in task.paired.items()
            if (subset, metric) in known
        ]
    except UserError as error:
        raise UserError(f"run {name}, eval {eval_name}: {error}") from None


SEED_COLUMNS = ["run", "seeds", "eval", "metric", "subset", "protocol", "value", "between_seeds"]
SEED_COLUMNS += ["least", "most", "n", "low", "high"]


def seed_rows(plan: TablePlan, sources: TableSources) -> list[Row]:
    """One row of seeds that are joined, eval, metric and subset: the mean of their values, how far
    these lie apart, and of what is told row by row the interval over rows and seeds."""
    return [
        {"run": name, "seeds": len(runs), "eval": eval_name} | row
        for name, runs in joined_runs(plan).items()
        for eval_name, entry in runs[0].evals.items()
        for row in _of_seeds([run.state for run in runs], entry, sources)
    ]


def joined_metric(runs: list[RunPlan], entry: EvalPlan, sources: TableSources) -> Row:
    """The row of the eval's primary metric."""
    [row] = _of_seeds([run.state for run in runs], entry, sources, only=(ALL, entry.primary))
    return row


def _of_seeds(
    states: list[str],
    entry: EvalPlan,
    sources: TableSources,
    only: tuple[str, str] | None = None,
) -> list[Row]:
    """By subset and metric, or of the one that is asked for."""
    task = task_of(entry.task)
    members = [task.members(sources.rows(state, entry)) for state in states]
    found: dict[tuple[str, str], list[Metric]] = {}
    for state in states:
        for number in sources.document(state, entry)["rows"]:
            found.setdefault((number["subset"], number["metric"]), []).append(number)
    table = []
    for (subset, metric), rows in found.items():
        if only not in (None, (subset, metric)):
            continue
        values = [row["value"] for row in rows if row["value"] is not None]
        whole = len(values) == len(states)
        row: Row = {"metric": metric, "subset": subset, "protocol": entry.protocol_name}
        row |= {"value": sum(values) / len(values) if whole else None, "n": rows[0]["n"]}
        row |= {"least": min(values), "most": max(values)} if values else {}
        row["between_seeds"] = stdev(values) if whole else None
        if whole and metric in task.paired and subset in members[0]:
            parts = [of[subset] for of in members]
            row |= seeds_interval(parts, task.paired[metric], row["value"])
        table.append(row)
    return table


EvalPair = tuple[EvalPlan, EvalPlan]

DROP_COLUMNS = ["state", "run", "metric", "from_eval", "to_eval", "from_value", "to_value"]
DROP_COLUMNS += ["from_n", "to_n", "drop", "low", "high", "from_protocol", "to_protocol"]


def drop_rows(plan: TablePlan, sources: TableSources) -> list[Row]:
    """A row a state, pair of evals and metric, each base before its first run. A positive drop is
    a loss; a value that is missing has none."""
    return [
        _drop_row(state, owner, metric, names, plans, sources)
        for state, owner, names, plans in _pairs(plan)
        for metric in _shared_metrics(state, plans, sources)
    ]


def _pairs(plan: TablePlan) -> Iterator[tuple[str, str | None, tuple[str, str], EvalPair]]:
    """State, run (None: a base), names and protocols of each pair of evals, each once."""
    runs = {run.state: run.run for run in plan.runs}
    shown: list[tuple] = []
    for to, start in plan.drops.items():
        for run in plan.runs:
            if to not in run.evals or start not in run.evals:
                continue
            plans = run.evals[start], run.evals[to]
            for state in (run.base_state, run.state):
                # Runs under the same protocols share a base, which can be a run itself.
                if state is not None and (state, plans) not in shown:
                    shown.append((state, plans))
                    yield state, runs.get(state), (start, to), plans


def _drop_row(
    state: str,
    run: str | None,
    metric: str,
    names: tuple[str, str],
    plans: EvalPair,
    sources: TableSources,
) -> Row:
    found, other = (sources.metric(state, plan, metric) for plan in plans)
    return {
        "state": state,
        "run": run,
        "metric": metric,
        "from_eval": names[0],
        "to_eval": names[1],
        **_difference(found, other),
        "from_protocol": plans[0].protocol_name,
        "to_protocol": plans[1].protocol_name,
    }


def _shared_metrics(state: str, plans: EvalPair, sources: TableSources) -> list[str]:
    """The primary metric and the others by which states are compared, as far as both evals have
    them."""
    first, *_ = plans
    names = dict.fromkeys([first.primary, *task_of(first.task).paired])
    known = [
        {row["metric"] for row in sources.document(state, plan)["rows"] if row["subset"] == ALL}
        for plan in plans
    ]
    return [name for name in names if all(name in found for found in known)]


def _difference(found: Metric, other: Metric) -> Row:
    row: Row = {
        "from_value": found["value"],
        "to_value": other["value"],
        "from_n": found["n"],
        "to_n": other["n"],
    }
    if found["value"] is None or other["value"] is None:
        return row | {"drop": None, "low": None, "high": None}
    low, high = newcombe(found, other) or (None, None)
    return row | {"drop": found["value"] - other["value"], "low": low, "high": high}


def newcombe(one: Metric, other: Metric) -> tuple[float, float] | None:
    """The 95 % interval of the difference of two independent figures; None where one of them has
    no interval."""
    first, low, high = one["value"], one["low"], one["high"]
    second, other_low, other_high = other["value"], other["low"], other["high"]
    if first is None or low is None or high is None:
        return None
    if second is None or other_low is None or other_high is None:
        return None
    difference = first - second
    below = sqrt((first - low) ** 2 + (other_high - second) ** 2)
    above = sqrt((high - first) ** 2 + (second - other_low) ** 2)
    return difference - below, difference + above
