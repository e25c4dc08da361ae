"""The page: hostile text stays text, nothing is loaded, and it is the same bytes each time."""

import base64
import csv
import hashlib
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from synthetic_results import HOSTILE, make_report_inputs

from snaketune.plan.table_plan import figure_names
from snaketune.report.page import write_report
from snaketune.report.provenance import protocol_entries
from snaketune.report.sources import ReportSources

CAPTIONS = Path(__file__).parents[2] / "workflow" / "report"
VOID = {"meta", "br", "hr", "img", "link", "input"}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(folder, plan, inputs), with the report in the folder."""
    folder = tmp_path_factory.mktemp("results")
    plan, inputs = make_report_inputs(folder)
    write_report(plan, inputs, {}, folder / "report.html", folder / "figures")
    return folder, plan, inputs


@pytest.fixture(scope="module")
def html(made):
    return (made[0] / "report.html").read_text(encoding="utf-8")


class Page(HTMLParser):
    """What a browser would find: open tags, attributes, text."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.attributes, self.open, self.unbalanced = [], [], [], []
        self.text, self.scripts = "", []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, *pair) for pair in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, *pair) for pair in attrs]

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.unbalanced.append(tag)

    def handle_data(self, data):
        if self.open and self.open[-1] == "script":
            self.scripts.append(data)
        else:
            self.text += data


def test_hostile_outputs_are_shown_as_text(html):
    page = Page(html)
    assert page.tags.count("script") == 1
    assert {"img", "iframe", "object", "embed", "link", "base", "form"}.isdisjoint(page.tags)
    assert "<script>alert(1)</script> <img src=x onerror=alert(2)>" in page.text
    assert "document.title='owned'" in page.text
    assert "{{ 7 * 7 }} {% raw %} ${x} &amp; &lt;b&gt;" in page.text
    assert "<script>SAFE</script> or UNSAFE" in page.text
    assert "no <b>answer" in page.text
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]


def test_unseen_characters_are_made_visible(html):
    assert "⟨U+202E⟩right to left⟨U+202C⟩" in html
    assert "⟨U+0000⟩⟨U+0001⟩⟨U+0007⟩⟨U+001B⟩[31m" in html
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069]", html)


def test_long_outputs_are_cut_with_a_count(html):
    longest = max(len(text) for text in HOSTILE)
    counts = [int(n.replace(",", "")) for n in re.findall(r"… ([\d,]+) more", html)]
    assert longest - 1200 <= max(counts) < longest
    assert len(html) < 1_500_000


def test_nothing_is_loaded(html):
    page = Page(html)
    policy = next(v for t, n, v in page.attributes if (t, n) == ("meta", "content"))
    (script,) = page.scripts
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy == (
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
        f"form-action 'none'; script-src 'sha256-{digest}'"
    )
    loads = [v for t, n, v in page.attributes if n in ("src", "srcset", "data", "action")]
    links = [v for t, n, v in page.attributes if n in ("href", "xlink:href")]
    assert loads == []
    assert links
    assert not [v for v in links if re.match(r"(?i)\s*([a-z]+:|//)", v)]
    html = html.replace(script, "")
    assert set(re.findall(r"url\((.)", html)) <= {"#"}
    assert "@import" not in html


def test_tags_are_balanced_and_links_lead_somewhere(html):
    page = Page(html)
    assert page.unbalanced == page.open == []
    ids = [v for _, n, v in page.attributes if n == "id"]
    assert len(ids) == len(set(ids))
    anchors = {v[1:] for _, n, v in page.attributes if n.endswith("href") and v.startswith("#")}
    assert anchors <= set(ids)


def test_links_to_files_lead_to_files(made, html):
    links = [v for t, n, v in Page(html).attributes if (t, n) == ("a", "href")]
    files = {v for v in links if not v.startswith("#")}
    assert "scores/medium/gsm8k-few_shot_5.parquet" in files
    missing = [f for f in files if not (made[0] / f).exists() and not f.endswith("rejected.jsonl")]
    assert missing == []


def test_every_figure_is_a_file_and_on_the_page_and_has_a_caption(made, html):
    folder, plan, _ = made
    names = figure_names(plan)
    assert [figure["name"] for figure in names] == [
        "effects",
        "eval-gsm8k",
        "eval-safety",
        "hazards-safety",
        "snapshots",
        "loss-problems",
        "lengths",
    ]
    assert {f.stem for f in (folder / "figures").iterdir()} == {f["name"] for f in names}
    assert html.count('<svg role="img" aria-label="') == len(names)
    for figure in names:
        assert (CAPTIONS / f"{figure['kind']}.rst").read_text().strip()


