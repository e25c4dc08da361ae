"""The tables of single answers: `confusion`, `wrong_predictions` and `before_after`.

- `confusion` and `wrong_predictions`: what became of every class, and where it went wrong.
- `before_after`: every open answer of a run beside its base's, and what each metric gained.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from snaketune.plan.table_plan import CLASSIFICATION, OPEN_QA, EvalPlan, RunPlan, TablePlan
from snaketune.tables.sources import Row, TableSources
from snaketune.tasks.open_qa import MEANS, SHARES
from snaketune.tasks.task import Score

UNPARSED = "unparsed"
LABEL = "label"
"""What the gold rows are split by, unless it is the group's field."""

CONFUSION_COLUMNS = ["eval", "state", "protocol", "by", "value", "predicted"]
CONFUSION_COLUMNS += ["count", "of", "share"]
WRONG_COLUMNS = ["eval", "state", "protocol", "id", "gold", "predicted", "confidence", "by"]
WRONG_COLUMNS += ["group", "question", "context", "output"]


def confusion_rows(plan: TablePlan, sources: TableSources) -> list[Row]:
    """One row an eval, state, gold label or group, and predicted label; the unparsed have a row
    where there are any. `of` is the rows of the label or group, `share` the count's part of it."""
    return [
        head | row
        for head, entry in _class_evals(plan)
        for row in _confusion_counts(sources.rows(head["state"], entry))
    ]


def wrong_prediction_rows(plan: TablePlan, sources: TableSources) -> list[Row]:
    """One row an eval, state and wrong prediction, by eval and state the most confident first;
    replies that were read as text have no confidence and come in the order of their ids."""
    return [
        head | _wrong_row(score)
        for head, entry in _class_evals(plan)
        for score in sorted(sources.rows(head["state"], entry), key=_surest)
        if not score["correct"]
    ]


def _wrong_row(score: Score) -> Row:
    kept = {key: score[key] for key in WRONG_COLUMNS if key in score}
    return kept | {"predicted": _shown(score["predicted"])}


def _shown(predicted: str | None) -> str:
    return UNPARSED if predicted is None else predicted


def _surest(score: Score) -> tuple[float, str]:
    return -(score["confidence"] or 0.0), score["id"]


def _class_evals(plan: TablePlan) -> Iterator[tuple[Row, EvalPlan]]:
    """Every state's evals of classes, each base before its first run, each once."""
    seen = set()
    for run in plan.runs:
        for name, entry in run.evals.items():
            for state in (run.base_state, run.state):
                key = (name, state, entry.protocol_name)
                if entry.task == CLASSIFICATION and state is not None and key not in seen:
                    seen.add(key)
                    yield dict(zip(("eval", "state", "protocol"), key, strict=True)), entry


def _confusion_counts(scores: list[Score]) -> Iterator[Row]:
    labels = scores[0]["labels"] if scores else []
    found = Counter(score["predicted"] for score in scores)
    columns = [*labels, *([None] if None in found else [])]
    groups = sorted({score["group"] for score in scores if score["group"] is not None})
    for by, key, values in [(LABEL, "gold", labels), (_group_field(scores), "group", groups)]:
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


def _group_field(scores: list[Score]) -> str | None:
    return scores[0]["by"] if scores else None


OPEN_METRICS = [*MEANS, *SHARES]
BEFORE_AFTER_COLUMNS = ["run", "base_state", "eval", "protocol", "id", "question", "context"]
BEFORE_AFTER_COLUMNS += ["gold", "short", "base_output", "tuned_output"]
BEFORE_AFTER_COLUMNS += [
    f"{name}_{part}" for name in OPEN_METRICS for part in ("base", "tuned", "change")
]
BEFORE_AFTER_COLUMNS += ["gold_words", "words_base", "words_tuned", "words_change"]


def before_after_rows(plan: TablePlan, sources: TableSources) -> list[Row]:
    """One row a run, eval and example; within a run and eval the worst loss in F1 first."""
    return [
        row
        for run in plan.runs
        if run.base_state is not None
        for name, entry in run.evals.items()
        if entry.task == OPEN_QA
        for row in _pairs_of(run, run.base_state, name, sources)
    ]


def _pairs_of(run: RunPlan, base_state: str, name: str, sources: TableSources) -> list[Row]:
    plan = run.evals[name]
    base = {score["id"]: score for score in sources.rows(base_state, plan)}
    head = {
        "run": run.run,
        "base_state": base_state,
        "eval": name,
        "protocol": plan.protocol_name,
    }
    tuned = sources.rows(run.state, plan)
    rows = [head | _pair_row(base[score["id"]], score) for score in tuned]
    return sorted(rows, key=lambda r: (r["f1_change"] or 0, r["rouge_l_change"] or 0, r["id"]))


def _pair_row(base: dict[str, Any], tuned: dict[str, Any]) -> Row:
    row = {key: tuned[key] for key in ("id", "question", "context", "gold", "short", "gold_words")}
    row |= {"base_output": base["output"], "tuned_output": tuned["output"]}
    for name in OPEN_METRICS:
        before, after = base[name], tuned[name]
        change = None if before is None or after is None else after - before
        row |= {f"{name}_base": before, f"{name}_tuned": after, f"{name}_change": change}
    before, after = base["words"], tuned["words"]
    return row | {"words_base": before, "words_tuned": after, "words_change": after - before}
