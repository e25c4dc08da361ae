"""Task `math`: the number that a worked solution arrives at, against the gold one.

An eval reads by one of the `RULES` of `numbers.py`, most of which ask for a format; `flexible`
stands beside it and asks whether the model arrived at the number whatever the format.
"""

from decimal import Decimal
from typing import ClassVar

import pyarrow as pa

from snaketune.tasks.math_rules import flexible, rule_of
from snaketune.tasks.numbers import canonical
from snaketune.tasks.task import (
    ALL,
    FINISHES,
    Answered,
    Metric,
    Outcome,
    Score,
    Task,
    cluster_of,
    shares_of_hits,
    task,
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


@task(goals=("accuracy", "accuracy_flexible"))
class Math(Task):
    """The final number against the gold one."""

    version = 2
    schema = SCHEMA
    paired: ClassVar = {name: OUTCOMES[name] for name in ("accuracy", "accuracy_flexible")}
    content: ClassVar = ("read flexibly", OUTCOMES["accuracy_flexible"])
    groups: ClassVar = {
        **Task.groups,
        "Wrong in both": lambda base, tuned: (
            not tuned["correct"] and not base["correct"] and tuned["parsed"] is not None
        ),
        "Unparsed: no number in the asked-for form": lambda base, tuned: tuned["parsed"] is None,
    }

    def score(self, row: Answered) -> Score:
        """The row of one example. An overlong prompt was never answered: it stays in the count, as
        unparsed."""
        gold, rule = Decimal(row.gold), rule_of(row.protocol)
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

    def metrics(self, eval_name: str, scores: list[Score]) -> list[Metric]:
        """Every outcome over all rows."""
        return shares_of_hits(eval_name, ALL, scores, OUTCOMES)

    def counts(self, scores: list[Score]) -> dict[str, int]:
        """What `final_metrics` prints."""
        correct = sum(score["correct"] for score in scores)
        unparsed = sum(score["parsed"] is None for score in scores)
        return {"correct": correct, "unparsed": unparsed, "total": len(scores)}

    def reading(self, score: Score) -> str:
        if score["parsed"] is not None:
            return f"read as {score['parsed']}"
        loose = score["parsed_flexible"]
        return f"unparsed; read flexibly: {loose}" if loose is not None else "unparsed"
