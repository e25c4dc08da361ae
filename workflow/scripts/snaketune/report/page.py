"""The report: one HTML page that needs no network, its figures, a page and a CSV with every example
of an eval, and for samples pages with every question that was missed.
"""

import json
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from hashlib import sha256
from itertools import chain, groupby
from pathlib import Path
from typing import NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from snaketune.plan.table_plan import TablePlan, example_names, failure_names, figure_names
from snaketune.report import classes, examples, findings, provenance, results, samples, training
from snaketune.report.figures import answers as answer_figures
from snaketune.report.figures import results as result_figures
from snaketune.report.figures import training as training_figures
from snaketune.report.sources import ReportInputs, ReportSources
from snaketune.report.style import house_style, inline_svg, to_svg
from snaketune.runtime.errors import visible
from snaketune.runtime.files import write_text

_HERE = Path(__file__).parent
_STYLE = Markup((_HERE / "style.css").read_text(encoding="utf-8"))
_SCRIPT = Markup(
    "\n".join(
        (_HERE / name).read_text(encoding="utf-8") for name in ("datatables.min.js", "report.js")
    )
)
# Nothing is loaded, and of scripts this one alone may run, wherever text of a model ended up.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'"
_POLICY += "; form-action 'none'"
_DIGEST = b64encode(sha256(_SCRIPT.encode()).digest()).decode()
_SCRIPTED = f"{_POLICY}; script-src 'sha256-{_DIGEST}'"


def write_report(
    plan: TablePlan,
    inputs: ReportInputs,
    labels: Mapping[str, str],
    html: Path,
    figures: Path,
    at_least: Mapping[str, int] | None = None,
) -> None:
    """The page at `html`, the same figures as files in the folder `figures`, and beside the page
    `examples/` with every example and `failures/` with every missed question; `labels` are
    the names of runs for readers, `at_least` how many different answers a shown failure has, by
    protocol.
    """
    sources = ReportSources(plan, inputs, labels, at_least)
    drawn = draw_figures(sources)
    for name, svg in drawn.items():
        write_text(figures / f"{name}.svg", svg)
    for name, text in chain(example_pages(sources), failure_pages(sources).items()):
        write_text(html.parent / name, text)
    write_text(html, render_page(sources, drawn))


def render_page(sources: ReportSources, figures: Mapping[str, str]) -> str:
    """The page's HTML; `figures` are SVG texts by name.

    Model outputs, prompts and judges' words are untrusted. Every value goes through Jinja's
    autoescape; only the style sheet and the figures are markup.
    """
    cards = findings.run_cards(sources)
    return _templates().get_template("page.html.j2").render(
        style=_STYLE,
        policy=_SCRIPTED,
        script=_SCRIPT,
        experiment=sources.plan.experiment,
        effects=_by_eval(findings.effects(sources)),
        headline=findings.headline(sources) + visible(findings.dropped_rows(sources.stats)),
        cards=cards,
        tables=results.result_tables(sources),
        gate=findings.gate_table(sources),
        figures=_inlined(figures),
        settings=training.settings_table(sources),
        resources=training.resources_table(sources),
        adapters=training.adapter_tables(sources),
        cost=training.cost_lines(sources),
        costs=training.COSTS,
        checkpoints=sources.checkpoints,
        epochs=sources.epochs,
        drops=results.drop_lines(sources),
        seeds=results.seed_lines(sources),
        seed_figures=results.seed_figures(sources),
        swept=bool(sources.sweep),
        sampled=samples.sample_tables(sources),
        answers=findings.answers_side_by_side(sources),
        classes=classes.class_tables(sources),
        examples=examples.example_tables(sources),
        datasets=provenance.dataset_entries(sources),
        across=provenance.overlap_across(sources),
        token_sets=provenance.token_set_entries(sources),
        protocols=provenance.protocol_entries(sources),
        models=provenance.model_facts(sources),
        machine=provenance.machine_facts(sources),
        use=training.usage_rows(sources),
        libraries=provenance.library_facts(sources),
    )  # fmt: skip


def _by_eval(found: list[findings.Effect]) -> list[tuple[str, list[findings.Effect]]]:
    return [(name, list(rows)) for name, rows in groupby(found, lambda effect: effect["eval"])]


