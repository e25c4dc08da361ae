"""Figures of training: loss, row lengths, scores by epoch and by snapshot, and time."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from snaketune.report.sources import CsvRow, ReportSources
from snaketune.report.style import COLOURS, INK, new_figure, percent_axis, printable, state_colours

Log = list[dict[str, Any]]
_SMOOTHED = 60  # points: a longer curve is averaged in windows, its raw line stays faint


def loss_figure(sources: ReportSources, data: str) -> Figure:
    """The losses of the runs on one dataset: those on another say nothing of these."""
    on_it = {run.run for run in sources.runs if run.train_data == data}
    logs = {run: log for run, log in sources.train_log.items() if run in on_it}
    best = {run: meta["best_step"] for run, meta in sources.train_meta.items() if "best" in meta}
    return draw_loss(logs, state_colours(sources), best)


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
    lower.locator_params(axis="x", integer=True)
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


def lengths_figure(sources: ReportSources) -> Figure:
    """The row lengths of every token set."""
    return draw_lengths({name: found["train"] for name, found in sources.lengths.items()})


def draw_lengths(histograms: dict[str, dict[str, Any]]) -> Figure:
    """One panel would hide small sets behind large ones: each token set is a line of steps in
    shares of its rows. The limit is drawn where it lies in sight, else named beside the axis."""
    figure, axes = new_figure(height=3.2)
    longest = max((h["edges"][-1] for h in histograms.values() if h["edges"]), default=1)
    for i, (name, histogram) in enumerate(histograms.items()):
        total = sum(histogram["counts"])
        if not total:
            continue
        shares = [count / total for count in histogram["counts"]]
        colour = COLOURS[i % len(COLOURS)]
        if len(histograms) == 1:
            axes.stairs(shares, histogram["edges"], fill=True, alpha=0.35, color=colour)
        axes.stairs(shares, histogram["edges"], color=colour, label=printable(name), lw=1.4)
    for limit in sorted({h["limit"] for h in histograms.values()}):
        dashed: dict[str, Any] = {"color": INK, "lw": 1, "ls": (0, (4, 3))}
        if limit <= 1.5 * longest:
            axes.axvline(limit, **dashed, label=f"limit {limit:,}")
        else:
            axes.plot([], [], **dashed, label=f"limit {limit:,}, off to the right")
    axes.set_xlabel("tokens a training row")
    axes.set_ylabel("share of the rows")
    axes.grid(axis="y")
    if histograms:
        figure.legend(loc="outside lower center", ncols=3, fontsize=8)
    return figure


def epochs_figure(sources: ReportSources, eval_name: str) -> Figure:
    """Scores of an eval by epoch."""
    rows = [row for row in sources.epochs if row["eval"] == eval_name]
    return draw_epochs(rows, state_colours(sources), _run_names(sources))


def draw_epochs(rows: list[CsvRow], colours: dict[str, str], names: dict[str, str]) -> Figure:
    """A line a run over the epochs, the base model at 0, with intervals. `rows` are of one eval."""
    figure, axes = new_figure(height=2.9)
    for run in dict.fromkeys(row["run"] for row in rows):
        points = [row for row in rows if row["run"] == run and row["value"]]
        epochs, values = _column(points, "epoch"), _column(points, "value")
        axes.plot(epochs, values, "o-", color=colours[run], ms=6, label=printable(names[run]))
        spread = [row for row in points if row["low"]]
        low, high = _column(spread, "low"), _column(spread, "high")
        axes.vlines(_column(spread, "epoch"), low, high, color=colours[run])
    axes.set_xlabel("epoch (0: the base model)")
    axes.set_ylabel(rows[0]["metric"].replace("_", " ") if rows else "")
    percent_axis(axes, "y")
    if rows:
        axes.legend()
    return figure


def training_time_figure(sources: ReportSources) -> Figure:
    """A bar a run: its training took the same time whichever eval a row is about."""
    one_a_run = {row["run"]: row | {"eval": ""} for row in sources.followed}
    return draw_seconds(
        list(one_a_run.values()), "train_seconds", state_colours(sources), _run_names(sources)
    )


def evaluation_time_figure(sources: ReportSources) -> Figure:
    """A bar a run and eval."""
    return draw_seconds(
        sources.followed, "evaluation_seconds", state_colours(sources), _run_names(sources)
    )


def _run_names(sources: ReportSources) -> dict[str, str]:
    return {run.run: sources.shown(run.run) for run in sources.runs}


def draw_seconds(
    rows: list[CsvRow], column: str, colours: dict[str, str], names: dict[str, str]
) -> Figure:
    """A bar a row with its seconds; none where they were not measured."""
    figure, axes = new_figure(height=0.9 + 0.42 * len(rows))
    seconds = _column(rows, column)
    axes.barh(range(len(rows)), seconds, height=0.55, color=[colours[r["run"]] for r in rows])
    for y, value in enumerate(seconds):
        known = f"{value:,.3g} s" if value < 100 else f"{value:,.0f} s"
        axes.annotate(
            known if rows[y][column] else "not measured", (value, y), (4, 0),
            va="center", textcoords="offset points", fontsize=8.5,
        )  # fmt: skip
    several = len({row["eval"] for row in rows}) > 1
    labels = [names[r["run"]] + (f", {r['eval']}" if several else "") for r in rows]
    axes.set_yticks(range(len(rows)), [printable(label) for label in labels])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlim(0, 1.15 * max([*seconds, 1e-9]))
    axes.set_xlabel("seconds")
    axes.grid(axis="x")
    return figure


def _column(rows: list[CsvRow], column: str) -> list[float]:
    return [float(row[column] or 0) for row in rows]


def snapshots_figure(sources: ReportSources) -> Figure:
    """The scores of every run's snapshots."""
    return draw_snapshots(sources.checkpoints, state_colours(sources))


def draw_snapshots(rows: list[CsvRow], colours: dict[str, str]) -> Figure:
    """A line a run and metric over the steps, with intervals; the chosen snapshot is ringed."""
    figure, axes = new_figure(height=2.9)
    lines = dict.fromkeys((row["run"], row["eval"], row["metric"]) for row in rows)
    for style, (run, eval_name, metric) in zip(_line_styles(len(lines)), lines, strict=True):
        points = [
            row
            for row in rows
            if (row["run"], row["eval"], row["metric"]) == (run, eval_name, metric) and row["value"]
        ]
        steps, values = _column(points, "step"), _column(points, "value")
        label = printable(f"{run}: {eval_name} {metric.replace('_', ' ')}", 60)
        axes.plot(steps, values, "o", ls=style, color=colours[run], ms=6, label=label)
        sure = [row for row in points if row["low"]]
        spans = _column(sure, "low"), _column(sure, "high")
        axes.vlines(_column(sure, "step"), *spans, color=colours[run])
        for row in points:
            if row["chosen"] == "True":
                axes.plot(
                    float(row["step"]), float(row["value"]), "o", ms=13, mfc="none",
                    mec=colours[run], mew=1.4,
                )  # fmt: skip
    axes.set_xlabel("step")
    axes.locator_params(axis="x", integer=True)
    percent_axis(axes, "y")
    if lines:
        axes.legend()
    return figure


def _line_styles(count: int) -> list[str]:
    return [("-", "--", ":", "-.")[i % 4] for i in range(count)]
