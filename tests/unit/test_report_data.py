"""The page's section on data, from manifests."""

import html
import json
import re
from dataclasses import replace

import pytest
from prepared_data import prepared, write_lines
from synthetic_results import make_report_inputs

from snaketune.data.example import ORIGINAL, Example
from snaketune.data.overlap import leakage_between
from snaketune.report.page import render_page
from snaketune.report.sources import ReportSources


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return make_report_inputs(tmp_path_factory.mktemp("results"))


@pytest.fixture
def page(results, tmp_path):
    """The page's words, with the data of a manifest."""

    def of(manifest: dict, **inputs: object) -> str:
        plan, files = results
        file = tmp_path / "manifest.json"
        file.write_text(json.dumps(manifest))
        found = render_page(ReportSources(plan, replace(files, manifests=[file], **inputs)), {})
        return html.unescape(re.sub(r"\s+", " ", re.sub("<[^>]+>", " ", found)))

    return of


QUESTION = {"q": "2 + 2?", "o": ["4", "5"], "a": "4"}
COLUMNS = {"question": "q", "choices": "o", "answer": "a"}


def test_records_with_repeated_options_are_named_kept_or_rejected(page, tmp_path):
    records = [QUESTION, QUESTION | {"o": ["4", "5", "5"]}]
    write_lines(tmp_path / "test.jsonl", records)
    for settings, said in (
        ({"repeated_options": "keep"}, "Kept although an option stands twice"),
        ({"rejected_at_most": 0.5}, "Rejected because an option stands twice"),
    ):
        found = prepared(tmp_path / "test.jsonl", "table", columns=COLUMNS, **settings)
        text = page(found.manifest)
        assert f"{said}: test: test.jsonl, record 2" in text
        assert text.count("an option stands twice") == 1


def test_overlap_is_counted_by_kind_within_and_between_datasets(page, tmp_path):
    train = [Example("t1", "How many apples has Ada in her basket?")]
    asked = [Example("q1", "How many APPLES has Ada in her basket?")]
    meta = json.dumps({ORIGINAL: train[0].question})
    asked.append(Example("q2", "Ada's apples: how many?", meta=meta))
    file = tmp_path / "lessons-exam.json"
    file.write_text(json.dumps(leakage_between("lessons", train, "exam", {"test": asked})))
    write_lines(tmp_path / "test.jsonl", [QUESTION])
    manifest = prepared(tmp_path / "test.jsonl", "table", columns=COLUMNS).manifest
    text = page(manifest, leakage=[file])
    assert "Between datasets" in text
    assert "test in lessons 1 1 0 2" in text, "exact, rephrased, near, rows"
    assert "q2 t1 rephrased 1" in text
    assert "Between datasets" not in page(manifest)
