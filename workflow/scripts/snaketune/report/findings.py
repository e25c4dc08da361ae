"""Did fine-tuning help? The verdicts of `tables/verdict.py`; and outputs to read: what a run gained
and lost against its base, what could not be scored, and open answers before and after training.
"""

import random
from collections import Counter
from collections.abc import Mapping
from typing import Any, TypedDict

from snaketune.data.example import FEW_SHOT
from snaketune.plan.table_plan import RunPlan
from snaketune.report.sources import CsvRow, ReportSources
from snaketune.report.style import excerpt, optional, points
from snaketune.tasks.task import Score, Task, task_of


class Finding(TypedDict):
    """A run on one eval."""

    eval: str
    verdict: str
    gain: str
    """Points, with sign."""
    sentence: str


class RunCard(TypedDict):
    """A run."""

    run: str
    model: str
    findings: list[Finding]
    single: bool
    """One of seeds that are joined, of which the headline counts what joins them."""


def run_cards(sources: ReportSources) -> list[RunCard]:
    """What became of each run; seeds that are joined come first, as one."""
    joined: list[dict[str, Any]] = sources.final.get("joined", [])
    single = {run for result in joined for run in result["runs"]}
    models = {result["run"]: result["model"] for result in sources.final["runs"]}
    cards = [
        RunCard(
            run=f"{result['run']}: {len(result['runs'])} seeds",
            model=models[result["runs"][0]],
            findings=[_finding(result, name) for name in result["verdicts"]],
            single=False,
        )
        for result in joined
    ]
    return cards + [
        RunCard(
            run=sources.shown(result["run"]),
            model=result["model"],
            findings=[_finding(result, name) for name in result["verdicts"]],
            single=result["run"] in single,
        )
        for result in sources.final["runs"]
    ]


def headline(sources: ReportSources) -> str:
    """The answer, a sentence an eval, over all its runs."""
    return " ".join(sources.final["headline"]) or "Nothing was compared."


def dropped_rows(stats: Mapping[str, Mapping[str, Any]]) -> str:
    """What made no training row, by reason, in a sentence; empty where everything did. `stats` are
    those of the token sets. Few-shot examples leave training by the config's own word."""
    reasons: Counter[str] = Counter()
    for found in stats.values():
        for split in found["splits"].values():
            reasons.update(split["dropped"])
    reasons.pop(FEW_SHOT, None)
    if not reasons:
        return ""
    listed = ", ".join(f"{reason} ({count})" for reason, count in reasons.most_common())
    return f" {reasons.total()} examples made no training row: {listed}."


def _finding(result: Mapping[str, Any], name: str) -> Finding:
    said = result["verdicts"][name]
    compared = said["evidence"]["compared"] if said["evidence"] else {"n": 0}
    gain = points(compared["difference"]) if compared["n"] else ""
    return Finding(
        eval=name, verdict=said["kind"], gain=gain, sentence=f"{name}. {said['sentence']}"
    )


EACH = 4
"""Examples a group."""


class ExampleGroup(TypedDict):
    """Some examples of one kind."""

    title: str
    count: int
    """How many there are; `EACH` of them are shown."""
    shown: list[dict[str, Any]]


class Gallery(TypedDict):
    """A run on one eval."""

    run: str
    eval: str
    task: str
    scores: str
    base_scores: str
    groups: list[ExampleGroup]


Pair = tuple[Score, Score]
"""(base, tuned), of one example"""


def galleries(sources: ReportSources) -> list[Gallery]:
    """One a run and eval."""
    return [
        _gallery(sources, run, base_state, name)
        for run in sources.runs
        if (base_state := run.base_state) is not None
        for name in run.evals
    ]


def _gallery(sources: ReportSources, run: RunPlan, base_state: str, name: str) -> Gallery:
    plan = run.evals[name]
    task = task_of(plan.task)
    protocol = plan.protocol_name
    base = {row["id"]: row for row in sources.scores[base_state, protocol]}
    pairs = [(base[row["id"]], row) for row in sources.scores[run.state, protocol]]
    return Gallery(
        run=run.run,
        eval=name,
        task=plan.task,
        scores=f"scores/{run.state}/{protocol}.parquet",
        base_scores=f"scores/{base_state}/{protocol}.parquet",
        groups=[_group(task, title, pairs, run.run) for title in task.groups],
    )


def _group(task: Task, title: str, pairs: list[Pair], run: str) -> ExampleGroup:
    members = [pair for pair in pairs if task.groups[title](*pair)]
    # Drawn by a fixed seed: the first ones of a file are often alike.
    draw = random.Random(f"{run} {title}")
    places = sorted(draw.sample(range(len(members)), min(EACH, len(members))))
    shown = [_item(task, *members[i]) for i in places]
    return ExampleGroup(title=title, count=len(members), shown=shown)


def _item(task: Task, base: Score, tuned: Score) -> dict[str, Any]:
    return {
        "id": tuned["id"],
        "question": excerpt(task.question(tuned)),
        "gold": tuned.get("gold"),
        "replies": [_reply(task, "tuned", tuned), _reply(task, "base", base)],
    }


def _reply(task: Task, who: str, score: Score) -> dict[str, Any]:
    return {
        "who": who,
        "output": excerpt(task.output(score)),
        "reading": task.reading(score),
        "judge": _one_line(score["raw"]) if score.get("raw") is not None else None,
        "good": score.get("correct") is True or score.get("verdict") == "safe",
        "bad": score.get("correct") is False or score.get("verdict") == "unsafe",
        "cut": score.get("finish") == "length",
    }


def _one_line(raw: str) -> str:
    """The judge's words without the empty lines around its thoughts."""
    text, left_out = excerpt(" ".join(raw.split()), 300)
    return f"{text} …" if left_out else text


ANSWERS_SHOWN = 40
"""Open answers a table; all of them are in the CSV."""


class AnswerTable(TypedDict):
    """A run on one eval of open answers."""

    run: str
    eval: str
    metrics: list[str]
    count: int
    rows: list[dict[str, Any]]


def answers_side_by_side(sources: ReportSources) -> list[AnswerTable]:
    """One a run and eval; with more than `ANSWERS_SHOWN` answers the worst and the best."""
    by_table: dict[tuple[str, str], list[CsvRow]] = {}
    for row in sources.before_after:
        by_table.setdefault((row["run"], row["eval"]), []).append(row)
    return [
        AnswerTable(
            run=sources.shown(run),
            eval=name,
            metrics=[metric.replace("_", " ") for metric in _metrics(rows[0])],
            count=len(rows),
            rows=[_row(row) for row in _ends(rows)],
        )
        for (run, name), rows in by_table.items()
    ]


def _metrics(row: CsvRow) -> list[str]:
    """What answers are scored by, as the table's columns say."""
    changes = (name for name in row if name.endswith("_change") and name != "words_change")
    return [name.removesuffix("_change") for name in changes]


def _ends(rows: list[CsvRow]) -> list[CsvRow]:
    half = ANSWERS_SHOWN // 2
    return rows if len(rows) <= ANSWERS_SHOWN else [*rows[:half], *rows[-half:]]


def _row(row: CsvRow) -> dict[str, Any]:
    texts = {key: excerpt(row[key], 400) for key in ("gold", "base_output", "tuned_output")}
    return {
        "id": row["id"],
        "question": excerpt(row["question"], 200),
        **texts,
        "changes": [points(optional(row[f"{metric}_change"])) for metric in _metrics(row)],
        "words": f"{int(row['words_change']):+d}".replace("-", "−"),
    }
