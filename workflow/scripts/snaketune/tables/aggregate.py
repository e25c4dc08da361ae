"""All tables of an experiment."""

from collections.abc import Callable
from pathlib import Path

from snaketune.plan.table_plan import TablePlan, further_names
from snaketune.runtime.files import write_json
from snaketune.runtime.parquet import write_rows
from snaketune.tables import (
    answers as before_after,
)
from snaketune.tables import (
    answers as classes,
)
from snaketune.tables import (
    comparisons,
    epochs,
    voting,
)
from snaketune.tables import (
    comparisons as drops,
)
from snaketune.tables import (
    summary as checkpoints,
)
from snaketune.tables import (
    summary as metrics_table,
)
from snaketune.tables import (
    summary as sweep,
)
from snaketune.tables import (
    voting as failures,
)
from snaketune.tables.final import final_metrics, final_rows
from snaketune.tables.sources import Row, TableSources, all_columns, write_csv
from snaketune.tables.summary import summary_rows

# Tables that only some experiments have: their columns and how their rows are made.
_FURTHER: dict[str, tuple[list[str], Callable[[TablePlan, TableSources], list[Row]]]] = {
    "epoch_results": (epochs.EPOCH_COLUMNS, epochs.epoch_results),
    "summary_results": (epochs.SUMMARY_COLUMNS, epochs.summary_results),
    "before_after": (before_after.COLUMNS, before_after.before_after),
    "confusion": (classes.CONFUSION_COLUMNS, classes.confusion),
    "wrong_predictions": (classes.WRONG_COLUMNS, classes.wrong_predictions),
    "voting": (voting.COLUMNS, voting.voting),
    "failures": (failures.FAILURE_COLUMNS, failures.failures),
    "unique_answers": (failures.UNIQUE_COLUMNS, failures.unique_answers),
    "drops": (drops.COLUMNS, drops.drops),
    "sweep": (sweep.COLUMNS, sweep.sweep),
}


def aggregate(plan: TablePlan, sources: TableSources, folder: Path) -> None:
    """Writes metrics, comparisons, summary_rows, checkpoint_scores and final_metrics into `folder`, and
    those of `plan_types.further_names` that the experiment has.

    Totals are checked first, so that wrong denominators leave no table behind.
    """
    final = final_metrics(plan, sources)
    metrics = metrics_table.metrics_table(plan, sources)
    write_rows(folder / "metrics.parquet", metrics, metrics_table.SCHEMA)
    write_csv(folder / "metrics.csv", metrics_table.SCHEMA.names, metrics)
    compared = comparisons.comparisons(plan, sources)
    write_csv(folder / "comparisons.csv", comparisons.COLUMNS, compared)
    rows = summary_rows(plan, sources)
    # A run has columns that a base lacks: it decides on their order.
    write_csv(folder / "summary.csv", all_columns(rows[::-1]), rows)
    scores = checkpoints.checkpoint_scores(plan, sources)
    write_csv(folder / "checkpoint_scores.csv", checkpoints.COLUMNS, scores)
    for name in further_names(plan):
        columns, make = _FURTHER[name]
        rows = make(plan, sources)
        # A sweep's keys become columns behind those that all sweeps have.
        write_csv(folder / f"{name}.csv", dict.fromkeys([*columns, *all_columns(rows)]), rows)
    write_json(folder / "final_metrics.json", final)
    rows = final_rows(final)
    write_csv(folder / "final_metrics.csv", all_columns(rows), rows)
