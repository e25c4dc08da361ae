"""Writes the figures and the page."""

from collections.abc import Mapping
from pathlib import Path

from snaketune.plan.resources import Requests
from snaketune.plan.table_plan import TablePlan
from snaketune.report.failures import failure_pages
from snaketune.report.figures.all import draw_all
from snaketune.report.page import render
from snaketune.report.sources import Inputs, Sources
from snaketune.runtime.files import write_text


def write_report(
    plan: TablePlan,
    inputs: Inputs,
    labels: Mapping[str, str],
    html: Path,
    figures: Path,
    asked: Requests | None = None,
    at_least: Mapping[str, int] | None = None,
) -> None:
    """The page at `html`, the same figures as files in the folder `figures`, and beside the page
    `failures/` with every missed question; `labels` are the names of runs for readers, `asked` what
    the jobs asked for, `at_least` by protocol the different answers that a shown failure has."""
    sources = Sources(plan, inputs, labels, asked, at_least)
    drawn = draw_all(sources)
    for name, svg in drawn.items():
        write_text(figures / f"{name}.svg", svg)
    for name, text in failure_pages(sources).items():
        write_text(html.parent / name, text)
    write_text(html, render(sources, drawn))
