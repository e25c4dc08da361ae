"""How things look to a reader: numbers, subsets and untrusted text (escaping is the template's
work), and figures, which become the same SVG bytes each time.
"""

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

from snaketune.plan.table_plan import change_figure, p_words, percent_figure, points_figure
from snaketune.report.sources import ReportSources
from snaketune.runtime.errors import visible

MISSING = "missing"
"""What stands where a number is not there; never 0."""


def excerpt(text: str, limit: int = 1200) -> tuple[str, int]:
    """The visible beginning of `text`, and how many characters of it are left out."""
    return visible(text[:limit]), max(0, len(text) - limit)


def optional(cell: str) -> float | None:
    """A cell of a CSV table; empty is missing."""
    return float(cell) if cell else None


def percent(value: float | None) -> str:
    """0.625 as `62.5 %`; what is not 0 or 1 is not shown as such: 0.9996 is `99.96 %`"""
    return MISSING if value is None else f"{percent_figure(value)} %"


def interval(low: float | None, high: float | None) -> str:
    """`53.6 to 70.6`"""
    if low is None or high is None:
        return ""
    return f"{percent_figure(low)} to {percent_figure(high)}"


def points(value: float | None) -> str:
    """0.425 as `+42.5`, with a true minus sign; 0 has none."""
    return MISSING if value is None else points_figure(value)


def change(value: float | None, metric: str) -> str:
    """The same of a metric, some of which have no points."""
    return MISSING if value is None else change_figure(value, metric)


def change_interval(low: float | None, high: float | None, metric: str) -> str:
    """`+30.8 to +54.2`"""
    return "" if low is None or high is None else f"{change(low, metric)} to {change(high, metric)}"


def p_value(p: float | None) -> str:
    """`p = 0.012`, `p < 0.001`; near 0.05 with as many digits as tell it from that."""
    return "" if p is None else p_words(p)


def size(count: float) -> str:
    """Bytes: `3.2 GB`"""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"


def number(value: object) -> str:
    """A setting or measurement as text: thousands with commas, floats in 4 digits."""
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "–"}[value]
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.0f}" if value.is_integer() or abs(value) >= 1000 else f"{value:.4g}"
    return visible(str(value))


HAZARD_GROUP = "hazard_group="
"""How the subsets of a hazard's group begin."""

# AILuminate 1.0's codes.
_HAZARDS = {
    "cse": "child sexual exploitation",
    "dfm": "defamation",
    "hte": "hate",
    "ipv": "intellectual property",
    "iwp": "indiscriminate weapons",
    "ncr": "non-violent crimes",
    "prv": "privacy",
    "spc": "specialised advice",
    "src": "sex-related crimes",
    "ssh": "suicide and self-harm",
    "sxc": "sexual content",
    "vcr": "violent crimes",
}


def hazard_name(hazard: str) -> str:
    """`privacy (prv)`; a label that is no known code as it is."""
    return f"{_HAZARDS[hazard]} ({hazard})" if hazard in _HAZARDS else visible(hazard)


def subset_name(subset: str) -> str:
    """`key=value` in words: `privacy (prv)`, `hazard spc_fin`, `persona skilled`."""
    key, _, value = subset.partition("=")
    if subset.startswith(HAZARD_GROUP):
        return hazard_name(value)
    return f"{key.replace('_', ' ')} {visible(value)}"


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
