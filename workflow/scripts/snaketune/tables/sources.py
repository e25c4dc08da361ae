"""The files that tables are made from, found by the two names at the end of their paths."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from snaketune.plan.table_plan import EvalPlan
from snaketune.runtime.parquet import read_rows
from snaketune.tasks.task import ALL, Metric, Score

NUMBER = ["value", "n", "low", "high"]
"""The columns of a metric's number."""


def number_of(metric: Metric) -> dict[str, float | None]:
    """A metric's number as columns of a table."""
    return {key: metric[key] for key in NUMBER}


@dataclass(frozen=True)
class Sources:
    """What the jobs wrote. Keys are (state, protocol name) or a run's name."""

    metrics: dict[tuple[str, str], dict[str, Any]]
    scores: dict[tuple[str, str], Path]
    train_meta: dict[str, dict[str, Any]]
    chosen: dict[str, dict[str, Any]]
    train_log: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    prediction_meta: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)

    def document(self, state: str, plan: EvalPlan) -> dict[str, Any]:
        """The metrics file of a state under an eval's protocol."""
        return self.metrics[state, plan.protocol_name]

    def metric(self, state: str, plan: EvalPlan, name: str) -> Metric:
        """The row of a metric over all examples."""
        for row in self.document(state, plan)["rows"]:
            if row["metric"] == name and row["subset"] == ALL:
                return row
        raise KeyError(f"metrics/{state}/{plan['protocol_name']}.json has no metric {name!r}")

    def seconds(self, state: str, plan: EvalPlan) -> float | None:
        """How long a state took under an eval's protocol; None where it wasn't asked here, or
        records of a job before were taken: a killed one's time, for one, nobody knows."""
        meta = self.prediction_meta.get((state, plan.protocol_name), {})
        return None if meta.get("resumed_records") else meta.get("seconds")

    def rows(self, state: str, plan: EvalPlan) -> list[Score]:
        """The scores of a state under an eval's protocol."""
        return read_rows(self.scores[state, plan.protocol_name])


def read_sources(
    metrics: Iterable[Path],
    scores: Iterable[Path],
    train_meta: Iterable[Path],
    chosen: Iterable[Path],
    train_log: Iterable[Path] = (),
    prediction_meta: Iterable[Path] = (),
) -> Sources:
    """Reads everything but the scores, which are read when they are compared."""
    return Sources(
        metrics={(path.parent.name, path.stem): _json(path) for path in metrics},
        scores={(path.parent.name, path.stem): path for path in scores},
        train_meta={path.parent.name: _json(path) for path in train_meta},
        chosen={path.parent.name: _json(path) for path in chosen},
        train_log={path.parent.name: read_rows(path) for path in train_log},
        prediction_meta={
            (path.parent.name, path.name.removesuffix(".meta.json")): _json(path)
            for path in prediction_meta
        },
    )


def _json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))
