"""Every example to search, sort and filter: what a row is, which ones the page shows, whole rows as
CSV that no spreadsheet computes, and the script in a real browser, where there is one."""

import csv
import hashlib
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from synthetic_results import HOSTILE, make_report_inputs
from test_report_page import Page

from snaketune.report import examples
from snaketune.report.page import write_report
from snaketune.report.sources import ReportSources
from snaketune.runtime.errors import in_cell

REPORT = Path(examples.__file__).parent
# `npm pack datatables.net@3.1.5`, js/dataTables.min.js
LIBRARY = "38017a5586acd9c6eb6bbfe8b6938e1a25bdc717c5acfcb07e0c9d663282c59d"
CHROMIUM = next(filter(None, map(shutil.which, ["chromium", "chromium-browser"])), None)
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(folder, sources), with the report in the folder."""
    folder = tmp_path_factory.mktemp("results")
    plan, inputs = make_report_inputs(folder)
    write_report(plan, inputs, {}, folder / "report.html", folder / "figures")
    return folder, ReportSources(plan, inputs)


def browse(page, width=1440):
    """The document after its scripts ran."""
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu"]
    command += [f"--window-size={width},1000", "--virtual-time-budget=20000"]
    command += ["--hide-scrollbars", "--dump-dom", page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=300).stdout


@pytest.mark.parametrize(
    ("cell", "plain"),
    [
        ("=1+1", "'=1+1"),
        ("+cmd", "'+cmd"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\tx", "'\tx"),
        ("\rx", "'\rx"),
        ("-1+1", "'-1+1"),
        ("-12.5", "-12.5"),
        ("-1,200", "-1,200"),
        ("a=1", "a=1"),
        ("", ""),
    ],
)
def test_no_cell_is_a_formula(cell, plain):
    assert in_cell(cell) == plain


def test_whole_rows_are_a_csv(made):
    folder, sources = made
    with (folder / "examples/gsm8k.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    cells = [cell for cell, _ in sources.cells("gsm8k")]
    assert len(rows) == sum(len(sources.scores[cell]) for cell in cells) == 480
    expected = {(*cell, s["id"]): s["output"] for cell in cells for s in sources.scores[cell]}
    found = {(r["state"], r["protocol"], r["id"]): r["output"] for r in rows}
    assert {key: text.replace("\r\n", "\n") for key, text in found.items()} == {
        key: in_cell(text).replace("\r\n", "\n") for key, text in expected.items()
    }


def test_rows_say_what_replies_came_to(made):
    _, sources = made
    table = examples.whole_table(sources, "gsm8k")
    cells = [cell for cell, _ in sources.cells("gsm8k")]
    assert [table["states"][at] for at in table["bases"] if at >= 0] == [
        "base-tiny-nf4",
        "base-tiny-nf4 (few_shot_5)",
    ]
    scores = [{s["id"]: s for s in sources.scores[cell]} for cell in cells]
    for row in table["rows"]:
        for at, word in enumerate(row["flags"].split(" ")):
            score = scores[at][row["id"]]
            assert ("r" in word) == score["correct"]
            assert ("u" in word) == (score["parsed"] is None)
            base = table["bases"][at]
            before = scores[base][row["id"]]["correct"] if base >= 0 else score["correct"]
            assert ("c" in word) == (before != score["correct"])
        assert row["right"] == sum(known[row["id"]]["correct"] for known in scores)
    kinds = dict(table["kinds"])
    assert kinds["r"] == "right"
    assert "Right now, wrong in the base" in kinds.values()


@pytest.mark.parametrize(("most", "count"), [(300, 120), (120, 120), (119, 119), (5, 5)])
def test_the_page_shows_some_and_each_kind_of_them(made, monkeypatch, most, count):
    _, sources = made
    monkeypatch.setattr(examples, "SHOWN", most)
    table = next(t for t in examples.example_tables(sources) if t["eval"] == "gsm8k")
    assert (len(table["rows"]), table["count"]) == (count, 120)
    if most == 5:
        assert any("c" in row["flags"] for row in table["rows"])
        assert not all("c" in row["flags"] for row in table["rows"])


@pytest.mark.parametrize("text", ["a" * 5000, "语" * 5000, "é" * 5000])
def test_the_page_s_examples_keep_to_their_room(made, monkeypatch, text):
    _, sources = made
    outputs = {c: [s | {"output": text} for s in rows] for c, rows in sources.scores.items()}
    monkeypatch.setitem(sources.__dict__, "scores", outputs)
    monkeypatch.setattr(examples, "ROOM", 200_000)
    tables = examples.example_tables(sources)
    size = sum(
        sum(130 + len(reply["text"][0].encode()) for reply in row["replies"]) + 450
        for table in tables
        for row in table["rows"]
    )
    assert size <= 200_000
    replies = [reply for table in tables for row in table["rows"] for reply in row["replies"]]
    assert all(len(r["text"][0]) + r["text"][1] == 5000 for r in replies)


def test_every_table_has_a_caption(made):
    for file in [made[0] / "report.html", *(made[0] / "examples").glob("*.html")]:
        html = file.read_text(encoding="utf-8")
        for script in Page(html).scripts:
            html = html.replace(script, "")
        assert html.count("<table") == html.count("<caption>") > 0, file.name


def test_a_page_of_examples_has_all_of_them_and_no_other_script(made):
    page = Page((made[0] / "examples/gsm8k.html").read_text(encoding="utf-8"))
    assert sum(name == "data-flags" for _, name, _ in page.attributes) == 120
    assert page.tags.count("script") == 1
    assert HOSTILE[0] in page.text
    assert page.unbalanced == page.open == []


def test_the_table_library_is_the_one_that_was_read():
    assert hashlib.sha256((REPORT / "datatables.min.js").read_bytes()).hexdigest() == LIBRARY
    assert "The MIT License" in (REPORT / "datatables.LICENSE.txt").read_text()
    for name in ("datatables.min.js", "report.js"):
        text = (REPORT / name).read_text(encoding="utf-8")
        assert not re.search(r"</script|<!--|\r", text), name
    own = (REPORT / "report.js").read_text(encoding="utf-8")
    assert not re.search(r"innerHTML|insertAdjacent|document\.write|eval\(", own)


@needs_browser
def test_the_script_runs_and_no_other(made, tmp_path):
    html = (made[0] / "examples/gsm8k.html").read_text(encoding="utf-8")
    planted = (
        "<script>document.title = 'owned'</script><img src=x onerror=\"document.title='owned'\">"
    )
    page = tmp_path / "page.html"
    page.write_text(html.replace("</main>", planted + "</main>"), encoding="utf-8")
    found = browse(page)
    assert "<title>owned" not in found
    assert 'type="search"' in found
    assert found.count("data-flags=") == 10  # a page of the table
    assert "<script>alert(1)" not in found.replace("&lt;", "")
