"""`failures` and `unique_answers`: where samples held the right answer and nobody picked it."""

import json
from collections import Counter

from snaketune.plan.table_plan import TablePlan
from snaketune.tables.sources import Sources
from snaketune.tables.voting import sampled
from snaketune.tables.write import Row
from snaketune.tasks.task import Score

_LISTS = ["answers", "right", "rewards", "outputs"]

FAILURE_COLUMNS = ["eval", "state", "run", "protocol", "id", "n", "unique_answers", "failed"]
FAILURE_COLUMNS += ["gold", "majority", "majority_votes", "best_of_n", "right_samples", "question"]
FAILURE_COLUMNS += _LISTS

UNIQUE_COLUMNS = ["eval", "state", "run", "protocol", "n", "unique_answers", "questions", "share"]
UNIQUE_COLUMNS += ["majority_right", "best_of_n_right", "right_present"]

MAJORITY, BEST, BOTH = "majority", "best_of_n", "both"


def failed(score: Score) -> str | None:
    """Which of the two failed on a question whose samples, up to the largest n, hold a right
    answer; None: neither did, or no sample is right."""
    if not score["present"]:
        return None
    best = score["best_correct"] is False
    if score["correct"]:
        return BEST if best else None
    return BOTH if best else MAJORITY


def failures(plan: TablePlan, sources: Sources) -> list[Row]:
    """A row a failed question; within an eval and state the most different answers first. Lists of
    what each sample was are JSON."""
    table = []
    for name, state, run, entry in sampled(plan):
        head = {"eval": name, "state": state, "run": run, "protocol": entry.protocol_name}
        rows = [s for s in sources.rows(state, entry) if failed(s)]
        table += [head | _failure(score) for score in sorted(rows, key=most_answers)]
    return table


def most_answers(score: Score) -> tuple[int, str]:
    """The order of failures."""
    return -score["unique_answers"], score["id"]


def first_samples(score: Score, column: str) -> list | None:
    """A list of the score up to the largest n."""
    return None if score[column] is None else score[column][: score["at"][-1]]


def best_answer(score: Score) -> str | None:
    """The answer of the sample with the highest reward at the largest n; None: unparsed, or there
    are no rewards."""
    return None if score["best"] is None else score["answers"][score["best"][-1]]


def _failure(score: Score) -> Row:
    answers = first_samples(score, "answers")
    lists = {name: first_samples(score, name) for name in _LISTS}
    return {
        "n": len(answers),
        "failed": failed(score),
        "majority": score["parsed"],
        "majority_votes": answers.count(score["parsed"]) if score["parsed"] else 0,
        "best_of_n": best_answer(score),
        "right_samples": sum(first_samples(score, "right")),
        **{key: score[key] for key in ("id", "unique_answers", "gold", "question")},
        **{k: None if v is None else json.dumps(v, ensure_ascii=False) for k, v in lists.items()},
    }


def unique_answers(plan: TablePlan, sources: Sources) -> list[Row]:
    """A row an eval, state and number of different answers: how many questions have it, and on how
    many of them majority and best of n are right and a right sample is there."""
    table = []
    for name, state, run, entry in sampled(plan):
        head = {"eval": name, "state": state, "run": run, "protocol": entry.protocol_name}
        scores = sources.rows(state, entry)
        counts = Counter(score["unique_answers"] for score in scores)
        table += [head | _unique(number, scores) for number in sorted(counts)]
    return table


def _unique(number: int, scores: list[Score]) -> Row:
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
