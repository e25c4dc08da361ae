"""Training loss by run, with the dev loss where it was measured."""

from typing import Any

from matplotlib.figure import Figure

from snaketune.report.figures.style import new_figure, printable

Log = list[dict[str, Any]]
_SMOOTHED = 60  # points: a longer curve is averaged in windows, its raw line stays faint


def draw_loss(logs: dict[str, Log], colours: dict[str, str]) -> Figure:
    """One line a run over its optimiser steps, dev points as diamonds."""
    figure, axes = new_figure(height=3.2)
    for run, log in logs.items():
        steps, losses = _series(log, "loss")
        smooth = _smooth(losses)
        if smooth != losses:
            axes.plot(steps, losses, color=colours[run], lw=0.7, alpha=0.3)
        axes.plot(steps, smooth, color=colours[run], label=printable(run))
        dev_steps, dev_losses = _series(log, "dev_loss")
        if dev_steps:
            axes.plot(
                dev_steps, dev_losses, "D", color=colours[run], ms=5, label=f"{printable(run)}, dev"
            )
    axes.set_xlabel("step")
    axes.set_ylabel("loss per trained token")
    axes.set_ylim(bottom=0)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(axis="y")
    if logs:
        axes.legend(ncols=2)
    return figure


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
