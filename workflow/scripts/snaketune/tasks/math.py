"""Scores of task `math`: the final number against the gold one."""

from decimal import Decimal

import pyarrow as pa

from snaketune.statistics.intervals import cluster_of
from snaketune.tasks.math_reader import canonical, flexible, rule_of
from snaketune.tasks.task import (
    ALL,
    FINISHES,
    Answered,
    Measurer,
    Metric,
    Outcome,
    Score,
    proportions,
)

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("cluster", pa.string()),  # questions of one template share it; null: none is known
        ("question", pa.string()),
        ("gold", pa.string()),
        ("output", pa.string()),
        ("parsed", pa.string()),  # the number by the eval's rule; null: unparsed
        ("parsed_flexible", pa.string()),
        ("correct", pa.bool_()),  # an unparsed answer is not correct
        ("correct_flexible", pa.bool_()),
        ("finish", pa.string()),
        ("new_tokens", pa.int64()),
    ]
)

OUTCOMES: dict[str, Outcome] = {
    "accuracy": lambda score: score["correct"],
    "accuracy_flexible": lambda score: score["correct_flexible"],
    "unparsed": lambda score: score["parsed"] is None,
    "unparsed_flexible": lambda score: score["parsed_flexible"] is None,
    **FINISHES,
}


def score(row: Answered) -> Score:
    """The row of one example. An overlong prompt was never answered: it stays in the count, as
    unparsed."""
    gold, rule = Decimal(row.example.gold), rule_of(row.protocol)
    output = row.prediction["output"]
    parsed, loose = rule.read(output), flexible(output)
    return {
        "id": row.example.id,
        "cluster": cluster_of(row.example),
        "question": row.example.question,
        "gold": row.example.gold,
        "output": output,
        "parsed": canonical(parsed),
        "parsed_flexible": canonical(loose),
        "correct": rule.right(parsed, gold),
        "correct_flexible": loose == gold,
        "finish": row.prediction["finish"],
        "new_tokens": row.prediction["new_tokens"],
    }


def metrics(eval_name: str, scores: list[Score]) -> list[Metric]:
    """Every outcome over all rows."""
    return proportions(eval_name, ALL, scores, OUTCOMES)


def counts(scores: list[Score]) -> dict[str, int]:
    """What `final_metrics` prints."""
    correct = sum(score["correct"] for score in scores)
    unparsed = sum(score["parsed"] is None for score in scores)
    return {"correct": correct, "unparsed": unparsed, "total": len(scores)}


MEASURER = Measurer(
    schema=SCHEMA,
    score=score,
    metrics=metrics,
    counts=counts,
    paired={name: OUTCOMES[name] for name in ("accuracy", "accuracy_flexible")},
)
