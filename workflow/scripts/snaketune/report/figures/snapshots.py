"""Scores of a run's snapshots on the dev split."""

from matplotlib.figure import Figure

from snaketune.report.figures.style import new_figure, percent_axis, printable

Row = dict[str, str]
"""A row of `checkpoint_scores.csv`."""


def draw_snapshots(rows: list[Row], colours: dict[str, str]) -> Figure:
    """A line a run and metric over the steps, with intervals; the chosen snapshot is ringed."""
    figure, axes = new_figure(height=2.9)
    lines = dict.fromkeys((row["run"], row["eval"], row["metric"]) for row in rows)
    for style, (run, eval_name, metric) in zip(_styles(len(lines)), lines, strict=True):
        points = [
            row
            for row in rows
            if (row["run"], row["eval"], row["metric"]) == (run, eval_name, metric) and row["value"]
        ]
        steps, values = _numbers(points, "step"), _numbers(points, "value")
        label = printable(f"{run}: {eval_name} {metric.replace('_', ' ')}", 60)
        axes.plot(steps, values, "o", ls=style, color=colours[run], ms=6, label=label)
        sure = [row for row in points if row["low"]]
        spans = _numbers(sure, "low"), _numbers(sure, "high")
        axes.vlines(_numbers(sure, "step"), *spans, color=colours[run])
        for row in points:
            if row["chosen"] == "True":
                axes.plot(
                    float(row["step"]), float(row["value"]), "o", ms=13, mfc="none",
                    mec=colours[run], mew=1.4,
                )  # fmt: skip
    axes.set_xlabel("step")
    axes.xaxis.get_major_locator().set_params(integer=True)
    percent_axis(axes, "y")
    if lines:
        axes.legend()
    return figure


def _styles(count: int) -> list[str]:
    return [("-", "--", ":", "-.")[i % 4] for i in range(count)]


def _numbers(rows: list[Row], column: str) -> list[float]:
    return [float(row[column]) for row in rows]
