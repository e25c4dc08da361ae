"""How often predictions of a confidence are right."""

from typing import NamedTuple

from matplotlib.figure import Figure

from snaketune.report.figures.style import INK, new_figure, percent_axis, printable
from snaketune.statistics.calibration import Bin


class Reliability(NamedTuple):
    """One state's bins, its calibration error and its colour."""

    bins: list[Bin]
    error: float | None
    colour: str


def draw_reliability(states: dict[str, Reliability]) -> Figure:
    """A line a state through its bins, dots as large as their share of the rows, against the
    diagonal; the calibration error stands in the legend. States without probabilities have none."""
    figure, axes = new_figure(height=3.6)
    axes.plot([0, 1], [0, 1], color=INK, lw=0.9, ls=(0, (4, 3)), label="as sure as right")
    for name, (bins, error, colour) in states.items():
        if not bins or error is None:
            axes.plot([], [], color=colour, label=f"{printable(name)}: no probabilities")
            continue
        sure, right = [b.confidence for b in bins], [b.accuracy for b in bins]
        total = sum(b.n for b in bins)
        axes.plot(sure, right, color=colour, lw=1.2, alpha=0.7)
        sizes = [14 + 260 * b.n / total for b in bins]
        text = f"{printable(name)}: ECE {100 * error:.1f} %"
        axes.scatter(sure, right, s=sizes, color=colour, alpha=0.8, linewidths=0)
        axes.plot([], [], "o-", color=colour, label=text)
    axes.set_xlabel("confidence")
    axes.set_ylabel("share that is right")
    percent_axis(axes)
    percent_axis(axes, "y")
    axes.legend(fontsize=8.5)
    return figure
