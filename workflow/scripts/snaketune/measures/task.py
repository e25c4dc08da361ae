"""What a task must know to be measured."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from snaketune.data.example import Example
from snaketune.measures.metrics import ALL, Metric, Outcome, Score


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
