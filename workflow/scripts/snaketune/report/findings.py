"""Did fine-tuning help? The verdicts of `tables/verdict.py`; and open answers before and after
training.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any, TypedDict

from snaketune.data.example import FEW_SHOT
from snaketune.plan.table_plan import GATE_SIGNS, compared_in, level_figure, p_figure
from snaketune.report.results import Row
from snaketune.report.sources import CsvRow, ReportSources
from snaketune.report.style import (
    MISSING,
    change,
    change_interval,
    excerpt,
    optional,
    points,
)


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
    single = _single(sources)
    models = {result["run"]: result["model"] for result in sources.final["runs"]}
    return [
        RunCard(
            run=_named(sources, result),
            model=models[result.get("runs", [result["run"]])[0]],
            findings=[_finding(result, name) for name in result["verdicts"]],
            single=result["run"] in single,
        )
        for result in _results(sources)
    ]


def _results(sources: ReportSources) -> list[dict[str, Any]]:
    return [*sources.final.get("joined", []), *sources.final["runs"]]


def _single(sources: ReportSources) -> set[str]:
    """The runs that are joined as seeds: the answer counts what joins them."""
    return {run for result in sources.final.get("joined", []) for run in result["runs"]}


def _named(sources: ReportSources, result: Mapping[str, Any]) -> str:
    if "runs" in result:
        return f"{result['run']}: {len(result['runs'])} seeds"
    return sources.shown(result["run"])


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
    compared = compared_in(said)
    metric = result["evals"][name]["metric"]
    gain = change(compared["difference"], metric) if compared["n"] else ""
    return Finding(
        eval=name, verdict=said["kind"], gain=gain, sentence=f"{name}. {said['sentence']}"
    )


class Effect(TypedDict):
    """A run, or seeds that are joined, against the base on one eval, by the primary metric."""

    run: str
    eval: str
    metric: str
    difference: float | None
    """None where no row has an outcome for both."""
    low: float | None
    high: float | None
    verdict: str
    """Its kind: see `tables/verdict.py`."""
    cells: dict[str, str]
    """What readers see."""


def effects(sources: ReportSources) -> list[Effect]:
    """One a run and eval, by eval; none of a run that is compared with nothing. Seeds that are
    joined count once, as in the answer above."""
    single = _single(sources)
    return [
        _effect(sources, result, name)
        for name in sources.tasks()
        for result in _results(sources)
        if result["run"] not in single
        and name in result["verdicts"]
        and result["verdicts"][name]["evidence"] is not None
    ]


def _effect(sources: ReportSources, result: Mapping[str, Any], name: str) -> Effect:
    """As the verdict has it."""
    said, metric = result["verdicts"][name], result["evals"][name]["metric"]
    found = compared_in(said)
    known = found if found["n"] else {}
    difference, low, high, base, tuned, p = (
        known.get(key) for key in ("difference", "low", "high", "base", "tuned", "p_holm")
    )
    return Effect(
        run=_named(sources, result),
        eval=name,
        metric=metric.replace("_", " "),
        difference=difference,
        low=low,
        high=high,
        verdict=said["kind"],
        cells={
            "base": _figure(base, metric),
            "tuned": _figure(tuned, metric),
            "points": change(difference, metric),
            "interval": change_interval(low, high, metric),
            "n": f"{found['n']:,}",
            "p": "" if p is None else p_figure(p),
        },
    )


def _figure(value: float | None, metric: str) -> str:
    return MISSING if value is None else level_figure(value, metric)


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


def gate_table(sources: ReportSources) -> Row:
    """Every check of the gate and what came of them; one without checks is none."""
    found = sources.gate
    checks = [
        check | {"run": sources.shown(check["run"]), "sign": GATE_SIGNS[check["outcome"]]}
        for check in found["checks"]
    ]
    passed = sum(check["outcome"] == "passed" for check in checks)
    return {"outcome": found["outcome"], "checks": checks, "passed": passed}
