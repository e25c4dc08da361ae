"""Several samples of each question: what they come to, and where the right answer was missed."""

from typing import TypedDict

from snaketune.plan.table_plan import MATH_SAMPLES
from snaketune.report.sources import Cell, CsvRow, Json, ReportSources
from snaketune.report.style import excerpt, interval, optional, percent
from snaketune.runtime.errors import visible
from snaketune.statistics.votes import BEST, BOTH, MAJORITY, best_answer, missed_by, most_answers
from snaketune.tasks.task import Score

SHOWN = 8
"""Failures a state on the report's page, and samples of each; all of them are on the eval's own."""
QUESTION, EXCERPT = 1200, 700

_WORDS = {
    MAJORITY: "The majority missed it, the best of n did not",
    BEST: "The best of n missed it, the majority did not",
    BOTH: "Majority and best of n missed it",
}
_MISSED = "The majority missed it"  # where there is no best of n


class MissedQuestions(TypedDict):
    """A state's questions by what became of the right answer."""

    state: str
    file: str
    counts: list[tuple[str, str]]
    at_least: int
    count: int
    """Failures with at least so many different answers; the most of them come first."""
    shown: list[Json]


class SampleTable(TypedDict):
    """One eval."""

    eval: str
    page: str
    """The file with every failure, and as text beside it."""
    columns: list[str]
    rows: list[Json]
    """A row a state and n."""
    failures: list[MissedQuestions]


def sample_tables(sources: ReportSources) -> list[SampleTable]:
    """One an eval of samples, in the order of the runs."""
    return [
        _sample_table(sources, name)
        for name, task in sources.tasks().items()
        if task == MATH_SAMPLES
    ]


def _sample_table(sources: ReportSources, name: str) -> SampleTable:
    rows = sources.labelled(sources.voting, name)
    columns = [key for key in _TITLES if any(row[key] for row in rows)]
    shown = [
        {
            "state": row["label"],
            "is_base": not row["run"],
            "n": row["n"],
            "cells": [_cell(row, key) for key in columns],
        }
        for row in rows
    ]
    return SampleTable(
        eval=name,
        page=f"failures/{name}.html",
        columns=[_TITLES[key] for key in columns],
        rows=shown,
        failures=missed_questions(sources, name),
    )


_TITLES = {
    "majority": "majority",
    "majority_expected": "majority, expected",
    "best_of_n": "best of n",
    "best_of_n_expected": "best of n, expected",
    "pass_at_n": "pass@n",
    "accuracy": "single sample",
}


def _cell(row: CsvRow, key: str) -> Json:
    span = interval(optional(row[f"{key}_low"]), optional(row[f"{key}_high"]))
    return {"value": percent(optional(row[key])), "interval": span}


def missed_questions(
    sources: ReportSources, name: str, whole: bool = False
) -> list[MissedQuestions]:
    """One a state of the eval; `whole`: with every failure, and all that its samples say."""
    return [_missed_by_state(sources, cell, name, whole) for cell, _ in sources.cells(name)]


def _missed_by_state(sources: ReportSources, cell: Cell, name: str, whole: bool) -> MissedQuestions:
    scores = sources.scores[cell]
    at_least = sources.at_least.get(cell[1], 1)
    members = [s for s in scores if missed_by(s) and s["unique_answers"] >= at_least]
    members.sort(key=most_answers)
    return MissedQuestions(
        state=sources.label(cell, name),
        file=f"scores/{cell[0]}/{cell[1]}.parquet",
        counts=_counts(scores),
        at_least=at_least,
        count=len(members),
        shown=[_item(score, whole) for score in (members if whole else members[:SHOWN])],
    )


def _counts(scores: list[Score]) -> list[tuple[str, str]]:
    """How many questions ended how, with their share."""
    kinds = [missed_by(score) for score in scores]
    present = sum(score["present"] for score in scores)
    found = {"A right sample was there": present}
    if any(score["best_correct"] is not None for score in scores):
        found |= {_WORDS[kind]: kinds.count(kind) for kind in (MAJORITY, BEST, BOTH)}
    else:
        found[_MISSED] = kinds.count(MAJORITY)
    found["No sample was right"] = len(scores) - present
    return [(words, f"{n:,} ({percent(n / len(scores))})") for words, n in found.items()]


def _item(score: Score, whole: bool) -> Json:
    size = score["at"][-1]
    rewards, kind = score["rewards"], missed_by(score)
    limits = (None, None) if whole else (QUESTION, EXCERPT)
    samples = [
        {
            "number": i + 1,
            "right": score["right"][i],
            "answer": score["answers"][i],
            "reward": _reward(rewards[i]) if rewards else None,
            "output": _cut(score["outputs"][i], limits[1]),
        }
        for i in range(size if whole else min(size, SHOWN))
    ]
    return {
        "id": score["id"],
        "question": _cut(score["question"], limits[0]),
        "gold": score["gold"],
        "failed": _WORDS[kind] if kind and rewards else _MISSED,
        "majority": score["parsed"],
        "best": best_answer(score) or "unparsed" if rewards else None,
        "unique": score["unique_answers"],
        "samples": samples,
        "left_out": size - len(samples),
    }


def _cut(text: str, limit: int | None) -> tuple[str, int]:
    return (visible(text), 0) if limit is None else excerpt(text, limit)


def _reward(value: float | None) -> str:
    return "no reward" if value is None else f"reward {value:.2f}".replace("-", "−")
