"""What was taken for what: classes with their confusion matrices, numbers and wrong predictions,
and the letters that were chosen in multiple choice.
"""

from dataclasses import dataclass
from typing import Any, TypedDict

from snaketune.report.sources import Cell, CsvRow, ReportSources
from snaketune.report.style import excerpt, interval, optional, percent
from snaketune.runtime.errors import visible

_LABEL = "label"
"""How `confusion.csv` names the split by gold label, and subsets of a metric begin."""

Share = tuple[int, float | None]
"""A count and its part of the row; None where the row is empty."""


@dataclass(frozen=True)
class Block:
    """The rows of one kind: of each gold label, or of each group."""

    title: str
    rows: list[tuple[str, int, list[Share]]]
    """Name, total, and the cells in the order of the matrix's columns."""


@dataclass(frozen=True)
class ConfusionMatrix:
    """What became of one state's rows."""

    cell: Cell
    columns: list[str]
    """Predicted labels."""
    blocks: list[Block]


def confusion_matrices(sources: ReportSources, eval_name: str) -> list[ConfusionMatrix]:
    """One a state, in the order of the tables."""
    found: dict[Cell, list[CsvRow]] = {}
    for row in sources.confusion:
        if row["eval"] == eval_name:
            found.setdefault((row["state"], row["protocol"]), []).append(row)
    return [_matrix(sources, cell, rows) for cell, rows in found.items()]


def shown_label(sources: ReportSources, cell: Cell, label: str) -> str:
    """`flawed (1)`: the name that the config gives, and the label; else the label alone."""
    names = (sources.metrics[cell]["protocol"].get("classes") or {}).get("names") or {}
    return f"{names[label]} ({label})" if label in names else label


def _matrix(sources: ReportSources, cell: Cell, rows: list[CsvRow]) -> ConfusionMatrix:
    predicted = dict.fromkeys(row["predicted"] for row in rows)
    return ConfusionMatrix(
        cell=cell,
        columns=[shown_label(sources, cell, label) for label in predicted],
        blocks=[
            _block(sources, cell, by, [row for row in rows if row["by"] == by])
            for by in dict.fromkeys(row["by"] for row in rows)
        ],
    )


def _block(sources: ReportSources, cell: Cell, by: str, rows: list[CsvRow]) -> Block:
    lines: dict[str, tuple[int, list[Share]]] = {}
    for row in rows:
        share = float(row["share"]) if row["share"] else None
        _, cells = lines.setdefault(row["value"], (int(row["of"]), []))
        cells.append((int(row["count"]), share))
    is_label = by == _LABEL
    return Block(
        title="gold label" if is_label else by.replace("_", " "),
        rows=[
            (shown_label(sources, cell, value) if is_label else value, of, cells)
            for value, (of, cells) in lines.items()
        ],
    )


SHOWN = 30
"""Wrong predictions a state; all of them are in the CSV."""

MEASURES = ("precision", "recall", "f1")


class ClassifiedState(TypedDict):
    """A state on one eval."""

    name: str
    columns: list[str]
    blocks: list[tuple[str, list[tuple[str, list[str]]]]]
    """Of the confusion matrix: a title, and rows of a name and its cells."""
    numbers: list[tuple[str, list[dict[str, str]]]]
    """The classification report: a label, and a cell a measure."""
    wrong: int
    confident: list[dict[str, Any]]
    """The most confident wrong predictions, at most `SHOWN`."""


class ClassTable(TypedDict):
    """One eval."""

    eval: str
    by: str | None
    states: list[ClassifiedState]


def class_tables(sources: ReportSources) -> list[ClassTable]:
    """One an eval of classes."""
    return [
        ClassTable(
            eval=name,
            by=_by(found),
            states=[_state(sources, name, matrix) for matrix in found],
        )
        for name in sources.tasks()
        if (found := confusion_matrices(sources, name))
    ]


def _by(found: list[ConfusionMatrix]) -> str | None:
    """The field that groups, in words."""
    return next((visible(block.title) for block in found[0].blocks[1:]), None)


def _state(sources: ReportSources, name: str, matrix: ConfusionMatrix) -> ClassifiedState:
    state, protocol = matrix.cell
    key = (name, state, protocol)
    wrong = [
        row
        for row in sources.wrong_predictions
        if (row["eval"], row["state"], row["protocol"]) == key
    ]
    return ClassifiedState(
        name=sources.label(matrix.cell, name),
        columns=[visible(column) for column in matrix.columns],
        blocks=[(visible(block.title), _rows(block.rows)) for block in matrix.blocks],
        numbers=_measure_rows(sources, matrix.cell),
        wrong=len(wrong),
        confident=[_wrong(sources, matrix.cell, row) for row in wrong[:SHOWN]],
    )


def _rows(rows: list[tuple[str, int, list[tuple[int, float | None]]]]) -> list[Any]:
    return [
        (f"{visible(name)} ({of:,})", [f"{count:,} · {percent(share)}" for count, share in cells])
        for name, of, cells in rows
    ]


def _measure_rows(sources: ReportSources, cell: Cell) -> list[tuple[str, list[dict[str, str]]]]:
    """Precision, recall and F1 of each label, and their means."""
    document = sources.metrics[cell]
    lines = [
        (visible(shown_label(sources, cell, value)), [
            _cell(sources.metrics_row(cell, measure, f"{_LABEL}={value}")) for measure in MEASURES
        ])
        for value in document["protocol"]["classes"]["labels"]
    ]  # fmt: skip
    means = (None, "balanced_accuracy", "macro_f1")
    mean = [_cell(sources.metrics_row(cell, name)) if name else _cell(None) for name in means]
    return [*lines, ("mean of the labels", mean)]


def _cell(row: dict[str, Any] | None) -> dict[str, str]:
    if row is None:
        return {"value": "", "interval": "", "n": ""}
    span = interval(row["low"], row["high"])
    return {"value": percent(row["value"]), "interval": span, "n": f"{row['n']:,}"}


def _wrong(sources: ReportSources, cell: Cell, row: CsvRow) -> dict[str, Any]:
    confidence = optional(row["confidence"])
    return {
        "id": visible(row["id"]),
        "gold": visible(shown_label(sources, cell, row["gold"])),
        "predicted": visible(shown_label(sources, cell, row["predicted"])),
        "confidence": percent(confidence) if confidence is not None else "",
        "group": visible(row["group"]),
        "question": excerpt(row["question"], 600),
        "context": excerpt(row["context"], 900) if row["context"] else None,
        "output": excerpt(row["output"], 400) if row["output"] else None,
    }


PICKED = "picked_"
_GOLD = "gold="


class LetterTable(TypedDict):
    """A state's choices: a row a gold letter, a column a chosen one."""

    state: str
    columns: list[str]
    rows: list[tuple[str, list[str]]]


def chosen_letters(sources: ReportSources, eval_name: str) -> list[LetterTable]:
    """One a state; [] where the eval has no letters."""
    tables = [
        _letters(sources, cell, sources.label(cell, eval_name))
        for cell, plan in sources.cells(eval_name)
        if plan.task == "multiple_choice"
    ]
    return [table for table in tables if table["columns"]]


def _letters(sources: ReportSources, cell: Cell, name: str) -> LetterTable:
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
    return LetterTable(state=name, columns=columns, rows=table)
