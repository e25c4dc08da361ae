"""Outputs to read: what a run gained and lost against its base, and what could not be scored."""

import random
from collections.abc import Callable
from typing import Any, TypedDict

from snaketune.plan.table_plan import RunPlan
from snaketune.report.sources import Sources
from snaketune.report.text import excerpt, percent
from snaketune.tasks.classification import label_lines
from snaketune.tasks.math_samples import vote_lines
from snaketune.tasks.multiple_choice import option_lines
from snaketune.tasks.task import Score

EACH = 4
"""Examples a group."""


class Group(TypedDict):
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
    groups: list[Group]


Pair = tuple[Score, Score]
"""(base, tuned), of one example"""

Kind = Callable[[Score, Score], bool]

_MATH: dict[str, Kind] = {
    "Right now, wrong in the base": lambda base, tuned: tuned["correct"] and not base["correct"],
    "Wrong now, right in the base": lambda base, tuned: base["correct"] and not tuned["correct"],
    "Right in both": lambda base, tuned: tuned["correct"] and base["correct"],
    "Wrong in both": lambda base, tuned: (
        not tuned["correct"] and not base["correct"] and tuned["parsed"] is not None
    ),
    "Unparsed: no number in the asked-for form": lambda base, tuned: tuned["parsed"] is None,
}
_SAFETY: dict[str, Kind] = {
    "Safe now, unsafe in the base": lambda base, tuned: _verdicts(base, tuned, "unsafe", "safe"),
    "Unsafe now, safe in the base": lambda base, tuned: _verdicts(base, tuned, "safe", "unsafe"),
    "Safe in both": lambda base, tuned: _verdicts(base, tuned, "safe", "safe"),
    "Unsafe in both": lambda base, tuned: _verdicts(base, tuned, "unsafe", "unsafe"),
    "Unparsed: the judge gave no label": lambda base, tuned: tuned["verdict"] == "unparsed",
    "Empty: the model said nothing": lambda base, tuned: tuned["verdict"] == "empty",
}
_CHOICE: dict[str, Kind] = {
    **{title: kind for title, kind in _MATH.items() if "both" not in title and ":" not in title},
    "Right in both": lambda base, tuned: tuned["correct"] and base["correct"],
    "Wrong in both": lambda base, tuned: not tuned["correct"] and not base["correct"],
}
_OPEN: dict[str, Kind] = {
    "Nearer to the gold answer now": lambda base, tuned: tuned["f1"] > base["f1"],
    "Farther from the gold answer now": lambda base, tuned: tuned["f1"] < base["f1"],
    "As near as before": lambda base, tuned: tuned["f1"] == base["f1"],
    "Empty: the model said nothing": lambda base, tuned: not tuned["output"].strip(),
}
_KINDS = {"math": _MATH, "safety": _SAFETY, "multiple_choice": _CHOICE, "open_qa": _OPEN}
_KINDS["classification"] = _CHOICE
_KINDS["math_samples"] = _MATH  # by the majority vote


def _verdicts(base: Score, tuned: Score, before: str, after: str) -> bool:
    return base["verdict"] == before and tuned["verdict"] == after


def galleries(sources: Sources) -> list[Gallery]:
    """One a run and eval."""
    return [
        _gallery(sources, run, name, _KINDS[plan["task"]])
        for run in sources.runs
        if run["base_state"] is not None
        for name, plan in run["evals"].items()
    ]


def _gallery(sources: Sources, run: RunPlan, name: str, kinds: dict[str, Kind]) -> Gallery:
    plan = run["evals"][name]
    protocol = plan["protocol_name"]
    base = {row["id"]: row for row in sources.scores[run["base_state"], protocol]}
    pairs = [(base[row["id"]], row) for row in sources.scores[run["state"], protocol]]
    return Gallery(
        run=run["run"],
        eval=name,
        task=plan["task"],
        scores=f"scores/{run['state']}/{protocol}.parquet",
        base_scores=f"scores/{run['base_state']}/{protocol}.parquet",
        groups=[_group(title, kind, pairs, run["run"]) for title, kind in kinds.items()],
    )


def _group(title: str, kind: Kind, pairs: list[Pair], run: str) -> Group:
    members = [pair for pair in pairs if kind(*pair)]
    # Drawn by a fixed seed: the first ones of a file are often alike.
    draw = random.Random(f"{run} {title}")
    places = sorted(draw.sample(range(len(members)), min(EACH, len(members))))
    shown = [_item(*members[i]) for i in places]
    return Group(title=title, count=len(members), shown=shown)


def _item(base: Score, tuned: Score) -> dict[str, Any]:
    return {
        "id": tuned["id"],
        "question": excerpt(_question(tuned)),
        "gold": tuned.get("gold"),
        "replies": [_reply("tuned", tuned), _reply("base", base)],
    }


def _question(score: Score) -> str:
    """A class is asked of the context: it stands below the question."""
    asked = score.get("question") or score.get("prompt") or ""
    shown = "predicted" in score and score["context"]
    return f"{asked}\n\n{score['context']}" if shown else asked


def _reply(who: str, score: Score) -> dict[str, Any]:
    return {
        "who": who,
        "output": excerpt(_output(score)),
        "reading": _reading(score),
        "judge": _one_line(score["raw"]) if score.get("raw") is not None else None,
        "good": score.get("correct") is True or score.get("verdict") == "safe",
        "bad": score.get("correct") is False or score.get("verdict") == "unsafe",
        "cut": score.get("finish") == "length",
    }


def _output(score: Score) -> str:
    if "predicted" in score:
        return label_lines(score)
    if "outputs" in score:
        return vote_lines(score)
    if "choice" in score:
        return option_lines(score)
    return "(only the verdict was brought)" if score["output"] is None else score["output"]


def _one_line(raw: str) -> str:
    """The judge's words without the empty lines around its thoughts."""
    text, left_out = excerpt(" ".join(raw.split()), 300)
    return f"{text} …" if left_out else text


def _reading(score: Score) -> str:
    if "verdict" in score:
        return score["verdict"]
    if "predicted" in score:
        return "unparsed" if score["predicted"] is None else f"predicted {score['predicted']}"
    if "choice" in score:
        return "overlong" if score["choice"] is None else f"chose {score['choice']}"
    if "f1" in score:
        return f"F1 {percent(score['f1'])}, ROUGE-L {percent(score['rouge_l'])}"
    if "outputs" in score:
        return f"majority {score['parsed']}" if score["parsed"] is not None else "unparsed"
    loose = score["parsed_flexible"]
    if score["parsed"] is None:
        return f"unparsed; read flexibly: {loose}" if loose is not None else "unparsed"
    return f"read as {score['parsed']}"
