"""`confusion` and `wrong_predictions`: what became of every class, and where it went wrong."""

from collections import Counter
from collections.abc import Iterator

from snaketune.plan.table_plan import CLASSIFICATION, EvalPlan, TablePlan
from snaketune.tables.sources import Sources
from snaketune.tables.write import Row
from snaketune.tasks.task import Score

UNPARSED = "unparsed"
LABEL = "label"
"""What the gold rows are split by, unless it is the group's field."""

CONFUSION_COLUMNS = [
    "eval",
    "state",
    "protocol",
    "by",
    "value",
    "predicted",
    "count",
    "of",
    "share",
]
WRONG_COLUMNS = ["eval", "state", "protocol", "id", "gold", "predicted", "confidence", "by"]
WRONG_COLUMNS += ["group", "question", "context", "output"]


def confusion(plan: TablePlan, sources: Sources) -> list[Row]:
    """One row an eval, state, gold label or group, and predicted label; the unparsed have a row
    where there are any. `of` is the rows of the label or group, `share` the count's part of it."""
    return [
        head | row
        for head, entry in _evals(plan)
        for row in _confused(sources.rows(head["state"], entry))
    ]


def wrong_predictions(plan: TablePlan, sources: Sources) -> list[Row]:
    """One row an eval, state and wrong prediction, by eval and state the most confident first;
    replies that were read as text have no confidence and come in the order of their ids."""
    return [
        head | _wrong(score)
        for head, entry in _evals(plan)
        for score in sorted(sources.rows(head["state"], entry), key=_surest)
        if not score["correct"]
    ]


def _wrong(score: Score) -> Row:
    kept = {key: score[key] for key in WRONG_COLUMNS if key in score}
    return kept | {"predicted": _shown(score["predicted"])}


def _shown(predicted: str | None) -> str:
    return UNPARSED if predicted is None else predicted


def _surest(score: Score) -> tuple[float, str]:
    return -(score["confidence"] or 0.0), score["id"]


def _evals(plan: TablePlan) -> Iterator[tuple[Row, EvalPlan]]:
    """Every state's evals of classes, each base before its first run, each once."""
    seen = set()
    for run in plan.runs:
        for name, entry in run.evals.items():
            for state in (run.base_state, run.state):
                key = (name, state, entry.protocol_name)
                if entry.task == CLASSIFICATION and state is not None and key not in seen:
                    seen.add(key)
                    yield dict(zip(("eval", "state", "protocol"), key, strict=True)), entry


def _confused(scores: list[Score]) -> Iterator[Row]:
    labels = scores[0]["labels"] if scores else []
    found = Counter(score["predicted"] for score in scores)
    columns = [*labels, *([None] if None in found else [])]
    groups = sorted({score["group"] for score in scores if score["group"] is not None})
    for by, key, values in [(LABEL, "gold", labels), (_field(scores), "group", groups)]:
        for value in values:
            members = Counter(score["predicted"] for score in scores if score[key] == value)
            total = members.total()
            for predicted in columns:
                yield {
                    "by": by,
                    "value": value,
                    "predicted": _shown(predicted),
                    "count": members[predicted],
                    "of": total,
                    "share": members[predicted] / total if total else None,
                }


def _field(scores: list[Score]) -> str | None:
    return scores[0]["by"] if scores else None
