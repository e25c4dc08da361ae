"""Did fine-tuning help? One sentence for the experiment and one for each run, and open answers
before and after training.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any, TypedDict

from snaketune.plan.table_plan import RunPlan
from snaketune.report.sources import CsvRow, ReportSources
from snaketune.report.style import excerpt, optional, p_value, percent, points, points_interval
from snaketune.statistics.paired import BETTER, NOTHING, SAME, WORSE

FEW_SHOT = "few-shot example"
"""As training rows have it, why an example makes none by the config's own word."""

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
    elif (least := row.get("detectable")) and row["verdict"] == SAME:
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
