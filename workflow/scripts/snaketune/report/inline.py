"""SVG files as parts of the page."""

import re
from html import escape

from markupsafe import Markup

from snaketune.report.figures.style import FAINT, INK


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
