"""The page in a real browser, all boxes open: nothing for axe-core to complain of, no scrolling
sideways on a phone, whatever tokens and lines replies hold; where there is a Chromium."""

import html
import json
import os
import re
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
import synthetic_results
from test_report_examples import browse, needs_browser

from snaketune.report.page import write_report

# A newer one by hand: `AXE=…/axe.min.js`.
FOUND = find_spec("axe_core_python")
PLACES = [os.environ.get("AXE"), *(FOUND.submodule_search_locations if FOUND else [])]
AXE = next(
    (file for at in PLACES if at for file in [Path(at), Path(at, "axe.min.js")] if file.is_file()),
    None,
)
LONG = "W" * 1500
"""A token of some 20,000 px."""
LINE = "x" * 1_000_000 + " end"

TRY = """
addEventListener("load", async () => {
  const wait = (time) => new Promise((done) => setTimeout(done, time));
  for (let round = 0; round < 3; round++) {
    document.querySelectorAll("details").forEach((box) => { box.open = true; });
    await wait(300);
  }
  const shown = innerWidth;
  const found = window.axe ? await axe.run(document, { resultTypes: ["violations"] }) : null;
  const told = document.createElement("pre");
  told.id = "told";
  told.textContent = JSON.stringify({
    shown,
    width: document.documentElement.scrollWidth,
    closed: document.querySelectorAll("details:not([open])").length,
    violations: (found ? found.violations : []).map((v) => [
      v.impact, v.id, v.nodes.slice(0, 3).map((n) => n.html.slice(0, 200)),
    ]),
  });
  document.body.append(told);
  parent.postMessage(told.textContent, "*");
});
"""


FRAME = """<!doctype html><body style="margin: 0"><pre id="told"></pre>
<script>addEventListener("message", (e) => {{ told.textContent = e.data; }});</script>
<iframe style="border: 0; width: {width}px; height: 900px" src="{page}"></iframe>"""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A report whose ids, questions, labels and replies are as long as can be."""
    folder = tmp_path_factory.mktemp("results")
    with pytest.MonkeyPatch.context() as patch:
        hostile = [*synthetic_results.HOSTILE[:5], LINE, LONG]
        patch.setattr(synthetic_results, "HOSTILE", hostile)
        problem = synthetic_results._problem

        def long(i):
            name = "I" * 900 if i == 4 else problem(i).id
            return replace(
                problem(i), id=name, question=LONG if i % 9 == 0 else problem(i).question
            )

        patch.setattr(synthetic_results, "_problem", long)
        plan, inputs = synthetic_results.make_report_inputs(folder)
    write_report(plan, inputs, {"simple": "R" * 300}, folder / "report.html", folder / "figures")
    return folder


def tried(page, width, scheme, copy, axe=False):
    """What the page comes to with all boxes open, in a copy whose policy lets the test's script
    run."""
    text = page.read_text(encoding="utf-8")
    text, policies = re.subn(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", text)
    assert policies == 1
    dark = "@media (prefers-color-scheme: dark)"
    assert text.count(dark) == 1
    text = text.replace(dark, "@media all" if scheme == "dark" else "@media not all")
    scripts = [AXE.read_text(encoding="utf-8")] if axe else []
    added = "".join(f"<script>{script}</script>" for script in [*scripts, TRY])
    head, end, rest = text.rpartition("</body>")
    copy.write_text(head + added + end + rest, encoding="utf-8")
    # A window has at least 500 px, a frame as few as one likes.
    frame = copy.with_name("frame.html")
    frame.write_text(FRAME.format(width=width, page=copy.name), encoding="utf-8")
    found = re.search(r'<pre id="told">(.*?)</pre>', browse(frame, max(width, 500)), re.DOTALL)
    assert found, "the script did not come to its end"
    return json.loads(html.unescape(found[1]))


PAGES = ["report.html", "examples/gsm8k.html"]


@needs_browser
@pytest.mark.parametrize("page", PAGES)
def test_a_phone_shows_it_without_scrolling_sideways(made, tmp_path, page):
    assert len((made / "report.html").read_bytes()) < 3_000_000
    found = tried(made / page, 390, "light", tmp_path / "page.html")
    assert (found["shown"], found["width"], found["closed"]) == (390, 390, 0)


@needs_browser
@pytest.mark.skipif(AXE is None, reason="needs axe-core-python (envs/requirements-dev.txt)")
@pytest.mark.parametrize(
    ("page", "width", "scheme"),
    [("report.html", 1440, "light"), ("report.html", 390, "dark"), (PAGES[1], 1440, "dark")],
)
def test_axe_core_has_no_serious_finding(made, tmp_path, page, width, scheme):
    found = tried(made / page, width, scheme, tmp_path / "page.html", axe=True)
    assert found["closed"] == 0
    assert not [v for v in found["violations"] if v[0] in ("serious", "critical")]
