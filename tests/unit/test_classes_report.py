"""Tables, figures and page of an experiment with classes, against counts by hand."""

import csv
import json
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from synthetic_classes import KINDS, LABELS, STATES, N, make_class_results, make_plan
from test_report_page import CAPTIONS, Page

from snaketune.plan.table_plan import figure_names
from snaketune.report.classes import SHOWN
from snaketune.report.page import write_report
from snaketune.tables.terminal import summary_of


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("classes")
    plan, inputs = make_class_results(folder)
    write_report(plan, inputs, {}, folder / "report.html", folder / "figures")
    return folder


@pytest.fixture(scope="module")
def page(made: Path) -> str:
    return (made / "report.html").read_text(encoding="utf-8")


def rows(made: Path, name: str) -> list[dict[str, str]]:
    csv.field_size_limit(10**9)
    with (made / "tables" / f"{name}.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def scores(made: Path, state: str, name: str) -> list[dict]:
    return pq.read_table(made / "scores" / state / f"{name}.parquet").to_pylist()


@pytest.mark.parametrize("name", ["solutions", "replies"])
@pytest.mark.parametrize("state", STATES)
def test_the_confusion_table_counts_the_scores(made: Path, state: str, name: str) -> None:
    found = [r for r in rows(made, "confusion") if (r["eval"], r["state"]) == (name, state)]
    for by, key in [("label", "gold"), ("error_type", "group")]:
        pairs = [(s[key], s["predicted"] or "unparsed") for s in scores(made, state, name)]
        table = {(r["value"], r["predicted"]): int(r["count"]) for r in found if r["by"] == by}
        assert {k: n for k, n in table.items() if n} == dict(Counter(pairs))
        assert sum(table.values()) == N
        for row in found:
            assert float(row["share"]) == pytest.approx(int(row["count"]) / int(row["of"]))
    unparsed = {row["predicted"] for row in found} - set(LABELS)
    assert unparsed == ({"unparsed"} if name == "replies" else set())


def test_every_wrong_prediction_is_listed_the_surest_first(made: Path) -> None:
    for state in STATES:
        found = [r for r in rows(made, "wrong_predictions") if r["state"] == state]
        surest = [float(r["confidence"]) for r in found if r["eval"] == "solutions"]
        assert surest == sorted(surest, reverse=True)
        for name in ("solutions", "replies"):
            wrong = {s["id"] for s in scores(made, state, name) if not s["correct"]}
            assert {r["id"] for r in found if r["eval"] == name} == wrong
        assert all(r["question"] and r["context"] and r["group"] in KINDS for r in found)
        assert {r["predicted"] for r in found if r["eval"] == "replies"} == {*LABELS, "unparsed"}


def test_the_run_is_compared_with_its_base(made: Path) -> None:
    found = {row["eval"]: row for row in rows(made, "comparisons")}
    assert set(found) == {"solutions", "replies"}
    assert found["solutions"]["verdict"] == "better"
    assert int(found["solutions"]["n"]) == N
    final = json.loads((made / "tables/final_metrics.json").read_text())
    entry = final["runs"][0]["evals"]["replies"]
    assert entry["counts"]["unparsed"] == round(entry["metrics"]["unparsed"] * N) > 0
    assert "unparsed" in summary_of(made)


def test_every_figure_is_there_and_has_a_caption(made: Path, page: str) -> None:
    names = figure_names(make_plan())
    assert [figure["name"] for figure in names] == [
        "effects", "eval-solutions", "eval-replies", "confusion-solutions", "reliability-solutions",
        "confusion-replies", "reliability-replies",
    ]  # fmt: skip
    assert {f.stem for f in (made / "figures").iterdir()} == {f["name"] for f in names}
    assert page.count('<svg role="img" aria-label="') == len(names)
    for figure in names:
        assert (CAPTIONS / f"{figure['kind']}.rst").read_text().strip()
    for table in ("confusion", "wrong_predictions"):
        assert (CAPTIONS / f"{table}.rst").read_text().strip()


def test_the_heat_map_shows_counts_and_names(made: Path) -> None:
    drawn = (made / "figures/confusion-solutions.svg").read_text()
    counts = [r for r in rows(made, "confusion") if r["eval"] == "solutions"]
    for row in counts:
        assert f">{int(row['count']):,} · {100 * float(row['share']):.0f} %<" in drawn
    assert "flawed &lt;i&gt; (1)" in drawn
    assert "ECE" in (made / "figures/reliability-solutions.svg").read_text()
    assert "no probabilities" in (made / "figures/reliability-replies.svg").read_text()


def test_the_page_shows_it_all_and_runs_no_script_but_its_own(made: Path, page: str) -> None:
    found = Page(page)
    assert found.unbalanced == found.open == []
    assert found.tags.count("table") == found.tags.count("caption") > 0
    assert "img" not in found.tags and found.tags.count("script") == 1
    links = {v for t, n, v in found.attributes if (t, n) == ("a", "href") and v[0] != "#"}
    assert {"tables/confusion.csv", "tables/wrong_predictions.csv"} <= links
    assert all((made / link).exists() for link in links)
    for text in ("precision", "mean of the labels", "flawed <i> (1)", "<b>computational</b>",
                 "roc auc", "with 9", "confidence", "predicted unparsed"):  # fmt: skip
        assert text in found.text, text
    wrong = sum(not s["correct"] for s in scores(made, "base-m", "solutions"))
    assert wrong > SHOWN
    assert f"{wrong - SHOWN} more are in" in found.text


def test_page_and_figures_are_the_same_bytes_each_time(made: Path, tmp_path: Path) -> None:
    plan, inputs = make_class_results(tmp_path)
    write_report(plan, inputs, {}, tmp_path / "report.html", tmp_path / "figures")
    for file in [made / "report.html", *(made / "figures").iterdir()]:
        assert (tmp_path / file.relative_to(made)).read_bytes() == file.read_bytes(), file.name
