"""The main tables: every eval by state with intervals and what it was measured under, thresholds,
results over seeds, and how much worse states are on one eval than on another.
"""

from typing import Any, TypedDict

from snaketune.plan.table_plan import PLAIN, EvalPlan, level_figure
from snaketune.report.classes import PICKED, LetterTable, chosen_letters
from snaketune.report.sources import Cell, CsvRow, ReportSources
from snaketune.report.style import (
    HAZARD_GROUP,
    MISSING,
    change,
    change_interval,
    interval,
    optional,
    p_value,
    percent,
    subset_name,
    visible,
)
from snaketune.statistics.paired import BETTER, SAME, WORSE
from snaketune.tasks.safety import CATEGORY
from snaketune.tasks.task import ALL, task_of

Row = dict[str, Any]
Line = tuple[str, list[Row | None]]
"""A name and a cell a state; None where the state has no such number."""


class ResultTable(TypedDict):
    """One eval."""

    eval: str
    metric: str
    rows: list[Row]
    further: list[Line]
    """Every other metric over all rows: a cell a state, in the order of `rows`."""
    letters: list[LetterTable]
    """Multiple choice: chosen letters by gold letter."""
    subsets: list[Line]
    """The primary metric by subset, likewise, and all metrics where states are compared on the
    subset too; [] where the eval has none."""
    categories: list[Line]
    """How often the judge named each hazard, likewise; [] where it named none."""


def result_tables(sources: ReportSources) -> list[ResultTable]:
    """One an eval, in the order of the runs."""
    return [_table(sources, name) for name in sources.tasks()]


def _table(sources: ReportSources, name: str) -> ResultTable:
    cells = sources.cells(name)
    metric = cells[0][1].primary
    return ResultTable(
        eval=name,
        metric=metric.replace("_", " "),
        rows=[_row(sources, name, cell, plan) for cell, plan in cells],
        further=_pivot([_further(sources, cell, name, plan) for cell, plan in cells]),
        letters=chosen_letters(sources, name),
        subsets=_pivot([_subsets(sources, cell, name, plan) for cell, plan in cells]),
        categories=_pivot([_categories(sources, cell) for cell, _ in cells]),
    )


def _row(sources: ReportSources, name: str, cell: Cell, plan: EvalPlan) -> Row:
    state, protocol = cell
    return {
        "state": sources.label(cell, name),
        "is_base": state not in sources.run_of,
        "protocol": protocol,
        "counts": _counts(sources.metrics[cell]["counts"]),
        "scores": f"scores/{state}/{protocol}.parquet",
        "change": _change(sources, state, name, plan.primary),
        "verdict": _kind(sources, sources.run_of.get(state), name),
        **_value_cells(sources.primary(cell, plan)),
    }


def _counts(counts: dict[str, int]) -> list[str]:
    """`75 correct`, `11 unparsed`, `120 in all`"""
    always = [kind for kind in ("correct", "safe", "unsafe", "exact") if kind in counts]
    apart = [kind for kind in ("unparsed", "empty") if counts.get(kind)]
    parts = [f"{counts[kind]:,} {kind}" for kind in (*always, *apart)]
    return [*parts, f"{counts['total']:,} in all"]


def _value_cells(row: Row) -> Row:
    if row["metric"] in PLAIN and row["value"] is not None:
        span = "" if row["low"] is None else f"{row['low']:.3f} to {row['high']:.3f}"
        return {"value": f"{row['value']:.3f}", "interval": span, "n": f"{row['n']:,}"}
    return {
        "value": percent(row["value"]),
        "interval": interval(row["low"], row["high"]),
        "n": f"{row['n']:,}",
    }


def _change(
    sources: ReportSources, state: str, name: str, metric: str, subset: str = ALL
) -> Row | None:
    """Against the state's base; None for a base, and where nothing was compared."""
    run = sources.run_of.get(state)
    return _against(sources, run, name, metric, subset) if run else None


def _kind(sources: ReportSources, run: str | None, name: str) -> str:
    """The verdict's kind on a run, or on seeds that are joined; empty for a base."""
    results = [*sources.final["runs"], *sources.final.get("joined", [])]
    return next((r["verdicts"][name]["kind"] for r in results if r["run"] == run), "")


def _against(
    sources: ReportSources, run: str, name: str, metric: str, subset: str = ALL
) -> Row | None:
    """A run, or a row that joins seeds, against its base."""
    row = sources.comparison(run, name, metric, subset)
    if not row or not row["difference"]:
        return None
    return {
        **_difference(row, metric),
        "p": p_value(float(row["p"])),
        **_care(row),
        "significant": _SIGNIFICANT.get(row["verdict"], ""),
        "pairs": row["n"],
        "gained": row["only_tuned"],
        "lost": row["only_base"],
        "left_out": int(row["left_out"]),
    }


# By the adjusted p alone, which says nothing of form, guessing and overlap.
_SIGNIFICANT = {BETTER: "▲ significant", WORSE: "▼ significant"}


def _difference(row: CsvRow, metric: str) -> Row:
    """In points; of what is no share in its own numbers."""
    low, high = optional(row["low"]), optional(row["high"])
    found = {"points": change(float(row["difference"]), metric)}
    return found | {"interval": change_interval(low, high, metric)}


_FEW_GROUPS = 20


