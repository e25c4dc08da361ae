"""Did fine-tuning help? One sentence for the experiment and one for each run."""

from typing import TypedDict

from snaketune.measures.paired import BETTER, SAME, WORSE
from snaketune.report.sources import Sources
from snaketune.report.text import p_value, percent, points, points_interval
from snaketune.tables.plan_types import RunPlan


class Finding(TypedDict):
    """A run on one eval."""

    eval: str
    verdict: str
    gain: str
    """Points, with sign."""
    sentence: str


class Card(TypedDict):
    """A run."""

    run: str
    model: str
    findings: list[Finding]


def cards(sources: Sources) -> list[Card]:
    """What became of each run."""
    return [
        Card(
            run=run["run"],
            model=run["model"],
            findings=[_finding(sources, run, name) for name in run["evals"]],
        )
        for run in sources.runs
    ]


def headline(found: list[Card]) -> str:
    """The answer in a sentence, over all runs and evals."""
    verdicts = [finding["verdict"] for card in found for finding in card["findings"]]
    if not verdicts:
        return "Nothing was compared."
    parts = [
        f"{verdicts.count(kind)} {words}"
        for kind, words in [
            (BETTER, "significantly better"),
            (WORSE, "significantly worse"),
            (SAME, "without a significant difference"),
        ]
        if kind in verdicts
    ]
    return (
        f"{_opening(verdicts)} Of {_count(len(verdicts), 'comparison')} of a tuned model with its "
        f"base, {_listed(parts)}."
    )


def _opening(verdicts: list[str]) -> str:
    if BETTER in verdicts:
        also = ", and hurt in places" if WORSE in verdicts else ""
        return f"Fine-tuning helped{also}."
    return "Fine-tuning hurt." if WORSE in verdicts else "Fine-tuning made no difference to see."


def _count(n: int, thing: str) -> str:
    return f"{n} {thing}" + ("" if n == 1 else "s")


def _listed(parts: list[str]) -> str:
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts) or "none"


def _finding(sources: Sources, run: RunPlan, name: str) -> Finding:
    metric = run["evals"][name]["primary"]
    row = sources.comparison(run["run"], name, metric)
    if row is None or not row["n"] or int(row["n"]) == 0:
        sentence = f"{name}: no row has an outcome for both models."
        return Finding(eval=name, verdict="nothing to compare", gain="", sentence=sentence)
    base, tuned, gain = (float(row[key]) for key in ("base", "tuned", "difference"))
    span = points_interval(float(row["low"]), float(row["high"]))
    words = metric.replace("_", " ")
    sentence = (
        f"{name} {words} {_moved(gain)} from {percent(base)} to {percent(tuned)}: {points(gain)} "
        f"points ({span}), {row['verdict']}, {p_value(float(row['p']))}, {row['n']} rows."
    )
    sentence += _format_note(sources, run["run"], name, row["verdict"])
    return Finding(eval=name, verdict=row["verdict"], gain=points(gain), sentence=sentence)


def _moved(gain: float) -> str:
    return "rose" if gain > 0 else "fell" if gain < 0 else "stayed, going"


def _format_note(sources: Sources, run: str, name: str, verdict: str) -> str:
    """A gain by the strict rule alone is a gain in format: say so."""
    row = sources.comparison(run, name, "accuracy_flexible")
    if row is None or not row["difference"] or row["verdict"] == verdict:
        return ""
    return (
        f" Read flexibly, the difference is {points(float(row['difference']))} points "
        f"({row['verdict']}, {p_value(float(row['p']))}): the strict figure is partly a matter of "
        "the answer's format."
    )
