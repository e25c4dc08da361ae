"""`sweep`: the primary metric of every swept run beside the values that its sweep set."""

from snaketune.plan.table_plan import TablePlan
from snaketune.tables.sources import NUMBER, Sources, number_of
from snaketune.tables.write import Row

COLUMNS = ["run", "model", "train_data", "eval", "metric", *NUMBER]


def sweep(plan: TablePlan, sources: Sources) -> list[Row]:
    """A row a swept run and eval; behind `COLUMNS` a column a swept key, such as `lora.r`."""
    return [
        {key: run[key] for key in ("run", "model", "train_data")}
        | {"eval": name, "metric": spec.primary}
        | number_of(sources.metric(run.state, spec, spec.primary))
        | run.swept
        for run in plan.runs
        if run.swept
        for name, spec in run.evals.items()
    ]
