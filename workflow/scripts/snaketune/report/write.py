"""Writes the figures and the page."""

from collections.abc import Mapping
from pathlib import Path

from snaketune.asked import Asked
from snaketune.jsonl import write_text
from snaketune.report.figures.all import draw_all
from snaketune.report.page import render
from snaketune.report.sources import Inputs, Sources
from snaketune.tables.plan_types import TablePlan


def write_report(
    plan: TablePlan,
    inputs: Inputs,
    labels: Mapping[str, str],
    html: Path,
    figures: Path,
    asked: Asked | None = None,
) -> None:
    """The page at `html`, the same figures as files in the folder `figures`; `labels` are the
    names of runs for readers, `asked` what the jobs asked for."""
    sources = Sources(plan, inputs, labels, asked)
    drawn = draw_all(sources)
    for name, svg in drawn.items():
        write_text(figures / f"{name}.svg", svg)
    write_text(html, render(sources, drawn))
