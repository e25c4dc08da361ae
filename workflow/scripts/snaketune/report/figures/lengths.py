"""Lengths of training rows against the limit."""

from typing import Any

from matplotlib.figure import Figure

from snaketune.report.figures.style import COLOURS, INK, new_figure, printable


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
        dashed = {"color": INK, "lw": 1, "ls": (0, (4, 3))}
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
