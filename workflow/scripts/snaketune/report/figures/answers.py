"""Figures of single answers: classes that were taken for others, how sure predictions were, and
what several samples of a question come to.
"""

from collections.abc import Iterator
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle

from snaketune.report.classes import ConfusionMatrix, confusion_matrices
from snaketune.report.sources import CsvRow, ReportSources
from snaketune.report.style import (
    COLOURS,
    FAINT,
    INK,
    new_figure,
    percent_axis,
    printable,
    state_colours,
)
from snaketune.statistics.predictions import Bin, bins

_MATRICES_ACROSS = 3
_GAP = 0.75  # above a block, in rows: its title stands there
_STRONGEST = 0.75  # of the colour: the counts must stay legible on it


def confusion_figure(sources: ReportSources, eval_name: str) -> Figure:
    """The confusion matrices of an eval."""
    found = confusion_matrices(sources, eval_name)
    return draw_confusion({sources.label(matrix.cell, eval_name): matrix for matrix in found})


def draw_confusion(panels: dict[str, ConfusionMatrix]) -> Figure:
    """Cells are coloured by their share of the row and say count and share; a row a gold label,
    below them a row a group. `panels` are by the state's name."""
    across = min(_MATRICES_ACROSS, max(1, len(panels)))
    down = -(-max(1, len(panels)) // across)
    tall = max((_matrix_height(matrix) for matrix in panels.values()), default=1)
    figure = Figure(figsize=(7.2, down * (0.42 * tall + 0.85)), layout="constrained")
    for place, (name, matrix) in enumerate(panels.items()):
        axes = figure.add_subplot(down, across, place + 1)
        _confusion_panel(axes, matrix, named=place % across == 0)
        axes.set_title(printable(name, 30), fontsize=9.5, loc="left")
    return figure


def _matrix_height(matrix: ConfusionMatrix) -> float:
    return sum(len(block.rows) + _GAP for block in matrix.blocks)


def _confusion_panel(axes: Axes, matrix: ConfusionMatrix, named: bool) -> None:
    """One state's matrix; rows are named in the first panel of a line."""
    ticks: list[tuple[float, str]] = []
    top = 0.0
    for block in matrix.blocks:
        axes.text(0, top + _GAP - 0.12, f"by {block.title}", fontsize=8, style="italic")
        top += _GAP
        for name, _, cells in block.rows:
            ticks.append((top + 0.5, printable(name, 24)))
            for x, (count, share) in enumerate(cells):
                _confusion_cell(axes, x, top, count, share)
            top += 1
    columns = [printable(name, 16) for name in matrix.columns]
    axes.set_xticks([x + 0.5 for x in range(len(columns))], columns, fontsize=8.5)
    axes.set_yticks([y for y, _ in ticks], [name if named else "" for _, name in ticks])
    axes.set_xlim(0, max(1, len(columns)))
    axes.set_ylim(max(top, 1), 0)
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.set_xlabel("predicted")


def _confusion_cell(axes: Axes, x: int, y: float, count: int, share: float | None) -> None:
    axes.add_patch(
        Rectangle((x, y), 1, 1, facecolor=COLOURS[0], alpha=_STRONGEST * (share or 0), lw=0)
    )
    axes.add_patch(Rectangle((x, y), 1, 1, facecolor="none", edgecolor=FAINT, lw=0.8))
    part = "" if share is None else f" · {100 * share:.0f} %"
    axes.text(x + 0.5, y + 0.5, f"{count:,}{part}", ha="center", va="center", fontsize=8.5)


class Reliability(NamedTuple):
    """One state's bins, its calibration error and its colour."""

    bins: list[Bin]
    error: float | None
    colour: str


def reliability_figure(sources: ReportSources, eval_name: str) -> Figure:
    """Confidence and share of right predictions of an eval."""
    palette = state_colours(sources)
    states = {}
    for cell, _ in sources.cells(eval_name):
        scores = [s for s in sources.scores[cell] if s["confidence"] is not None]
        found = bins([s["confidence"] for s in scores], [s["correct"] for s in scores])
        error = sources.metrics_row(cell, "ece")
        states[sources.label(cell, eval_name)] = Reliability(
            found, error["value"] if error else None, palette[cell[0]]
        )
    return draw_reliability(states)


def draw_reliability(states: dict[str, Reliability]) -> Figure:
    """A line a state through its bins, dots as large as their share of the rows, against the
    diagonal; the calibration error stands in the legend. States without probabilities have none."""
    figure, axes = new_figure(height=3.6)
    axes.plot([0, 1], [0, 1], color=INK, lw=0.9, ls=(0, (4, 3)), label="as sure as right")
    for name, (found, error, colour) in states.items():
        if not found or error is None:
            axes.plot([], [], color=colour, label=f"{printable(name)}: no probabilities")
            continue
        sure, right = [b.confidence for b in found], [b.accuracy for b in found]
        total = sum(b.n for b in found)
        axes.plot(sure, right, color=colour, lw=1.2, alpha=0.7)
        sizes = [14 + 260 * b.n / total for b in found]
        text = f"{printable(name)}: ECE {100 * error:.1f} %"
        axes.scatter(sure, right, s=sizes, color=colour, alpha=0.8, linewidths=0)
        axes.plot([], [], "o-", color=colour, label=text)
    axes.set_xlabel("confidence")
    axes.set_ylabel("share that is right")
    percent_axis(axes)
    percent_axis(axes, "y")
    axes.legend(fontsize=8.5)
    return figure


# By panel: the chance over all subsets, drawn as a line, and the outcome of the first n samples.
_PANELS = {
    "majority vote": ("majority_expected", "majority"),
    "best of n by reward": ("best_of_n_expected", "best_of_n"),
    "any right (pass@n)": ("pass_at_n", None),
}
_APART = 0.09  # states stand a little apart: equal whiskers would hide each other


def voting_figure(sources: ReportSources, eval_name: str) -> Figure:
    """The votes of an eval's samples."""
    return draw_voting(sources.labelled(sources.voting, eval_name), state_colours(sources))


def draw_voting(rows: list[CsvRow], colours: dict[str, str]) -> Figure:
    """A panel a way to pick, a line a state over n: the chance over all subsets with its interval;
    what the first n samples came to as rings. `rows` are of one eval."""
    panels = {k: v for k, v in _PANELS.items() if any(row[v[0]] for row in rows)}
    figure = Figure(figsize=(7.2, 3.3), layout="constrained")
    grid = figure.subplots(1, max(1, len(panels)), sharey=True, squeeze=False)[0]
    places = {n: i for i, n in enumerate(sorted({int(row["n"]) for row in rows}))}
    for axes, (title, columns) in zip(grid, panels.items(), strict=False):
        for shift, label, points in _by_state(rows):
            colour = colours[points[0]["state"]]
            _vote_curve(
                axes, points, [places[int(p["n"])] + shift for p in points], columns, colour
            )
            axes.plot([], [], "o-", color=colour, ms=4, label=printable(label, 30))
        axes.set_title(title, fontsize=9.5)
        axes.set_xticks(range(len(places)), [str(n) for n in places])
        axes.set_xlim(-0.4, len(places) - 0.6)
        axes.set_xlabel("samples")
        percent_axis(axes, "y")
    _vote_legend(figure, grid[0])
    return figure


def _by_state(rows: list[CsvRow]) -> Iterator[tuple[float, str, list[CsvRow]]]:
    """Of each state: how far it stands aside, its label and its rows."""
    labels = list(dict.fromkeys(row["label"] for row in rows))
    for i, label in enumerate(labels):
        shift = _APART * (i - (len(labels) - 1) / 2)
        yield shift, label, [row for row in rows if row["label"] == label]


def _vote_curve(
    axes: Axes, points: list[CsvRow], xs: list[float], columns: tuple[str, str | None], colour: str
) -> None:
    line, rings = columns
    known = [(x, row) for x, row in zip(xs, points, strict=True) if row[line]]
    axes.plot(
        [x for x, _ in known], [float(row[line]) for _, row in known], "o-", color=colour, ms=4
    )
    for x, row in known:
        if row[f"{line}_low"]:
            span = [float(row[f"{line}_{end}"]) for end in ("low", "high")]
            axes.plot([x, x], span, color=colour, lw=1.1, alpha=0.7)
        if rings and row[rings]:
            axes.plot(x, float(row[rings]), "o", ms=8, mfc="none", mec=colour, mew=1)


def _vote_legend(figure: Figure, axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        handles.append(Line2D([], [], ls="", marker="o", ms=8, mfc="none", mec=INK, mew=1))
        labels.append("the first n samples")
        figure.legend(handles, labels, loc="outside upper center", ncols=min(4, len(labels)))


_UNIQUE_ACROSS = 3
_RIGHT, _WRONG = 0.95, 0.35  # opacities


def unique_figure(sources: ReportSources, eval_name: str) -> Figure:
    """The different answers of an eval's samples."""
    return draw_unique(sources.labelled(sources.unique_answers, eval_name), state_colours(sources))


def draw_unique(rows: list[CsvRow], colours: dict[str, str]) -> Figure:
    """A panel a state: shares of the questions by their number of different answers, the part with
    a right majority dark. `rows` are of one eval."""
    labels = list(dict.fromkeys(row["label"] for row in rows))
    across = max(1, min(_UNIQUE_ACROSS, len(labels)))
    down = max(1, -(-len(labels) // across))
    figure = Figure(figsize=(7.2, 0.8 + 2.3 * down), layout="constrained")
    grid = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False)
    for axes, label in zip(grid.flat, labels, strict=False):
        points = [row for row in rows if row["label"] == label]
        _unique_panel(axes, points, colours[points[0]["state"]])
        mean = sum(int(p["unique_answers"]) * float(p["share"]) for p in points)
        axes.set_title(f"{printable(label, 30)}: {mean:.1f} on average", fontsize=9.5)
    for axes in grid.flat[len(labels) :]:
        axes.set_visible(False)
    for axes in grid[:, 0]:
        axes.set_ylabel("share of questions")
    figure.supxlabel("different answers to a question", fontsize=9.5)
    parts = [Patch(color=INK, alpha=shade, lw=0) for shade in (_RIGHT, _WRONG)]
    figure.legend(parts, ["majority right", "wrong"], loc="outside upper center", ncols=2)
    return figure


def _unique_panel(axes: Axes, points: list[CsvRow], colour: str) -> None:
    numbers = [int(row["unique_answers"]) for row in points]
    right = [float(r["share"]) * int(r["majority_right"]) / int(r["questions"]) for r in points]
    wrong = [float(row["share"]) - part for row, part in zip(points, right, strict=True)]
    axes.bar(numbers, right, width=0.8, color=colour, alpha=_RIGHT)
    axes.bar(numbers, wrong, width=0.8, bottom=right, color=colour, alpha=_WRONG)
    axes.locator_params(axis="x", integer=True, nbins=10)
    axes.yaxis.set_major_formatter(lambda share, _: f"{100 * share:.0f} %")
    axes.grid(axis="y")
