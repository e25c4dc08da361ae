"""Confusion matrices as heat maps, a panel a state."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from snaketune.report.confusions import Matrix
from snaketune.report.figures.style import COLOURS, FAINT, printable

_ACROSS = 3
_GAP = 0.75  # above a block, in rows: its title stands there
_STRONGEST = 0.75  # of the colour: the counts must stay legible on it


def draw_confusion(panels: dict[str, Matrix]) -> Figure:
    """Cells are coloured by their share of the row and say count and share; a row a gold label,
    below them a row a group. `panels` are by the state's name."""
    across = min(_ACROSS, max(1, len(panels)))
    down = -(-max(1, len(panels)) // across)
    tall = max((_height(matrix) for matrix in panels.values()), default=1)
    figure = Figure(figsize=(7.2, down * (0.42 * tall + 0.85)), layout="constrained")
    for place, (name, matrix) in enumerate(panels.items()):
        axes = figure.add_subplot(down, across, place + 1)
        _panel(axes, matrix, named=place % across == 0)
        axes.set_title(printable(name, 30), fontsize=9.5, loc="left")
    return figure


def _height(matrix: Matrix) -> float:
    return sum(len(block.rows) + _GAP for block in matrix.blocks)


def _panel(axes: Axes, matrix: Matrix, named: bool) -> None:
    """One state's matrix; rows are named in the first panel of a line."""
    ticks: list[tuple[float, str]] = []
    top = 0.0
    for block in matrix.blocks:
        axes.text(0, top + _GAP - 0.12, f"by {block.title}", fontsize=8, style="italic")
        top += _GAP
        for name, _, cells in block.rows:
            ticks.append((top + 0.5, printable(name, 24)))
            for x, (count, share) in enumerate(cells):
                _cell(axes, x, top, count, share)
            top += 1
    columns = [printable(name, 16) for name in matrix.columns]
    axes.set_xticks([x + 0.5 for x in range(len(columns))], columns, fontsize=8.5)
    axes.set_yticks([y for y, _ in ticks], [name if named else "" for _, name in ticks])
    axes.set_xlim(0, max(1, len(columns)))
    axes.set_ylim(max(top, 1), 0)
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.set_xlabel("predicted")


def _cell(axes: Axes, x: int, y: float, count: int, share: float | None) -> None:
    axes.add_patch(
        Rectangle((x, y), 1, 1, facecolor=COLOURS[0], alpha=_STRONGEST * (share or 0), lw=0)
    )
    axes.add_patch(Rectangle((x, y), 1, 1, facecolor="none", edgecolor=FAINT, lw=0.8))
    part = "" if share is None else f" · {100 * share:.0f} %"
    axes.text(x + 0.5, y + 0.5, f"{count:,}{part}", ha="center", va="center", fontsize=8.5)
