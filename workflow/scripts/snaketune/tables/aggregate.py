"""All tables of an experiment."""

from pathlib import Path

from snaketune.jsonl import write_json
from snaketune.parquet import write_rows
from snaketune.tables import before_after, checkpoints, comparisons, epochs, metrics_table
from snaketune.tables.final import final_metrics, final_rows
from snaketune.tables.plan_types import TablePlan, followed, has_open_answers
from snaketune.tables.sources import Sources
from snaketune.tables.summary import summary
from snaketune.tables.write import all_columns, write_csv


def aggregate(plan: TablePlan, sources: Sources, folder: Path) -> None:
    """Writes metrics, comparisons, summary, checkpoint_scores and final_metrics into `folder`;
    epoch_results and summary_results where evals follow a training, before_after where answers are
    open.

    Totals are checked first, so that wrong denominators leave no table behind.
    """
    final = final_metrics(plan, sources)
    metrics = metrics_table.metrics_table(plan, sources)
    write_rows(folder / "metrics.parquet", metrics, metrics_table.SCHEMA)
    write_csv(folder / "metrics.csv", metrics_table.SCHEMA.names, metrics)
    compared = comparisons.comparisons(plan, sources)
    write_csv(folder / "comparisons.csv", comparisons.COLUMNS, compared)
    rows = summary(plan, sources)
    # A run has columns that a base lacks: it decides on their order.
    write_csv(folder / "summary.csv", all_columns(rows[::-1]), rows)
    scores = checkpoints.checkpoint_scores(plan, sources)
    write_csv(folder / "checkpoint_scores.csv", checkpoints.COLUMNS, scores)
    if followed(plan):
        results = epochs.epoch_results(plan, sources)
        write_csv(folder / "epoch_results.csv", epochs.EPOCH_COLUMNS, results)
        results = epochs.summary_results(plan, sources)
        write_csv(folder / "summary_results.csv", epochs.SUMMARY_COLUMNS, results)
    if has_open_answers(plan):
        rows = before_after.before_after(plan, sources)
        write_csv(folder / "before_after.csv", before_after.COLUMNS, rows)
    write_json(folder / "final_metrics.json", final)
    rows = final_rows(final)
    write_csv(folder / "final_metrics.csv", all_columns(rows), rows)
