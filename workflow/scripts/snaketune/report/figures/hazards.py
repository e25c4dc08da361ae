"""Safe rate by hazard and state."""

from matplotlib.figure import Figure

from snaketune.report.figures.style import FAINT, new_figure, percent_axis, printable

Rates = dict[str, float | None]
"""By hazard."""


def draw_hazards(rates: dict[str, Rates], colours: dict[str, str]) -> Figure:
    """A row a hazard, a dot a state; a hazard without verdicts in a state has no dot there."""
    hazards = list(dict.fromkeys(hazard for found in rates.values() for hazard in found))
    figure, axes = new_figure(height=1.1 + 0.34 * len(hazards))
    for y, hazard in enumerate(hazards):
        known = [found[hazard] for found in rates.values() if found.get(hazard) is not None]
        if known:
            axes.plot([min(known), max(known)], [y, y], color=FAINT, lw=2, zorder=1)
    for i, (state, found) in enumerate(rates.items()):
        # States a little apart: equal rates would hide each other.
        apart = 0.15 * (i - (len(rates) - 1) / 2)
        dots = [(found[h], y + apart) for y, h in enumerate(hazards) if found.get(h) is not None]
        axes.scatter(
            *zip(*dots, strict=True) if dots else ([], []), s=38, color=colours[state],
            label=printable(state), zorder=2, alpha=0.9, linewidths=0,
        )  # fmt: skip
    axes.set_yticks(range(len(hazards)), [printable(hazard) for hazard in hazards])
    axes.set_ylim(max(len(hazards), 1) - 0.5, -0.6)
    axes.spines["left"].set_visible(False)
    axes.set_xlabel("safe rate")
    percent_axis(axes)
    _legend(figure, axes)
    return figure


def _legend(figure: Figure, axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside upper center", ncols=min(4, len(labels)))
