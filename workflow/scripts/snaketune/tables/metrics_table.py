"""`metrics`: every number of the experiment, one a row."""

import pyarrow as pa

from snaketune.plan.table_plan import TablePlan
from snaketune.runtime.records import settings_of
from snaketune.tables.sources import Sources
from snaketune.tables.write import Row

SCHEMA = pa.schema(
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


def metrics_table(plan: TablePlan, sources: Sources) -> list[Row]:
    """Sorted by state and protocol; within a file in its own order."""
    owners = {run.state: run for run in plan.runs}
    for run in plan.runs:
        owners |= {snap.state: run for snap in (*run.snapshots, *run.followed)}
    table = []
    for (state, protocol), document in sorted(sources.metrics.items()):
        run = owners.get(state)
        trained = settings_of(sources.train_meta.get(run.run, {})) if run else {}
        head = {
            "experiment": plan.experiment,
            "state": state,
            "run": run.run if run else None,
            "seed": trained.get("seed"),
            "protocol": protocol,
            "protocol_hash": document["protocol_hash"],
        }
        table += [head | row for row in document["rows"]]
    return table
