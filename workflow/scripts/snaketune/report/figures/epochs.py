"""How runs got on from epoch to epoch, and how long they took."""

from matplotlib.figure import Figure

from snaketune.report.figures.style import new_figure, percent_axis, printable

Row = dict[str, str]
"""A row of `epoch_results.csv` or `summary_results.csv`."""


def draw_epochs(rows: list[Row], colours: dict[str, str], names: dict[str, str]) -> Figure:
    """A line a run over the epochs, the base model at 0, with intervals. `rows` are of one eval."""
    figure, axes = new_figure(height=2.9)
    for run in dict.fromkeys(row["run"] for row in rows):
        points = [row for row in rows if row["run"] == run and row["value"]]
        epochs, values = _numbers(points, "epoch"), _numbers(points, "value")
        axes.plot(epochs, values, "o-", color=colours[run], ms=6, label=printable(names[run]))
        spread = [row for row in points if row["low"]]
        low, high = _numbers(spread, "low"), _numbers(spread, "high")
        axes.vlines(_numbers(spread, "epoch"), low, high, color=colours[run])
    axes.set_xlabel("epoch (0: the base model)")
    axes.set_ylabel(rows[0]["metric"].replace("_", " ") if rows else "")
    percent_axis(axes, "y")
    if rows:
        axes.legend()
    return figure


def draw_seconds(
    rows: list[Row], column: str, colours: dict[str, str], names: dict[str, str]
) -> Figure:
    """A bar a row with its seconds; none where they were not measured."""
    figure, axes = new_figure(height=0.9 + 0.42 * len(rows))
    seconds = _numbers(rows, column)
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


def _numbers(rows: list[Row], column: str) -> list[float]:
    return [float(row[column] or 0) for row in rows]
