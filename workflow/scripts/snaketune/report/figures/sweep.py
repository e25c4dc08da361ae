"""A metric over each value that a sweep tried."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from snaketune.report.figures.style import COLOURS, percent_axis, printable
from snaketune.tables.summary import SWEEP_COLUMNS

Row = dict[str, str]
"""A row of `sweep.csv`."""

_ACROSS = 3
_LINES = 8  # in a legend; further lines are drawn but not named


def draw_sweep(rows: list[Row]) -> Figure:
    """A panel a swept key, with a line for each setting of the other keys; `rows` are of one eval.

    Values stand at equal distances, in order: learning rates and ranks are tried by factors.
    """
    keys = [key for key in rows[0] if key not in SWEEP_COLUMNS and len(values_of(rows, key)) > 1]
    keys = keys or [key for key in rows[0] if key not in SWEEP_COLUMNS] or ["model"]
    across = min(_ACROSS, len(keys))
    down = -(-len(keys) // across)
    figure = Figure(figsize=(7.2, 2.7 * down + 0.3), layout="constrained")
    panels = list(figure.subplots(down, across, squeeze=False, sharey=True).flat)
    for axes, key in zip(panels, keys, strict=False):
        _panel(axes, rows, key)
    for axes in panels[len(keys) :]:
        axes.remove()
    panels[0].set_ylabel(rows[0]["metric"].replace("_", " "))
    return figure


def values_of(rows: list[Row], key: str) -> list[str]:
    """The values of a swept key, numbers by size and texts as they come."""
    found = list(dict.fromkeys(row[key] for row in rows if row[key]))
    try:
        return sorted(found, key=float)
    except ValueError:
        return found


def _panel(axes: Axes, rows: list[Row], key: str) -> None:
    values = values_of(rows, key)
    lines: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        if row[key] and row["value"]:
            lines.setdefault(_others(row, key, rows), []).append(row)
    for number, (others, members) in enumerate(lines.items()):
        members = sorted(members, key=lambda row: values.index(row[key]))
        at = [values.index(row[key]) for row in members]
        colour = COLOURS[number % len(COLOURS)]
        label = printable(", ".join(others), 34) if number < _LINES else None
        axes.plot(at, [float(r["value"]) for r in members], "o-", color=colour, ms=5, label=label)
        spread = [(x, r) for x, r in zip(at, members, strict=True) if r["low"]]
        low, high = ([float(r[side]) for _, r in spread] for side in ("low", "high"))
        axes.vlines([x for x, _ in spread], low, high, color=colour, alpha=0.6)
    axes.set_xticks(range(len(values)), [printable(value, 14) for value in values])
    axes.set_xlim(-0.4, len(values) - 0.6)
    axes.set_xlabel(key)
    percent_axis(axes, "y")
    if len(lines) > 1:
        axes.legend(fontsize=7)


def _others(row: Row, key: str, rows: list[Row]) -> tuple[str, ...]:
    """What else a run differs in from others of the sweep."""
    names = [name for name in row if name not in SWEEP_COLUMNS or name in ("model", "train_data")]
    told = [name for name in names if name != key and len({r[name] for r in rows}) > 1]
    return tuple(f"{name} {row[name]}" if name not in SWEEP_COLUMNS else row[name] for name in told)
