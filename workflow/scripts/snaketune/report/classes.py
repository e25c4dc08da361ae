"""Classifications: what was taken for what, numbers of each class, and wrong predictions."""

from typing import Any, TypedDict

from snaketune.report.confusions import Matrix, matrices, shown_label
from snaketune.report.figures.all import label
from snaketune.report.sources import Cell, Sources
from snaketune.report.text import excerpt, interval, optional, percent, visible
from snaketune.tables.answers import LABEL

SHOWN = 30
"""Wrong predictions a state; all of them are in the CSV."""

MEASURES = ("precision", "recall", "f1")


class State(TypedDict):
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


class Classes(TypedDict):
    """One eval."""

    eval: str
    by: str | None
    states: list[State]


def classes(sources: Sources) -> list[Classes]:
    """One an eval of classes."""
    return [
        Classes(
            eval=name,
            by=_by(found),
            states=[_state(sources, name, matrix) for matrix in found],
        )
        for name in sources.tasks()
        if (found := matrices(sources, name))
    ]


def _by(found: list[Matrix]) -> str | None:
    """The field that groups, in words."""
    return next((visible(block.title) for block in found[0].blocks[1:]), None)


def _state(sources: Sources, name: str, matrix: Matrix) -> State:
    state, protocol = matrix.cell
    key = (name, state, protocol)
    wrong = [
        row
        for row in sources.wrong_predictions
        if (row["eval"], row["state"], row["protocol"]) == key
    ]
    return State(
        name=label(sources.shown(state), protocol, name),
        columns=[visible(column) for column in matrix.columns],
        blocks=[(visible(block.title), _rows(block.rows)) for block in matrix.blocks],
        numbers=_numbers(sources, matrix.cell),
        wrong=len(wrong),
        confident=[_wrong(sources, matrix.cell, row) for row in wrong[:SHOWN]],
    )


def _rows(rows: list[tuple[str, int, list[tuple[int, float | None]]]]) -> list[Any]:
    return [
        (f"{visible(name)} ({of:,})", [f"{count:,} · {percent(share)}" for count, share in cells])
        for name, of, cells in rows
    ]


def _numbers(sources: Sources, cell: Cell) -> list[tuple[str, list[dict[str, str]]]]:
    """Precision, recall and F1 of each label, and their means."""
    document = sources.metrics[cell]
    lines = [
        (visible(shown_label(sources, cell, value)), [
            _number(sources.metric(cell, measure, f"{LABEL}={value}")) for measure in MEASURES
        ])
        for value in document["protocol"]["classes"]["labels"]
    ]  # fmt: skip
    means = (None, "balanced_accuracy", "macro_f1")
    mean = [_number(sources.metric(cell, name)) if name else _number(None) for name in means]
    return [*lines, ("mean of the labels", mean)]


def _number(row: dict[str, Any] | None) -> dict[str, str]:
    if row is None:
        return {"value": "", "interval": "", "n": ""}
    span = interval(row["low"], row["high"])
    return {"value": percent(row["value"]), "interval": span, "n": f"{row['n']:,}"}


def _wrong(sources: Sources, cell: Cell, row: dict[str, str]) -> dict[str, Any]:
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
