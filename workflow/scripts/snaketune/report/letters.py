"""Which letters were chosen for which: a bias for positions shows here."""

from typing import TypedDict

from snaketune.report.figures.all import label
from snaketune.report.sources import Cell, Sources
from snaketune.report.text import percent

PICKED = "picked_"
_GOLD = "gold="


class Letters(TypedDict):
    """A state's choices: a row a gold letter, a column a chosen one."""

    state: str
    columns: list[str]
    rows: list[tuple[str, list[str]]]


def confusion(sources: Sources, eval_name: str) -> list[Letters]:
    """One a state; [] where the eval has no letters."""
    tables = [
        _letters(sources, cell, label(sources.shown(cell[0]), cell[1], eval_name))
        for cell, plan in sources.cells(eval_name)
        if plan["task"] == "multiple_choice"
    ]
    return [table for table in tables if table["columns"]]


def _letters(sources: Sources, cell: Cell, name: str) -> Letters:
    shares = {
        (row["subset"].removeprefix(_GOLD), row["metric"].removeprefix(PICKED)): row
        for row in sources.metrics[cell]["rows"]
        if row["metric"].startswith(PICKED)
    }
    columns = list(dict.fromkeys(picked for _, picked in shares))
    golds = [gold for gold in dict.fromkeys(gold for gold, _ in shares) if gold != "all"]
    rows = [(f"{gold} ({shares[gold, columns[0]]['n']:,})", gold) for gold in golds]
    table = [(title, [percent(shares[g, c]["value"]) for c in columns]) for title, g in rows]
    if ("all", columns[0]) in shares:
        table.append(("all", [percent(shares["all", c]["value"]) for c in columns]))
    return Letters(state=name, columns=columns, rows=table)
