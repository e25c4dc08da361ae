"""How all figures look, how they become the same SVG bytes each time, and parts of the page."""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from typing import Any, Literal

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from snaketune.report.sources import ReportSources

# Stand-ins that the page replaces by its own colours, so that figures follow light and dark.
INK, FAINT = "#1b2023", "#c9ced2"
BASE = "#868e96"
# Okabe and Ito's colours, which the colour-blind can tell apart; legible on white and on black.
COLOURS = ("#2f7fc1", "#d9782d", "#1f9e77", "#c061a0", "#b8960c", "#5aa9d6", "#cc4c3b")

_RC: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "snaketune",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9.5,
    "text.parse_math": False,  # a `$` in a label is a dollar sign
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
}
_METADATA = {"Date": None, "Creator": None, "Format": None, "Type": None}
_FONT = "system-ui, 'Segoe UI', 'Helvetica Neue', Arial, sans-serif"


@contextmanager
def house_style() -> Iterator[None]:
    """Figures made and saved inside have the report's look."""
    with mpl.rc_context(_RC):
        yield


def new_figure(height: float, width: float = 7.2) -> tuple[Figure, Axes]:
    """A figure in inches with one pair of axes. No pyplot: nothing global, nothing to close."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.add_subplot()


def to_svg(figure: Figure) -> str:
    """The figure as SVG without dates or tool names."""
    out = io.StringIO()
    figure.savefig(out, format="svg", metadata=_METADATA, facecolor="white")
    text = re.sub(r"\s*<metadata>.*?</metadata>", "", out.getvalue(), flags=re.DOTALL)
    return text.replace("'DejaVu Sans'", _FONT)


def inline_svg(svg: str, name: str, alt: str) -> Markup:
    """`svg` for the page: without prolog, with ids of its own, with the page's colours, and with
    `alt` for those who can't see it. The text was made by Matplotlib, which escapes labels."""
    body = svg[svg.index("<svg") :]
    body = re.sub(r'\b(id|xlink:href)="(#?)', rf'\1="\2{name}-', body)
    body = body.replace("url(#", f"url(#{name}-")
    body = re.sub(r' (width|height)="[0-9.]+pt"', "", body, count=2)
    body = body.replace(INK, "var(--ink)").replace(FAINT, "var(--line)")
    body = body.replace("fill: #ffffff", "fill: none")
    label = f'<svg role="img" aria-label="{escape(alt, quote=True)}" '
    return Markup(body.replace("<svg ", label, 1))


def state_colours(sources: ReportSources) -> dict[str, str]:
    """A colour a state, the same in every figure: grey for bases, the others in order."""
    bases = list(dict.fromkeys(run.base_state for run in sources.runs if run.base_state))
    states = [run.state for run in sources.runs]
    tuned = [state for state in states if state not in bases]
    found = {state: COLOURS[i % len(COLOURS)] for i, state in enumerate(tuned)}
    return found | dict.fromkeys(bases, BASE)


def printable(text: str, length: int = 40) -> str:
    """A label from data: control and direction characters out, cut to `length`."""
    kept = "".join(c for c in text if c.isprintable())
    return kept if len(kept) <= length else kept[: length - 1] + "…"


def percent_axis(axes: Axes, axis: Literal["x", "y"] = "x") -> None:
    """0 to 100 % with a light grid across."""
    getattr(axes, f"set_{axis}lim")(-0.02, 1.02)
    ticks = [0, 0.2, 0.4, 0.6, 0.8, 1]
    getattr(axes, f"set_{axis}ticks")(ticks, [f"{100 * t:.0f} %" for t in ticks])
    axes.grid(axis=axis)
