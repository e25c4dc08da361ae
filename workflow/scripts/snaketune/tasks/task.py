"""A metric is a row: what was measured on which subset, from how many, how sure.

What a task must know to be measured.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypedDict

import pyarrow as pa

from snaketune.data.example import Example
from snaketune.statistics.intervals import bootstrap_mean, spread, wilson

Score = dict[str, Any]
"""A row of `scores/{state}/{protocol}.parquet`."""

Outcome = Callable[[Score], bool | float | None]
"""Whether a row is a hit, or how much it scored; None: it takes no part."""


def _finished(how: str) -> Outcome:
    return lambda score: None if score["finish"] is None else score["finish"] == how


FINISHES: dict[str, Outcome] = {
    "truncated": _finished("length"),
    "overlong": _finished("overlong"),
}
"""How replies ended. Predictions made elsewhere may not say: missing, not 0."""

ALL = "all"
"""The subset of all rows."""


class Metric(TypedDict):
    """One number. `value`, `low` and `high` are None where n is 0: missing is not 0."""

    eval: str
    subset: str
    """`all`, or `key=value`"""
    metric: str
    value: float | None
    n: int
    """Rows that the value is a share or mean of."""
    low: float | None
    high: float | None


def proportion(eval_name: str, subset: str, metric: str, outcomes: Iterable[bool | None]) -> Metric:
    """The share of hits among the outcomes that are not None, with its Wilson interval."""
    known = [outcome for outcome in outcomes if outcome is not None]
    low, high = wilson(sum(known), len(known)) or (None, None)
    value = sum(known) / len(known) if known else None
    return Metric(
        eval=eval_name, subset=subset, metric=metric, value=value, n=len(known), low=low, high=high
    )


def proportions(
    eval_name: str, subset: str, scores: list[Score], outcomes: dict[str, Outcome]
) -> list[Metric]:
    """One row an outcome."""
    return [share(eval_name, subset, name, scores, hit) for name, hit in outcomes.items()]


def share(eval_name: str, subset: str, metric: str, scores: list[Score], of: Outcome) -> Metric:
    """The share of hits among the rows that have the outcome; its interval is over clusters, where
    rows share some."""
    known = [score for score in scores if of(score) is not None]
    values = [of(score) for score in known]
    return proportion(eval_name, subset, metric, values) | spread(values, known)


def average(eval_name: str, subset: str, metric: str, scores: list[Score], of: Outcome) -> Metric:
    """The mean of what the rows scored, likewise."""
    known = [score for score in scores if of(score) is not None]
    values = [of(score) for score in known]
    return mean(eval_name, subset, metric, values) | spread(values, known)


def mean(eval_name: str, subset: str, metric: str, values: Sequence[float]) -> Metric:
    """The mean of the rows with its bootstrap interval; no interval where all are equal."""
    low, high = bootstrap_mean(values) or (None, None)
    value = sum(values) / len(values) if values else None
    return Metric(
        eval=eval_name, subset=subset, metric=metric, value=value, n=len(values), low=low, high=high
    )


def plain(eval_name: str, subset: str, metric: str, value: float | None, n: int) -> Metric:
    """A number that has no interval."""
    return Metric(
        eval=eval_name, subset=subset, metric=metric, value=value, n=n, low=None, high=None
    )


@dataclass(frozen=True)
class Answered:
    """An example with what was made of it."""

    example: Example
    prediction: dict[str, Any]
    """A line of `predictions/{state}/{protocol}.jsonl`."""
    verdict: dict[str, Any] | None
    """A line of `verdicts/…`; None where the eval has no judge."""
    protocol: dict[str, Any] = field(default_factory=dict)
    """The eval under which it was asked."""


@dataclass(frozen=True)
class Measurer:
    """How the outputs of one task are scored."""

    schema: pa.Schema
    """Columns of the scores."""
    score: Callable[[Answered], Score]
    metrics: Callable[[str, list[Score]], list[Metric]]
    """(eval name, scores) → rows"""
    counts: Callable[[list[Score]], dict[str, int]]
    """Whole numbers for `final_metrics`; always with `total`."""
    paired: dict[str, Outcome]
    """The metrics by which two states are compared row by row."""
    subsets: dict[str, Callable[[Score], bool]] = field(default_factory=dict)
    """The parts on which they are compared too: which rows belong to each."""

    def members(self, scores: list[Score]) -> dict[str, list[Score]]:
        """All rows, and those of each subset."""
        parts = {name: [s for s in scores if among(s)] for name, among in self.subsets.items()}
        return {ALL: scores, **parts}
