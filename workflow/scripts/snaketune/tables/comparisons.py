"""`comparisons`: every run against its base, on the same rows under the same protocol."""

from snaketune.plan.table_plan import EvalPlan, RunPlan, TablePlan
from snaketune.runtime.errors import UserError
from snaketune.statistics.paired import Comparison, compare
from snaketune.tables.sources import Sources
from snaketune.tables.write import Row
from snaketune.tasks.registry import MEASURERS

COLUMNS = ["run", "base_state", "eval", "metric", "subset", "protocol", *Comparison.__annotations__]


def comparisons(plan: TablePlan, sources: Sources) -> list[Row]:
    """One row a run, eval, metric that can be paired and subset on which it is. A metric that
    neither state has, such as the best of n where nothing was rewarded, is left out."""
    return [
        row
        for run in plan.runs
        if run.base_state is not None
        for name, eval_plan in run.evals.items()
        for row in _compared(run, name, eval_plan, sources)
    ]


def _compared(run: RunPlan, name: str, plan: EvalPlan, sources: Sources) -> list[Row]:
    base = sources.rows(run.base_state, plan)
    tuned = sources.rows(run.state, plan)
    head = {
        "run": run.run,
        "base_state": run.base_state,
        "eval": name,
        "protocol": plan.protocol_name,
    }
    states = (run.base_state, run.state)
    rows = [row for s in states for row in sources.document(s, plan)["rows"]]
    known = {(row["subset"], row["metric"]) for row in rows}
    measurer = MEASURERS[plan.task]
    before, after = measurer.members(base), measurer.members(tuned)
    try:
        return [
            head
            | {"metric": metric, "subset": subset}
            | compare(before[subset], after[subset], outcome)
            for subset in before
            for metric, outcome in measurer.paired.items()
            if (subset, metric) in known
        ]
    except UserError as error:
        raise UserError(f"run {run['run']}, eval {name}: {error}") from None
