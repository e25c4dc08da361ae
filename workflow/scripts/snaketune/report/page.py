"""The report: one HTML page that needs no network and runs no script."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from snaketune.report import (
    before_after,
    classes,
    data,
    drops,
    examples,
    headline,
    machine,
    protocols,
    results,
    samples,
    training,
    use,
)
from snaketune.report.inline import inline_svg
from snaketune.report.sources import Sources
from snaketune.report.text import visible

_HERE = Path(__file__).parent
STYLE = Markup((_HERE / "style.css").read_text(encoding="utf-8"))


def render(sources: Sources, figures: dict[str, str]) -> str:
    """The page's HTML; `figures` are SVG texts by name.

    Model outputs, prompts and judges' words are untrusted. Every value goes through Jinja's
    autoescape; only the style sheet and the figures are markup.
    """
    cards = headline.cards(sources)
    return environment().get_template("page.html.j2").render(
        style=STYLE,
        experiment=sources.plan["experiment"],
        headline=headline.headline(cards),
        cards=cards,
        tables=results.tables(sources),
        thresholds=results.thresholds(sources),
        figures=_inlined(figures),
        settings=training.settings(sources),
        resources=training.resources(sources),
        checkpoints=sources.checkpoints,
        epochs=sources.epochs,
        drops=drops.drops(sources),
        swept=bool(sources.sweep),
        sampled=samples.sampled(sources),
        answers=before_after.before_after(sources),
        classes=classes.classes(sources),
        galleries=examples.galleries(sources),
        datasets=data.datasets(sources),
        across=data.across(sources),
        token_sets=data.token_sets(sources),
        protocols=protocols.protocols(sources),
        models=machine.models(sources),
        machine=machine.machine(sources),
        use=use.use(sources),
        libraries=machine.libraries(sources),
    )  # fmt: skip


def environment(ending: str = "html") -> Environment:
    """Where templates are; only plain text is not escaped."""
    environment = Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=ending != "txt",
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["visible"] = visible
    return environment


_ALTS = {
    "eval": "The primary metric of every state with its 95 percent interval, as in the table.",
    "hazards": "Safe rate by hazard, a dot for each state.",
    "confusion": "Predicted labels by gold label and by group, a heat map for each state.",
    "reliability": "Share of right predictions by confidence, a line for each state.",
    "votes": "Majority vote, best of n and pass@n of every state over the number of samples.",
    "unique": "Shares of the questions by the number of different answers, by state.",
    "sweep": "The primary metric of every swept run over each value that was tried.",
    "epochs": "The primary metric of every run after each epoch, with 95 percent intervals.",
    "training_time": "Seconds of training by run.",
    "evaluation_time": "Seconds of evaluation by run.",
    "snapshots": "Scores of each run's snapshots on the dev split over training steps.",
    "loss": "Training loss by run over training steps, with dev losses as points, and below "
    "the accuracy on dev of runs with short answers.",
    "lengths": "Histogram of the lengths of training rows in tokens, with the limit.",
}


def _inlined(figures: dict[str, str]) -> dict[str, Markup]:
    return {
        name: inline_svg(svg, name, _ALTS[name.partition("-")[0]]) for name, svg in figures.items()
    }
