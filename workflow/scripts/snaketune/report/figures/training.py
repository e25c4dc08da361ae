"""Training loss by run with the dev loss, and the dev accuracy, where they were measured."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from snaketune.report.figures.style import new_figure, percent_axis, printable

Log = list[dict[str, Any]]
_SMOOTHED = 60  # points: a longer curve is averaged in windows, its raw line stays faint


def draw_loss(logs: dict[str, Log], colours: dict[str, str], best: dict[str, int]) -> Figure:
    """One line a run over its optimiser steps, dev points as diamonds; below, where there is one,
    the accuracy on dev. `best` are the steps whose weights were taken; their points are ringed."""
    shown = {run: log for run, log in logs.items() if _series(log, "dev_accuracy")[0]}
    if shown:
        figure = Figure(figsize=(7.2, 5.0), layout="constrained")
        upper, lower = figure.subplots(2, sharex=True, height_ratios=[3, 2])
        _draw_accuracy(lower, shown, colours, best)
    else:
        figure, upper = new_figure(height=3.2)
        lower = upper
    for run, log in logs.items():
        _draw_run(upper, run, log, colours[run], best.get(run))
    upper.set_ylabel("loss per trained token")
    upper.set_ylim(bottom=0)
    upper.grid(axis="y")
    if logs:
        upper.legend(ncols=2)
    lower.set_xlabel("step")
    lower.xaxis.get_major_locator().set_params(integer=True)
    return figure


def _draw_run(axes: Axes, run: str, log: Log, colour: str, best: int | None) -> None:
    steps, losses = _series(log, "loss")
    smooth = _smooth(losses)
    if smooth != losses:
        axes.plot(steps, losses, color=colour, lw=0.7, alpha=0.3)
    axes.plot(steps, smooth, color=colour, label=printable(run))
    dev = _series(log, "dev_loss")
    if dev[0]:
        axes.plot(*dev, "D", color=colour, ms=5, label=f"{printable(run)}, dev")
        _ring(axes, dev, best, colour)


def _draw_accuracy(
    axes: Axes, logs: dict[str, Log], colours: dict[str, str], best: dict[str, int]
) -> None:
    for run, log in logs.items():
        points = _series(log, "dev_accuracy")
        axes.plot(*points, "D-", color=colours[run], ms=5, label=printable(run))
        _ring(axes, points, best.get(run), colours[run])
    axes.set_ylabel("accuracy on dev")
    percent_axis(axes, "y")


def _ring(axes: Axes, points: tuple[list[int], list[float]], best: int | None, colour: str) -> None:
    for step, value in zip(*points, strict=True):
        if step == best:
            axes.plot(step, value, "o", ms=13, mfc="none", mec=colour, mew=1.4)


def _series(log: Log, column: str) -> tuple[list[int], list[float]]:
    """Steps and values of the rows that have the column."""
    rows = [(row["step"], row[column]) for row in log if row.get(column) is not None]
    return [step for step, _ in rows], [value for _, value in rows]


def _smooth(values: list[float]) -> list[float]:
    """The mean of a centred window of a twentieth of a long curve; a short one as it is."""
    if len(values) <= _SMOOTHED:
        return values
    half = len(values) // 40
    windows = (values[max(0, i - half) : i + half + 1] for i in range(len(values)))
    return [sum(window) / len(window) for window in windows]
