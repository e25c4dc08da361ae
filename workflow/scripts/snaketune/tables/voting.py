"""The tables of several samples a question: `voting`, `failures` and `unique_answers`.

- `voting`: what n samples of a question come to, by eval, state and n.
- `failures` and `unique_answers`: where samples held the right answer and nobody picked it.
"""

import json
from collections import Counter
from collections.abc import Iterator

from snaketune.plan.table_plan import MATH_SAMPLES, EvalPlan, TablePlan
from snaketune.statistics.votes import best_answer, missed_by, most_answers
from snaketune.tables.sources import Row, TableSources
from snaketune.tasks.task import ALL, Metric, Score

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
