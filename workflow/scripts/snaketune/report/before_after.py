"""Open answers before and after training, side by side, and what each metric gained."""

from typing import Any, TypedDict

from snaketune.report.sources import Sources
from snaketune.report.text import excerpt, points
from snaketune.tables.answers import OPEN_METRICS

SHOWN = 40
"""Answers a table; all of them are in the CSV."""


class BeforeAfter(TypedDict):
    """A run on one eval of open answers."""

    run: str
    eval: str
    metrics: list[str]
    count: int
    rows: list[dict[str, Any]]


def before_after(sources: Sources) -> list[BeforeAfter]:
    """One a run and eval; with more than `SHOWN` answers the worst and the best."""
    by_table: dict[tuple[str, str], list[dict[str, str]]] = {}
    for row in sources.before_after:
        by_table.setdefault((row["run"], row["eval"]), []).append(row)
    return [
        BeforeAfter(
            run=sources.shown(run),
            eval=name,
            metrics=[metric.replace("_", " ") for metric in OPEN_METRICS],
            count=len(rows),
            rows=[_row(row) for row in _ends(rows)],
        )
        for (run, name), rows in by_table.items()
    ]


def _ends(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    return rows if len(rows) <= SHOWN else [*rows[: SHOWN // 2], *rows[-SHOWN // 2 :]]


def _row(row: dict[str, str]) -> dict[str, Any]:
    texts = {key: excerpt(row[key], 400) for key in ("gold", "base_output", "tuned_output")}
    return {
        "id": row["id"],
        "question": excerpt(row["question"], 200),
        **texts,
        "changes": [points(float(row[f"{metric}_change"])) for metric in OPEN_METRICS],
        "words": f"{int(row['words_change']):+d}".replace("-", "−"),
    }
