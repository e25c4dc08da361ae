"""Majority vote, best of n and pass@n over the number of samples."""

from collections.abc import Iterator

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from snaketune.report.figures.style import INK, percent_axis, printable

Row = dict[str, str]
"""A row of `voting.csv` with the state's `label`."""

# By panel: the chance over all subsets, drawn as a line, and the outcome of the first n samples.
_PANELS = {
    "majority vote": ("majority_expected", "majority"),
    "best of n by reward": ("best_of_n_expected", "best_of_n"),
    "any right (pass@n)": ("pass_at_n", None),
}
_APART = 0.09  # states stand a little apart: equal whiskers would hide each other


def draw_voting(rows: list[Row], colours: dict[str, str]) -> Figure:
    """A panel a way to pick, a line a state over n: the chance over all subsets with its interval;
    what the first n samples came to as rings. `rows` are of one eval."""
    panels = {k: v for k, v in _PANELS.items() if any(row[v[0]] for row in rows)}
    figure = Figure(figsize=(7.2, 3.3), layout="constrained")
    grid = figure.subplots(1, max(1, len(panels)), sharey=True, squeeze=False)[0]
    places = {n: i for i, n in enumerate(sorted({int(row["n"]) for row in rows}))}
    for axes, (title, columns) in zip(grid, panels.items(), strict=False):
        for shift, label, points in _lines(rows):
            colour = colours[points[0]["state"]]
            _draw(axes, points, [places[int(p["n"])] + shift for p in points], columns, colour)
            axes.plot([], [], "o-", color=colour, ms=4, label=printable(label, 30))
        axes.set_title(title, fontsize=9.5)
        axes.set_xticks(range(len(places)), [str(n) for n in places])
        axes.set_xlim(-0.4, len(places) - 0.6)
        axes.set_xlabel("samples")
        percent_axis(axes, "y")
    _legend(figure, grid[0])
    return figure


def _lines(rows: list[Row]) -> Iterator[tuple[float, str, list[Row]]]:
    """Of each state: how far it stands aside, its label and its rows."""
    labels = list(dict.fromkeys(row["label"] for row in rows))
    for i, label in enumerate(labels):
        shift = _APART * (i - (len(labels) - 1) / 2)
        yield shift, label, [row for row in rows if row["label"] == label]


def _draw(
    axes: Axes, points: list[Row], xs: list[float], columns: tuple[str, str | None], colour: str
) -> None:
    line, rings = columns
    known = [(x, row) for x, row in zip(xs, points, strict=True) if row[line]]
    axes.plot(
        [x for x, _ in known], [float(row[line]) for _, row in known], "o-", color=colour, ms=4
    )
    for x, row in known:
        if row[f"{line}_low"]:
            span = [float(row[f"{line}_{end}"]) for end in ("low", "high")]
            axes.plot([x, x], span, color=colour, lw=1.1, alpha=0.7)
        if rings and row[rings]:
            axes.plot(x, float(row[rings]), "o", ms=8, mfc="none", mec=colour, mew=1)


def _legend(figure: Figure, axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        handles.append(Line2D([], [], ls="", marker="o", ms=8, mfc="none", mec=INK, mew=1))
        labels.append("the first n samples")
        figure.legend(handles, labels, loc="outside upper center", ncols=min(4, len(labels)))
