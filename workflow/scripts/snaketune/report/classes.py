"""Confusion matrices by label and by group, as the table has them, with names for readers."""

from dataclasses import dataclass

from snaketune.report.sources import Cell, Sources
from snaketune.tables.answers import LABEL

Share = tuple[int, float | None]
"""A count and its part of the row; None where the row is empty."""


@dataclass(frozen=True)
class Block:
    """The rows of one kind: of each gold label, or of each group."""

    title: str
    rows: list[tuple[str, int, list[Share]]]
    """Name, total, and the cells in the order of the matrix's columns."""


@dataclass(frozen=True)
class Matrix:
    """What became of one state's rows."""

    cell: Cell
    columns: list[str]
    """Predicted labels."""
    blocks: list[Block]


def matrices(sources: Sources, eval_name: str) -> list[Matrix]:
    """One a state, in the order of the tables."""
    found: dict[Cell, list[dict[str, str]]] = {}
    for row in sources.confusion:
        if row["eval"] == eval_name:
            found.setdefault((row["state"], row["protocol"]), []).append(row)
    return [_matrix(sources, cell, rows) for cell, rows in found.items()]


def shown_label(sources: Sources, cell: Cell, label: str) -> str:
    """`flawed (1)`: the name that the config gives, and the label; else the label alone."""
    names = (sources.metrics[cell]["protocol"].get("classes") or {}).get("names") or {}
    return f"{names[label]} ({label})" if label in names else label


def _matrix(sources: Sources, cell: Cell, rows: list[dict[str, str]]) -> Matrix:
    predicted = dict.fromkeys(row["predicted"] for row in rows)
    return Matrix(
        cell=cell,
        columns=[shown_label(sources, cell, label) for label in predicted],
        blocks=[
            _block(sources, cell, by, [row for row in rows if row["by"] == by])
            for by in dict.fromkeys(row["by"] for row in rows)
        ],
    )


def _block(sources: Sources, cell: Cell, by: str, rows: list[dict[str, str]]) -> Block:
    lines: dict[str, tuple[int, list[Share]]] = {}
    for row in rows:
        share = float(row["share"]) if row["share"] else None
        _, cells = lines.setdefault(row["value"], (int(row["of"]), []))
        cells.append((int(row["count"]), share))
    is_label = by == LABEL
    return Block(
        title="gold label" if is_label else by.replace("_", " "),
        rows=[
            (shown_label(sources, cell, value) if is_label else value, of, cells)
            for value, (of, cells) in lines.items()
        ],
    )
