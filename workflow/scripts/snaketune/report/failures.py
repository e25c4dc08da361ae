"""Every question on which samples held the right answer and nobody picked it, in full: a page and
a text an eval."""

from snaketune.report.names import failure_names
from snaketune.report.page import STYLE, environment
from snaketune.report.samples import failures
from snaketune.report.sources import Sources


def failure_pages(sources: Sources) -> dict[str, str]:
    """HTML and plain text by file, relative to the report. Samples are untrusted: the HTML escapes
    them, and in both what is unseen is spelled out, so that a terminal obeys nothing in it."""
    pages = {}
    for name in failure_names(sources.plan):
        content = {
            "experiment": sources.plan["experiment"],
            "eval": name,
            "states": failures(sources, name, whole=True),
            "style": STYLE,
        }
        for ending in ("html", "txt"):
            template = environment(ending).get_template(f"failures.{ending}.j2")
            pages[f"failures/{name}.{ending}"] = template.render(content)
    return pages
