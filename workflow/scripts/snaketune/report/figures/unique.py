"""How many different answers a state gave to a question."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from snaketune.report.figures.style import INK, printable

Row = dict[str, str]
"""A row of `unique_answers.csv` with the state's `label`."""

_COLUMNS = 3
_RIGHT, _WRONG = 0.95, 0.35  # opacities


def draw_unique(rows: list[Row], colours: dict[str, str]) -> Figure:
    """A panel a state: shares of the questions by their number of different answers, the part with
    a right majority dark. `rows` are of one eval."""
    labels = list(dict.fromkeys(row["label"] for row in rows))
    across = max(1, min(_COLUMNS, len(labels)))
    down = max(1, -(-len(labels) // across))
    figure = Figure(figsize=(7.2, 0.8 + 2.3 * down), layout="constrained")
    grid = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False)
    for axes, label in zip(grid.flat, labels, strict=False):
        points = [row for row in rows if row["label"] == label]
        _panel(axes, points, colours[points[0]["state"]])
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


def _panel(axes: Axes, points: list[Row], colour: str) -> None:
    numbers = [int(row["unique_answers"]) for row in points]
    right = [float(r["share"]) * int(r["majority_right"]) / int(r["questions"]) for r in points]
    wrong = [float(row["share"]) - part for row, part in zip(points, right, strict=True)]
    axes.bar(numbers, right, width=0.8, color=colour, alpha=_RIGHT)
    axes.bar(numbers, wrong, width=0.8, bottom=right, color=colour, alpha=_WRONG)
    axes.xaxis.get_major_locator().set_params(integer=True, nbins=10)
    axes.yaxis.set_major_formatter(lambda share, _: f"{100 * share:.0f} %")
    axes.grid(axis="y")