def _care(row: CsvRow) -> Row:
    """What else to know of a difference: its p among those of all runs, what so many rows could
    show, and whether its groups are few. Tables made before have no such columns."""
    p, adjusted, least = float(row["p"]), row.get("p_holm"), row.get("detectable")
    groups = row.get("groups")
    nothing = row["verdict"] == SAME
    return {
        "adjusted": p_value(float(adjusted)) if adjusted and float(adjusted) != p else "",
        "detectable": f"such rows show {percent(float(least))} with 80 % power"
        if nothing and least
        else "",
        "few_groups": groups if groups and int(groups) < _FEW_GROUPS else "",
    }


def _pivot(states: list[dict[str, Row]]) -> list[Line]:
    """Rows of each state by name, as one line a name."""
    names = dict.fromkeys(name for found in states for name in found)
    return [(name, [found.get(name) for found in states]) for name in names]


def _further(sources: ReportSources, cell: Cell, name: str, plan: EvalPlan) -> dict[str, Row]:
    return {
        row["metric"].replace("_", " "): _compared(sources, cell, name, row)
        for row in sources.metrics[cell]["rows"]
        if row["subset"] == ALL
        and row["metric"] != plan.primary
        and not row["metric"].startswith(PICKED)
    }


def _compared(sources: ReportSources, cell: Cell, name: str, row: Row) -> Row:
    """A number with what it gained against the base, where the two were compared."""
    change = _change(sources, cell[0], name, row["metric"], row["subset"])
    return {**_value_cells(row), "change": change}


def _subsets(sources: ReportSources, cell: Cell, name: str, plan: EvalPlan) -> dict[str, Row]:
    """A hazard that is a group of its own stands once, as the group."""
    whole = task_of(plan.task).subsets
    rows = [
        row
        for row in sources.metrics[cell]["rows"]
        if row["subset"] != ALL and (row["metric"] == plan.primary or row["subset"] in whole)
    ]
    groups = {
        row["subset"].removeprefix(HAZARD_GROUP)
        for row in rows
        if row["subset"].startswith(HAZARD_GROUP)
    }
    return {
        _line(row, plan.primary): _compared(sources, cell, name, row)
        for row in rows
        if row["subset"].removeprefix("hazard=") not in groups
    }


def _categories(sources: ReportSources, cell: Cell) -> dict[str, Row]:
    return {
        visible(row["subset"].removeprefix(CATEGORY)): {**_value_cells(row), "change": None}
        for row in sources.metrics[cell]["rows"]
        if row["subset"].startswith(CATEGORY)
    }


def _line(row: Row, primary: str) -> str:
    name = subset_name(row["subset"])
    return name if row["metric"] == primary else f"{name}: {row['metric'].replace('_', ' ')}"


def drop_lines(sources: ReportSources) -> list[dict[str, Any]]:
    """The rows of `drops.csv` for readers."""
    return [
        {
            "state": sources.label((row["state"], row["to_protocol"]), row["to_eval"]),
            "is_base": not row["run"],
            "metric": row["metric"].replace("_", " "),
            "start": f"{row['from_eval']}, n {int(row['from_n']):,}",
            "end": f"{row['to_eval']}, n {int(row['to_n']):,}",
            "values": [_plain_or_percent(row, f"{end}_value") for end in ("from", "to")],
            "change": _negated(row),
            "interval": _interval(row),
        }
        for row in sources.drops
    ]


def _negated(row: CsvRow) -> str:
    """A drop of 5 points is a change of −5."""
    drop = optional(row["drop"])
    return change(None if drop is None else -drop, row["metric"])


def _interval(row: CsvRow) -> str:
    low, high = optional(row["low"]), optional(row["high"])
    return "" if low is None or high is None else change_interval(-high, -low, row["metric"])


def seed_lines(sources: ReportSources) -> list[dict[str, Any]]:
    """What joins the seeds of a run, a line a run and eval, for readers."""
    return [
        {
            "run": joined["run"],
            "seeds": len(joined["runs"]),
            "eval": name,
            "metric": row["metric"].replace("_", " "),
            "between": change(row["between_seeds"], row["metric"]).lstrip("+"),
            **_value_cells(row),
            "change": _against(sources, joined["run"], name, row["metric"]),
            "verdict": _kind(sources, joined["run"], name),
        }
        for joined in sources.final.get("joined", [])
        for name, row in joined["evals"].items()
    ]


def seed_figures(sources: ReportSources) -> list[Row]:
    """The rows of `seeds.csv` over all rows of an eval, every metric, for readers."""
    return [
        {
            "run": row["run"],
            "eval": row["eval"],
            "metric": row["metric"].replace("_", " "),
            "value": _plain_or_percent(row, "value"),
            "interval": _span(row, "low", "high"),
            "seeds": _span(row, "least", "most"),
            "n": f"{int(row['n']):,}",
        }
        for row in sources.seeds
        if row["subset"] == ALL and not row["metric"].startswith(PICKED)
    ]


def _span(row: CsvRow, low: str, high: str) -> str:
    known = row[low] and row[high]
    return f"{_plain_or_percent(row, low)} to {_plain_or_percent(row, high)}" if known else ""


def _plain_or_percent(row: CsvRow, key: str) -> str:
    value = optional(row[key])
    return MISSING if value is None else level_figure(value, row["metric"])