def example_pages(sources: ReportSources) -> Iterator[tuple[str, str]]:
    """Every eval's examples by file, relative to the report, one file after another: HTML, and as
    CSV with all that was scored."""
    template = _templates().get_template("examples_page.html.j2")
    for name in example_names(sources.plan):
        table = examples.whole_table(sources, name)
        content = {"experiment": sources.plan.experiment, "table": table}
        content |= {"style": _STYLE, "policy": _SCRIPTED, "script": _SCRIPT}
        yield table["page"], template.render(content)
        yield table["file"], examples.example_csv(sources, name)


def failure_pages(sources: ReportSources) -> dict[str, str]:
    """Every question on which samples held the right answer and nobody picked it, in full: HTML and
    plain text by file, relative to the report. Samples are untrusted: the HTML escapes them, and in
    both what is unseen is spelled out, so that a terminal obeys nothing in it."""
    pages = {}
    for name in failure_names(sources.plan):
        content = {
            "experiment": sources.plan.experiment,
            "eval": name,
            "states": samples.missed_questions(sources, name, whole=True),
            "style": _STYLE,
            "policy": _POLICY,
        }
        for ending in ("html", "txt"):
            template = _templates(ending).get_template(f"failures.{ending}.j2")
            pages[f"failures/{name}.{ending}"] = template.render(content)
    return pages


def _templates(ending: str = "html") -> Environment:
    """Only plain text is not escaped."""
    environment = Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=ending != "txt",
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["visible"] = visible
    environment.filters["plain_json"] = lambda value: json.dumps(value, ensure_ascii=False)
    return environment


def draw_figures(sources: ReportSources) -> dict[str, str]:
    """SVG text by the names that `figure_names` promises: `kind` or `kind-eval`."""
    found = {}
    with house_style():
        for figure in figure_names(sources.plan):
            kind, _, eval_name = figure["name"].partition("-")
            found[figure["name"]] = to_svg(_FIGURES[kind].draw(sources, eval_name))
    return found


def _inlined(figures: Mapping[str, str]) -> dict[str, Markup]:
    return {
        name: inline_svg(svg, name, _FIGURES[name.partition("-")[0]].alt)
        for name, svg in figures.items()
    }


class _Kind(NamedTuple):
    """A kind of figure."""

    draw: Callable[[ReportSources, str], Figure]
    """From the sources and an eval's name; empty where the figure is of all evals."""
    alt: str
    """For those who can't see it."""


_FIGURES = {
    "effects": _Kind(
        lambda sources, _: result_figures.effects_figure(sources),
        "The difference of every run to its base on every eval, with its 95 percent interval and "
        "verdict, as in the table beside it.",
    ),
    "eval": _Kind(
        result_figures.states_figure,
        "The primary metric of every state with its 95 percent interval, as in the table.",
    ),
    "hazards": _Kind(
        result_figures.hazards_figure,
        "Safe rate by hazard, a dot for each state.",
    ),
    "confusion": _Kind(
        answer_figures.confusion_figure,
        "Predicted labels by gold label and by group, a heat map for each state.",
    ),
    "reliability": _Kind(
        answer_figures.reliability_figure,
        "Share of right predictions by confidence, a line for each state.",
    ),
    "votes": _Kind(
        answer_figures.voting_figure,
        "Majority vote, best of n and pass@n of every state over the number of samples.",
    ),
    "unique": _Kind(
        answer_figures.unique_figure,
        "Shares of the questions by the number of different answers, by state.",
    ),
    "sweep": _Kind(
        result_figures.sweep_figure,
        "The primary metric of every swept run over each value that was tried.",
    ),
    "epochs": _Kind(
        training_figures.epochs_figure,
        "The primary metric of every run after each epoch, with 95 percent intervals.",
    ),
    "training_time": _Kind(
        lambda sources, _: training_figures.training_time_figure(sources),
        "Seconds of training by run.",
    ),
    "evaluation_time": _Kind(
        lambda sources, _: training_figures.evaluation_time_figure(sources),
        "Seconds of evaluation by run.",
    ),
    "snapshots": _Kind(
        lambda sources, _: training_figures.snapshots_figure(sources),
        "Scores of each run's snapshots on the dev split over training steps.",
    ),
    "loss": _Kind(
        training_figures.loss_figure,
        "Training loss by run over training steps, with dev losses as points, and below "
        "the accuracy on dev of runs with short answers.",
    ),
    "lengths": _Kind(
        lambda sources, _: training_figures.lengths_figure(sources),
        "Histogram of the lengths of training rows in tokens, with the limit.",
    ),
}
