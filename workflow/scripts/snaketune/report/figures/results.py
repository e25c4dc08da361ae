"""A metric by state, each with its interval."""

from typing import TypedDict

from matplotlib.figure import Figure

from snaketune.report.figures.style import INK, new_figure, percent_axis, printable


class Point(TypedDict):
    """One state's value; None is drawn as "missing"."""

    label: str
    value: float | None
    low: float | None
    high: float | None
    colour: str
    threshold: float | None
    """What the state has to reach; None: nothing."""


def draw_states(points: list[Point], metric: str) -> Figure:
    """A dot and a 95 % interval a state, the first on top, and its threshold as a dashed mark."""
    figure, axes = new_figure(height=0.9 + 0.42 * len(points))
    for y, point in enumerate(points):
        if (least := point["threshold"]) is not None:
            axes.plot([least, least], [y - 0.32, y + 0.32], color=INK, lw=1.2, ls=(0, (2, 1.5)))
        if point["value"] is None:
            axes.text(0.01, y, "missing", va="center", style="italic")
            continue
        axes.plot([point["low"], point["high"]], [y, y], color=point["colour"], lw=2.4)
        axes.plot(point["value"], y, "o", color=point["colour"], ms=7)
        axes.annotate(
            f"{100 * point['value']:.1f} %", (point["value"], y), (0, 7), ha="center",
            textcoords="offset points", fontsize=8.5, color=INK,
        )  # fmt: skip
    axes.set_yticks(range(len(points)), [printable(point["label"]) for point in points])
    axes.set_ylim(len(points) - 0.5, -0.75)
    axes.spines["left"].set_visible(False)
    axes.set_xlabel(metric)
    percent_axis(axes)
    return figure
