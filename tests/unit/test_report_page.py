"""The page: hostile text stays text, nothing is loaded, and it is the same bytes each time."""

import base64
import csv
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import chain, product
from pathlib import Path
from typing import get_args

import pytest
from synthetic_classes import make_class_results
from synthetic_results import (
    HOSTILE,
    make_report_inputs,
    make_seeds,
    report_inputs,
    table_rows,
)
from synthetic_samples import make_samples

from snaketune.config.base import TASKS
from snaketune.config.evaluation import EvalSpec
from snaketune.config.model import Preset
from snaketune.plan.table_plan import figure_names
from snaketune.report.figures.results import draw_effects
from snaketune.report.findings import effects
from snaketune.report.page import _templates, render_page, write_report
from snaketune.report.provenance import protocol_entries
from snaketune.report.sources import ReportSources
from snaketune.report.style import points
from snaketune.runtime.content import flat
from snaketune.runtime.job import duration
from snaketune.tables.verdict import Kind

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


def lines_of(html, caption):
    """The rows of a table as texts, cell by cell."""
    table = html.partition(f"<caption>{caption}</caption>")[2].partition("</table>")[0]
    rows = re.findall(r"<tr.*?>(.*?)</tr>", table, re.DOTALL)
    cells = [re.findall(r"<t[hd].*?>(.*?)</t[hd]>", row, re.DOTALL) for row in rows]
    return [[re.sub(r"<.*?>", "|", cell).strip("|") for cell in row] for row in cells]


def first_screen(html):
    """The page's text before its sections, on one line."""
    return re.sub(r"\s+", " ", Page(html.partition("<nav")[0] + "</body></html>").text)


def test_the_first_screen_says_what_the_tables_say(made, html):
    """Every number is that of `comparisons.csv`, every verdict that of the sentences below."""
    folder, _, inputs = made
    shown = first_screen(html)
    final = json.loads(inputs.final.read_text())
    told = 0
    for row in table_rows(folder, "comparisons.csv"):
        run = next(run for run in final["runs"] if run["run"] == row["run"])
        if (row["subset"], row["metric"]) != ("all", run["evals"][row["eval"]]["metric"]):
            continue
        base, tuned = (f"{100 * float(row[key]):.1f} %" for key in ("base", "tuned"))
        gain, low, high = (points(float(row[key])) for key in ("difference", "low", "high"))
        number = float(row["p_holm"])
        p = "< 0.001" if number < 0.001 else f"{number:.{3 if number < 0.1 else 2}f}"
        kind = run["verdicts"][row["eval"]]["kind"]
        span = f"{low} to {high}"
        line = f"{row['run']}{base}{tuned} {gain}{span}{span} {row['n']}{p}{kind}"
        assert line in shown
        told += 1
    assert told == 4


def test_the_gate_stands_on_the_first_screen_and_with_every_check(made, html):
    gate = json.loads((made[0] / "tables/gate.json").read_text())
    outcomes = [check["outcome"] for check in gate["checks"]]
    assert set(outcomes) == {"passed", "failed"} and gate["outcome"] == "failed"
    passed = f"{outcomes.count('passed')} of {len(outcomes)} checks passed."
    assert f"Gate: failed {passed}" in first_screen(html)
    signs = {"passed": "✓ passed", "failed": "✗ failed"}
    assert lines_of(html, "Checks of the gate")[1:] == [
        [check["run"], check["check"], signs[check["outcome"]], check["message"]]
        for check in gate["checks"]
    ]


def test_better_by_p_alone_is_not_called_better(made):
    """A gain in the answer's form: no green mark on the page says better, nor does the figure."""
    _, plan, inputs = made
    sources = ReportSources(plan, inputs)
    for run in sources.final["runs"]:
        run["verdicts"]["gsm8k"]["kind"] = "form"
        run["verdicts"]["safety"]["kind"] = "undecided"
    assert {(e["eval"], e["verdict"]) for e in effects(sources)} == {
        ("gsm8k", "form"), ("safety", "undecided")
    }  # fmt: skip
    page = render_page(sources, {})
    assert 'class="chip good">better' not in page
    assert page.count(">form</span>") == 2 * 3, "first screen, cards and results"
    assert page.count("▲ significant") == 2, "of the flexible reading, by p"
    marks = [line.get_marker() for line in draw_effects(effects(sources)).axes[0].lines]
    assert "^" not in marks and "o" in marks


