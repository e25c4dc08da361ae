"""The tables of single answers.

- `confusion` and `wrong_predictions`: what became of every class, and where it went wrong.
- `categories`: the hazards that judges named.
- `before_after`: every open answer of a run beside its base's, and what each metric gained.
- `voting`: what n samples of a question come to, by eval, state and n.
- `failures` and `unique_answers`: where samples held the right answer and nobody picked it.
"""

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

from snaketune.plan.table_plan import (
    CLASSIFICATION,
    MATH_SAMPLES,
    OPEN_QA,
    SAFETY,
    EvalPlan,
    RunPlan,
    TablePlan,
)
from snaketune.statistics.votes import best_answer, missed_by, most_answers
from snaketune.tables.sources import Row, TableSources, number_of
from snaketune.tasks.open_qa import MEANS, SHARES
from snaketune.tasks.safety import CATEGORY
from snaketune.tasks.task import ALL, Metric, Score

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
    return kept | {"predicted": _label_or_unparsed(score["predicted"])}


def _label_or_unparsed(predicted: str | None) -> str:
    return UNPARSED if predicted is None else predicted


def _surest(score: Score) -> tuple[float, str]:
    return -(score["confidence"] or 0.0), score["id"]


CATEGORY_COLUMNS = ["eval", "state", "protocol", "category", "value", "n", "low", "high"]


def category_rows(plan: TablePlan, sources: TableSources) -> list[Row]:
    """One row an eval, state and hazard that the judge named: of how many verdicts it did."""
    return [
        head | number_of(row) | {"category": row["subset"].removeprefix(CATEGORY)}
        for head, entry in _class_evals(plan, SAFETY)
        for row in sources.document(head["state"], entry)["rows"]
        if row["subset"].startswith(CATEGORY)
    ]


def _class_evals(plan: TablePlan, task: str = CLASSIFICATION) -> Iterator[tuple[Row, EvalPlan]]:
    """Every state's evals of a task, each base before its first run, each once."""
    seen = set()
    for run in plan.runs:
        for name, entry in run.evals.items():
            for state in (run.base_state, run.state):
                key = (name, state, entry.protocol_name)
                if entry.task == task and state is not None and key not in seen:
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
                    "predicted": _label_or_unparsed(predicted),
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


VOTING_METRICS = ["majority", "majority_expected", "best_of_n", "best_of_n_expected", "pass_at_n"]

VOTING_COLUMNS = ["eval", "state", "run", "protocol", "n", "questions"]
VOTING_COLUMNS += [
    name + end for name in (*VOTING_METRICS, "accuracy") for end in ("", "_low", "_high")
]


def voting_rows(plan: TablePlan, sources: TableSources) -> list[Row]:
    """A row an eval, state and n, each base before its first run. `accuracy`, the mean of single
    samples, is the same for every n."""
    return [
        row
        for name, state, run, entry in sampled_evals(plan)
        for row in _by_n(name, state, run, entry, sources)
    ]


def sampled_evals(plan: TablePlan) -> Iterator[tuple[str, str, str | None, EvalPlan]]:
    """Eval, state, run (None: a base) and protocol of all that was sampled, each once."""
    names = dict.fromkeys(name for run in plan.runs for name in run.evals)
    shown: set[tuple[str, str]] = set()
    runs = {run.state for run in plan.runs}
    for name in names:
        for run in plan.runs:
            entry = run.evals.get(name)
            if entry is None or entry.task != MATH_SAMPLES:
                continue
            for state in (run.base_state, run.state):
                known = (state, entry.protocol_name) in shown
                if state is not None and not known:
                    shown.add((state, entry.protocol_name))
                    yield name, state, state if state in runs else None, entry


def _by_n(
    name: str, state: str, run: str | None, entry: EvalPlan, sources: TableSources
) -> Iterator[Row]:
    by_n: dict[str, dict[str, Metric]] = {}
    for row in sources.document(state, entry)["rows"]:
        by_n.setdefault(row["subset"], {})[row["metric"]] = row
    single = {"accuracy": by_n.pop(ALL)["accuracy"]}
    for subset, found in by_n.items():
        yield {
            "eval": name,
            "state": state,
            "run": run,
            "protocol": entry.protocol_name,
            "n": int(subset.removeprefix("n=")),
            "questions": found["majority"]["n"],
            **_number_columns(found | single),
        }


def _number_columns(found: dict[str, Metric]) -> Row:
    columns: Row = {}
    for name, row in found.items():
        columns |= {name: row["value"], f"{name}_low": row["low"], f"{name}_high": row["high"]}
    return columns


_LISTS = ["answers", "right", "rewards", "outputs"]

FAILURE_COLUMNS = ["eval", "state", "run", "protocol", "id", "n", "unique_answers", "failed"]
FAILURE_COLUMNS += ["gold", "majority", "majority_votes", "best_of_n", "right_samples", "question"]
FAILURE_COLUMNS += _LISTS

UNIQUE_COLUMNS = ["eval", "state", "run", "protocol", "n", "unique_answers", "questions", "share"]
UNIQUE_COLUMNS += ["majority_right", "best_of_n_right", "right_present"]


def failure_rows(plan: TablePlan, sources: TableSources) -> list[Row]:
    """A row a failed question; within an eval and state the most different answers first. Lists of
    what each sample was are JSON."""
    table = []
    for name, state, run, entry in sampled_evals(plan):
        head = {"eval": name, "state": state, "run": run, "protocol": entry.protocol_name}
        rows = [s for s in sources.rows(state, entry) if missed_by(s)]
        table += [head | _failure_row(score) for score in sorted(rows, key=most_answers)]
    return table


def first_samples(score: Score, column: str) -> list | None:
    """A list of the score up to the largest n."""
    return None if score[column] is None else score[column][: score["at"][-1]]


def _failure_row(score: Score) -> Row:
    answers = score["answers"][: score["at"][-1]]
    lists = {name: first_samples(score, name) for name in _LISTS}
    return {
        "n": len(answers),
        "failed": missed_by(score),
        "majority": score["parsed"],
        "majority_votes": answers.count(score["parsed"]) if score["parsed"] else 0,
        "best_of_n": best_answer(score),
        "right_samples": sum(score["right"][: len(answers)]),
        **{key: score[key] for key in ("id", "unique_answers", "gold", "question")},
        **{k: None if v is None else json.dumps(v, ensure_ascii=False) for k, v in lists.items()},
    }


def unique_answer_rows(plan: TablePlan, sources: TableSources) -> list[Row]:
    """A row an eval, state and number of different answers: how many questions have it, and on how
    many of them majority and best of n are right and a right sample is there."""
    table = []
    for name, state, run, entry in sampled_evals(plan):
        head = {"eval": name, "state": state, "run": run, "protocol": entry.protocol_name}
        scores = sources.rows(state, entry)
        counts = Counter(score["unique_answers"] for score in scores)
        table += [head | _unique_row(number, scores) for number in sorted(counts)]
    return table


def _unique_row(number: int, scores: list[Score]) -> Row:
    members = [score for score in scores if score["unique_answers"] == number]
    rewarded = any(score["best_correct"] is not None for score in scores)
    return {
        "n": members[0]["at"][-1],
        "unique_answers": number,
        "questions": len(members),
        "share": len(members) / len(scores),
        "majority_right": sum(score["correct"] for score in members),
        "best_of_n_right": sum(s["best_correct"] for s in members) if rewarded else None,
        "right_present": sum(score["present"] for score in members),
    }
