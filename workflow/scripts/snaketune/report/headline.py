"""Did fine-tuning help? One sentence for the experiment and one for each run."""

from typing import TypedDict

from snaketune.plan.table_plan import RunPlan
from snaketune.report.sources import ReportSources
from snaketune.report.text import optional, p_value, percent, points, points_interval

# As `comparisons.csv` has them.
BETTER, WORSE, NOTHING = "better", "worse", "nothing to compare"
NO_DIFFERENCE = "no significant difference"

_FEWEST = 4
"""With fewer rows the score test can't fall below 0.05: 3 to none gives 0.08."""


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


def run_cards(sources: ReportSources) -> list[RunCard]:
    """What became of each run."""
    return [
        RunCard(
            run=sources.shown(run.run),
            model=run.model,
            findings=[_finding(sources, run, name) for name in run.evals],
        )
        for run in sources.runs
    ]


def headline(found: list[RunCard]) -> str:
    """The answer in a sentence, over all runs and evals."""
    by_eval: dict[str, list[str]] = {}
    for card in found:
        for finding in card["findings"]:
            by_eval.setdefault(finding["eval"], []).append(finding["verdict"])
    said: dict[str, list[str]] = {}
    for name, verdicts in by_eval.items():
        what, where = _clause(name, verdicts)
        said.setdefault(what, []).append(where)
    clauses = [f"{what} {_listed(where)}" for what, where in said.items()]
    return f"Fine-tuning {_listed(clauses)}." if clauses else "Nothing was compared."


def _clause(name: str, verdicts: list[str]) -> tuple[str, str]:
    """What it did, and where: evals with the same fate share a clause."""
    total = len(verdicts)
    better, worse = verdicts.count(BETTER), verdicts.count(WORSE)
    runs = f"of {total} runs" if total > 1 else "of 1 run"
    if better and worse:
        return "both helped and hurt on", f"{name} ({better} {runs} better, {worse} worse)"
    if better:
        return "helped on", f"{name} ({better} {runs} significantly better)"
    if worse:
        return "hurt on", f"{name} ({worse} {runs} significantly worse)"
    if verdicts.count(NOTHING) == total:
        return "could not be judged on", name
    return "made no significant difference on", name


def _listed(parts: list[str]) -> str:
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def _finding(sources: ReportSources, run: RunPlan, name: str) -> Finding:
    metric = run.evals[name].primary
    row = sources.comparison(run.run, name, metric)
    if run.base_state is None:
        sentence = f"{name}: predictions made elsewhere, compared with nothing."
        return Finding(eval=name, verdict=NOTHING, gain="", sentence=sentence)
    if row is None or not row["n"] or int(row["n"]) == 0:
        sentence = f"{name}: no row has an outcome for both models."
        return Finding(eval=name, verdict=NOTHING, gain="", sentence=sentence)
    base, tuned, gain = (float(row[key]) for key in ("base", "tuned", "difference"))
    span = points_interval(optional(row["low"]), optional(row["high"]))
    words = metric.replace("_", " ")
    sentence = (
        f"{name} {words}: {percent(base)} in the base, {percent(tuned)} tuned. Difference "
        f"{points(gain)} points{f' ({span})' if span else ''}, {p_value(float(row['p']))}, "
        f"{row['n']} rows."
    )
    if int(row["n"]) < _FEWEST:
        sentence += " So few rows can show no significant difference, whatever the answers."
    elif (least := row.get("detectable")) and row["verdict"] == NO_DIFFERENCE:
        sentence += f" So many rows show differences from {points(float(least))[1:]} points on."
    sentence += _format_note(sources, run.run, name, row["verdict"])
    return Finding(eval=name, verdict=row["verdict"], gain=points(gain), sentence=sentence)


def _format_note(sources: ReportSources, run: str, name: str, verdict: str) -> str:
    """A gain by the strict rule alone is a gain in format: say so."""
    row = sources.comparison(run, name, "accuracy_flexible")
    if row is None or not row["difference"] or row["verdict"] == verdict:
        return ""
    return (
        f" Read flexibly, the difference is {points(float(row['difference']))} points "
        f"({row['verdict']}, {p_value(float(row['p']))}): the strict figure is partly a matter of "
        "the answer's format."
    )