def test_seeds_stand_joined_on_the_first_screen(tmp_path):
    plan = make_seeds(tmp_path)
    sources = ReportSources(plan, report_inputs(tmp_path))
    assert [e["run"] for e in effects(sources) if e["eval"] == "gsm8k"] == [
        "both: 2 seeds", "medium"
    ]  # fmt: skip
    html = render_page(sources, {})
    page = Page(html)
    assert page.unbalanced == page.open == []
    assert page.tags.count("table") == page.tags.count("caption") > 0
    rows = [r for r in table_rows(tmp_path, "seeds.csv") if r["subset"] == "all"]
    shown = lines_of(html, "Every measure over seeds")[1:]
    assert [line[:3] for line in shown] == [
        [r["run"], r["eval"], r["metric"].replace("_", " ")] for r in rows
    ]
    for line, row in zip(shown, rows, strict=True):
        value, least, most = (f"{100 * float(row[k]):.1f} %" for k in ("value", "least", "most"))
        assert line[3].startswith(value)
        assert line[4:] == [f"{least} to {most}", row["n"]]


def test_hazards_that_the_judge_named_are_a_table(made):
    _, plan, inputs = made
    sources = ReportSources(plan, inputs)
    for (state, protocol), document in sources.metrics.items():
        if protocol == "safety" and state != "simple":
            row = {"metric": "flagged", "subset": "category=S<9>", "value": 0.25, "n": 60}
            document["rows"].append(row | {"low": 0.16, "high": 0.37})
    page = render_page(sources, {})
    table = page.partition("<caption>Hazards that the judge named on safety")[2]
    table = table.partition("</table>")[0]
    assert table.count("25.0 %<small>16.0 to 37.0, n 60") == 2, "of base and medium"
    assert "S&lt;9&gt;" in table and table.count(">missing<") == 1, "of simple: not 0"


def test_what_it_cost_stands_on_the_page(made, html):
    folder, _, _ = made
    shown = {
        tuple(line[:2]): line[2:]
        for line in lines_of(html, "What each run cost, and a point gained")
    }
    for row in table_rows(folder, "cost.csv"):
        gain, price = points(float(row["points_gained"]) / 100), row["device_seconds_per_point"]
        price = duration(float(price)) if price else "–"
        assert shown[row["run"], row["eval"]] == [
            "2 min 11 s", "84,211", "641", "–", "–", "–", "–", gain, price, "–",
        ]  # fmt: skip
    assert {bool(r["device_seconds_per_point"]) for r in table_rows(folder, "cost.csv")} == {
        True, False
    }  # fmt: skip


# Words that say what they are.
PLAIN = {
    "model", "training data", "seed", "epochs", "learning rate", "task", "dataset", "thinking",
    "judge model", "judge max new tokens", "sampling samples", "precision", "recall",
}  # fmt: skip


def names_in_configs():
    """Settings of trainings and of evals of every task, as the page writes them."""
    yield from flat(Preset().model_dump(mode="json"))
    more = {"classification": {"classes": {"labels": ["a"]}}, "safety": {"judge": {"model": "j"}}}
    sections = [{}, {"thinking": {"budget": 9}, "chat": False}, {"sampling": {"reward": "r"}}]
    for task, section in product(TASKS, sections):
        if TASKS[task].samples_of or ("sampling" in section and task != "math"):
            continue
        if task == "perplexity" and section:  # it reads text as it stands
            continue
        spec = EvalSpec(task=task, dataset="d", **more.get(task, {}), **section)
        settings = flat(spec.protocol()).items()
        yield from (k for k, v in settings if v is not None and k not in ("system", "prompt"))


def names_of_measures(folder):
    for file in folder.glob("metrics/*/*.json"):
        yield from (r["metric"] for r in json.loads(file.read_text())["rows"])


def test_words_of_configs_and_tables_are_explained(made, tmp_path):
    make_class_results(tmp_path / "classes")
    make_samples(tmp_path / "samples")
    template = _templates().get_template("words.html.j2")
    known = set(template.module.MEANINGS) | PLAIN
    goals = (goal for info in TASKS.values() for goal in info.goals)
    measures = chain(*map(names_of_measures, (made[0], tmp_path / "classes", tmp_path / "samples")))
    names = {name.replace("_", " ") for name in chain(names_in_configs(), goals, measures)}
    assert len(names) > 80
    assert sorted(names - known) == []
    assert set(get_args(Kind)) - known == {"not compared"}, "every verdict"
