"""All tables of an experiment: which there are, their columns, and in what order they are made."""

from collections.abc import Callable
from pathlib import Path

from snaketune.plan.table_plan import TablePlan, further_names
from snaketune.runtime.files import write_json
from snaketune.runtime.parquet import write_rows
from snaketune.tables import answers, comparisons, epochs, summary, voting
from snaketune.tables.final import final_metrics, final_rows
from snaketune.tables.sources import Row, TableSources, all_columns, write_csv

# Tables that only some experiments have: their columns and how their rows are made.
_FURTHER: dict[str, tuple[list[str], Callable[[TablePlan, TableSources], list[Row]]]] = {
    "epoch_results": (epochs.EPOCH_COLUMNS, epochs.epoch_rows),
    "summary_results": (epochs.FOLLOWED_COLUMNS, epochs.followed_rows),
    "before_after": (answers.BEFORE_AFTER_COLUMNS, answers.before_after_rows),
    "confusion": (answers.CONFUSION_COLUMNS, answers.confusion_rows),
    "wrong_predictions": (answers.WRONG_COLUMNS, answers.wrong_prediction_rows),
    "voting": (voting.VOTING_COLUMNS, voting.voting_rows),
    "failures": (voting.FAILURE_COLUMNS, voting.failure_rows),
    "unique_answers": (voting.UNIQUE_COLUMNS, voting.unique_answer_rows),
    "drops": (comparisons.DROP_COLUMNS, comparisons.drop_rows),
    "sweep": (summary.SWEEP_COLUMNS, summary.sweep_rows),
}


def aggregate(plan: TablePlan, sources: TableSources, folder: Path) -> None:
    """Writes metrics, comparisons, summary, checkpoint_scores and final_metrics into `folder`, and
    those of `plan.table_plan.further_names` that the experiment has.

    Totals are checked first, so that wrong denominators leave no table behind.
    """
    final = final_metrics(plan, sources)
    metrics = summary.metric_rows(plan, sources)
    write_rows(folder / "metrics.parquet", metrics, summary.METRICS_SCHEMA)
    write_csv(folder / "metrics.csv", summary.METRICS_SCHEMA.names, metrics)
    compared = comparisons.comparison_rows(plan, sources)
    write_csv(folder / "comparisons.csv", comparisons.COMPARISON_COLUMNS, compared)
    rows = summary.summary_rows(plan, sources)
    # A run has columns that a base lacks: it decides on their order.
    write_csv(folder / "summary.csv", all_columns(rows[::-1]), rows)
    snapshots = summary.checkpoint_rows(plan, sources)
    write_csv(folder / "checkpoint_scores.csv", summary.CHECKPOINT_COLUMNS, snapshots)
    for name in further_names(plan):
        columns, make = _FURTHER[name]
        rows = make(plan, sources)
        # A sweep's keys become columns behind those that all sweeps have.
        write_csv(folder / f"{name}.csv", dict.fromkeys([*columns, *all_columns(rows)]), rows)
    write_json(folder / "final_metrics.json", final)
    rows = final_rows(final)
    write_csv(folder / "final_metrics.csv", all_columns(rows), rows)