def test_figures_carry_no_date_or_tool(made):
    for file in (made[0] / "figures").iterdir():
        text = file.read_text()
        assert "<metadata>" not in text, file.name
        assert "matplotlib.org" not in text, file.name


def test_page_and_figures_are_the_same_bytes_each_time(made, tmp_path):
    folder, plan, inputs = made
    write_report(plan, inputs, {}, tmp_path / "report.html", tmp_path / "figures")
    for file in [
        folder / "report.html", *(folder / "figures").iterdir(), *(folder / "examples").iterdir()
    ]:  # fmt: skip
        again = tmp_path / file.relative_to(folder)
        assert again.read_bytes() == file.read_bytes(), file.name


def test_numbers_of_the_tables_are_on_the_page(html):
    text = re.sub(r"\s+", " ", Page(html).text)
    assert "gsm8k: better, in 2 of 2 runs (" in text
    assert "62.5 %53.6 to 70.6" in text  # medium's accuracy with its interval
    assert "4 of 60 pairs lack an outcome" in text
    assert "✗ not reached" in text
    assert "Solve the problem step by step." in text  # the protocol's system turn
    assert "no <b>answer: 2" in text  # rejected records and why


@pytest.mark.parametrize(
    ("dtype", "base", "warned"),
    [("bfloat16", [64], True), ("bfloat16", [64, 128], False), ("float32", [64], False)],
)
def test_states_that_were_not_made_alike_are_named(made, monkeypatch, dtype, base, warned):
    _, plan, inputs = made
    sources = ReportSources(plan, inputs)
    run = next(run for run in sources.runs if run.base_state)
    name = next(spec.protocol_name for spec in run.evals.values())
    alike = {"dtype": dtype, "device": "a GPU"}
    found = {
        (run.base_state, name): alike | {"batch_sizes": base},
        (run.state, name): alike | {"batch_sizes": [64, 128]},
    }
    monkeypatch.setitem(sources.__dict__, "prediction_meta", found)
    (entry,) = (p for p in protocol_entries(sources) if p["name"] == name)
    words = f"batch sizes: {run.state} 64, 128, {run.base_state} 64"
    assert entry["unlike"] == ([words] if warned else [])


def test_an_adapter_that_was_not_trained_here_has_no_training_section(made, tmp_path):
    _, plan, inputs = made
    adapters = [
        replace(
            run,
            train_data=None,
            seed=None,
            preset={},
            swept={},
            method="adapter",
            snapshots=[],
            choose=None,
        )
        for run in plan.runs
    ]
    empty = tmp_path / "checkpoint_scores.csv"
    empty.write_text("run,snapshot\n")
    without = {"train_meta": [], "train_log": [], "stats": [], "lengths": []}
    inputs = type(inputs)(**{**vars(inputs), **without, "checkpoints": empty})
    plan = replace(plan, runs=adapters)
    write_report(plan, inputs, {}, tmp_path / "report.html", tmp_path / "figures")
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert 'id="training"' not in html
    assert "62.5 %" in html
    assert {f.stem for f in (tmp_path / "figures").iterdir()} == {
        "effects",
        "eval-gsm8k",
        "eval-safety",
        "hazards-safety",
    }


def test_a_snapshot_s_metric_may_have_no_interval(made, tmp_path):
    """As the mean of equal values has none."""
    _, plan, inputs = made
    with inputs.checkpoints.open(newline="") as file:
        rows = list(csv.DictReader(file))
    bare = tmp_path / "checkpoint_scores.csv"
    with bare.open("w", newline="") as file:
        table = csv.DictWriter(file, rows[0])
        table.writeheader()
        table.writerows({**row, "low": "", "high": ""} for row in rows)
    html = tmp_path / "report.html"
    inputs = type(inputs)(**{**vars(inputs), "checkpoints": bare})
    write_report(plan, inputs, {}, html, tmp_path / "figures")
    table = html.read_text(encoding="utf-8").partition('aria-label="Snapshot scores"')[2]
    assert f"{100 * float(rows[0]['value']):.1f} %" in table.partition("</table>")[0]
    assert "0.0 to 0.0" not in table


def test_a_run_is_shown_under_its_label(made, tmp_path):
    _, plan, inputs = made
    name = plan.runs[0].run
    html = tmp_path / "report.html"
    write_report(plan, inputs, {name: "Rank <8>"}, html, tmp_path / "figures")
    assert "Rank &lt;8&gt;" in html.read_text()
    assert "Rank <8>" not in html.read_text()
