"""`drops`: how much worse a state is on one eval than on another, such as out of distribution.

The two evals have different questions, so nothing is paired. The interval is Newcombe's, made from
the two figures' own intervals: for shares with Wilson's it is his method 10 (Newcombe 1998,
Statistics in Medicine 17:873-890); for means with bootstrapped ones the same step is known as MOVER
(Zou & Donner 2008, Statistics in Medicine 27:1693-1702).
"""

from collections.abc import Iterator
from math import sqrt

from snaketune.plan.table_plan import EvalPlan, TablePlan
from snaketune.tables.sources import Sources
from snaketune.tables.write import Row
from snaketune.tasks.registry import MEASURERS
from snaketune.tasks.task import ALL, Metric

Plans = tuple[EvalPlan, EvalPlan]

COLUMNS = ["state", "run", "metric", "from_eval", "to_eval", "from_value", "to_value"]
COLUMNS += ["from_n", "to_n", "drop", "low", "high", "from_protocol", "to_protocol"]


def drops(plan: TablePlan, sources: Sources) -> list[Row]:
    """A row a state, pair of evals and metric, each base before its first run. A positive drop is
    a loss; a value that is missing has none."""
    return [
        _row(state, owner, metric, names, plans, sources)
        for state, owner, names, plans in _pairs(plan)
        for metric in _metrics(state, plans, sources)
    ]


def _pairs(plan: TablePlan) -> Iterator[tuple[str, str | None, tuple[str, str], Plans]]:
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


def _row(
    state: str,
    run: str | None,
    metric: str,
    names: tuple[str, str],
    plans: Plans,
    sources: Sources,
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


def _metrics(state: str, plans: Plans, sources: Sources) -> list[str]:
    """The primary metric and the others by which states are compared, as far as both evals have
    them."""
    first, *_ = plans
    names = dict.fromkeys([first.primary, *MEASURERS[first.task].paired])
    known = [
        {row["metric"] for row in sources.document(state, plan)["rows"] if row["subset"] == ALL}
        for plan in plans
    ]
    return [name for name in names if all(name in found for found in known)]


def _difference(found: Metric, other: Metric) -> Row:
    row = {
        "from_value": found["value"],
        "to_value": other["value"],
        "from_n": found["n"],
        "to_n": other["n"],
    }
    if None in (found["value"], other["value"]):
        return row | {"drop": None, "low": None, "high": None}
    low, high = newcombe(found, other) or (None, None)
    return row | {"drop": found["value"] - other["value"], "low": low, "high": high}


def newcombe(one: Metric, other: Metric) -> tuple[float, float] | None:
    """The 95 % interval of the difference of two independent figures; None where one of them has
    no interval."""
    if None in (one["low"], other["low"]):
        return None
    difference = one["value"] - other["value"]
    below = sqrt((one["value"] - one["low"]) ** 2 + (other["high"] - other["value"]) ** 2)
    above = sqrt((one["high"] - one["value"]) ** 2 + (other["value"] - other["low"]) ** 2)
    return difference - below, difference + above
