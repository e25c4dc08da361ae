"""Tables and report of an experiment that samples."""

import csv
import json
import re
from collections import Counter
from dataclasses import replace

import pytest
from synthetic_results import HOSTILE
from synthetic_samples import COUNT, EVALS, SAMPLES, SKILL, make_report_inputs, make_samples
from test_report_page import CAPTIONS, Page

from snaketune.config.evaluation import EvalSpec
from snaketune.plan.protocols import protocol_name
from snaketune.plan.table_plan import failure_names, figure_names, further_names
from snaketune.report.page import write_report
from snaketune.report.samples import SHOWN
from snaketune.report.style import visible
from snaketune.runtime.files import read_rows
from snaketune.tables.aggregate import aggregate
from snaketune.tables.answers import voting_rows
from snaketune.tables.comparisons import drop_rows, newcombe
from snaketune.tables.terminal import format_summary
from snaketune.tasks.task import proportion

AT_LEAST = dict.fromkeys(EVALS, 3)
"""Different answers that a failure has to have, by protocol."""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(folder, plan, inputs), with tables and report in the folder."""
    folder = tmp_path_factory.mktemp("sampled")
    plan, inputs = make_report_inputs(folder)
    write_report(plan, inputs, {}, folder / "report.html", folder / "figures", at_least=AT_LEAST)
    return folder, plan, inputs


@pytest.fixture(scope="module")
def html(made):
    return (made[0] / "report.html").read_text(encoding="utf-8")


def rows(made, name):
    csv.field_size_limit(10**9)
    with (made[0] / "tables" / f"{name}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def scores(made, state, name):
    return read_rows(made[0] / "scores" / state / f"{name}.parquet")


def test_voting_has_a_row_a_state_and_n(made):
    found = rows(made, "voting")
    keys = [(row["eval"], row["state"], int(row["n"])) for row in found]
    assert keys == [(e, s, n) for e in EVALS for s in SKILL for n in (1, 2, 4, 8)]
    by_key = dict(zip(keys, found, strict=True))
    for (name, state, n), row in by_key.items():
        place = (1, 2, 4, 8).index(n)
        right = [score["majority_right"][place] for score in scores(made, state, name)]
        assert float(row["majority"]) == sum(right) / COUNT
        assert float(row["majority_low"]) < float(row["majority"]) < float(row["majority_high"])
        assert (row["best_of_n"] == "") == (name == "bare")
        assert float(row["accuracy"]) == float(by_key[name, state, 1]["majority_expected"])
        assert row["run"] == ("" if state == "base-m" else state)


def test_failures_are_those_with_a_right_sample_that_nobody_picked(made):
    found = rows(made, "failures")
    for name in EVALS:
        for state in SKILL:
            expected = {
                s["id"]: s
                for s in scores(made, state, name)
                if any(s["right"]) and (not s["correct"] or s["best_correct"] is False)
            }
            here = [r for r in found if (r["eval"], r["state"]) == (name, state)]
            assert {r["id"] for r in here} == expected.keys()
            unique = [int(row["unique_answers"]) for row in here]
            assert unique == sorted(unique, reverse=True)
            for row in here:
                score = expected[row["id"]]
                assert (row["failed"] in ("majority", "both")) == (not score["correct"])
                assert json.loads(row["answers"]) == score["answers"]
                assert int(row["right_samples"]) == sum(score["right"]) > 0
    assert {row["failed"] for row in found} == {"majority", "best_of_n", "both"}
    assert {row["rewards"] for row in found if row["eval"] == "bare"} == {""}


def test_unique_answers_are_counted(made):
    found = rows(made, "unique_answers")
    for name in EVALS:
        for state in SKILL:
            here = [r for r in found if (r["eval"], r["state"]) == (name, state)]
            members = scores(made, state, name)
            counts = Counter(len({a for a in s["answers"] if a is not None}) for s in members)
            assert {int(r["unique_answers"]): int(r["questions"]) for r in here} == counts
            assert sum(float(r["share"]) for r in here) == pytest.approx(1)
            assert sum(int(r["majority_right"]) for r in here) == sum(s["correct"] for s in members)


def test_drops_have_every_state_once(made):
    found = rows(made, "drops")
    metrics = ("majority", "best_of_n", "accuracy")
    assert [(r["state"], r["metric"]) for r in found] == [(s, m) for s in SKILL for m in metrics]
    for row in found:
        assert (row["from_eval"], row["to_eval"], row["from_n"]) == ("near", "far", str(COUNT))
        drop = float(row["from_value"]) - float(row["to_value"])
        assert float(row["drop"]) == pytest.approx(drop)
        assert float(row["low"]) < drop < float(row["high"])


def test_a_base_that_is_a_run_itself_stands_once(made, tmp_path):
    plan, sources = make_samples(tmp_path)
    light, full = plan.runs
    runs = [replace(light, base_state=None), replace(full, base_state="light")]
    plan = replace(plan, runs=runs)
    found = [(r["state"], r["run"]) for r in drop_rows(plan, sources) if r["metric"] == "majority"]
    assert found == [("light", "light"), ("full", "full")]
    found = [(r["eval"], r["state"], r["run"]) for r in voting_rows(plan, sources) if r["n"] == 8]
    assert found == [(name, run, run) for name in EVALS for run in ("light", "full")]


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    # Newcombe 1998, table II, method 10
    [((56, 70), (48, 80), (0.0524, 0.3339)), ((9, 10), (3, 10), (0.1705, 0.8090))],
)
def test_the_drops_interval_is_the_published_one(one, other, expected):
    shares = [proportion("e", "all", "m", [i < hits for i in range(n)]) for hits, n in (one, other)]
    assert newcombe(*shares) == pytest.approx(expected, abs=1e-4)
    low, high = newcombe(*shares[::-1])
    assert (-high, -low) == pytest.approx(expected, abs=1e-4)


def test_a_missing_value_has_no_drop_and_a_missing_interval_none(made, tmp_path):
    plan, sources = make_samples(tmp_path)
    document = sources.metrics["full", "far"]
    accuracy = next(r for r in document["rows"] if r["metric"] == "accuracy")
    accuracy |= {"low": None, "high": None}
    majority = next(r for r in document["rows"] if r["metric"] == "majority")
    majority |= {"value": None, "n": 0, "low": None, "high": None}
    found = {r["metric"]: r for r in drop_rows(plan, sources) if r["state"] == "full"}
    assert (found["majority"]["drop"], found["majority"]["low"]) == (None, None)
    assert found["accuracy"]["drop"] > 0
    assert found["accuracy"]["low"] is None


def test_comparisons_are_by_question_and_without_rewards_there_is_no_best(made):
    found = {(r["run"], r["eval"], r["metric"]): r for r in rows(made, "comparisons")}
    assert {m for run, name, m in found if name == "bare"} == {"majority", "accuracy"}
    row = found["full", "near", "best_of_n"]
    base, tuned = scores(made, "base-m", "near"), scores(made, "full", "near")
    gained = sum(t["best_correct"] > b["best_correct"] for b, t in zip(base, tuned, strict=True))
    assert (row["n"], row["only_tuned"]) == (str(COUNT), str(gained))


def test_an_experiment_without_samples_has_no_such_tables(made, tmp_path):
    plan, sources = make_samples(tmp_path)
    assert "voting" in further_names(plan)
    bare = [replace(run, evals={}, thresholds={}, totals={}) for run in plan.runs]
    plan = replace(plan, runs=bare, drops={})
    aggregate(plan, sources, tmp_path / "tables")
    names = {path.stem for path in (tmp_path / "tables").iterdir()}
    assert names.isdisjoint({"voting", "failures", "unique_answers", "drops"})


def test_the_page_shows_samples_as_text(made, html):
    page = Page(html)
    assert page.unbalanced == page.open == []
    assert {"img", "iframe", "form"}.isdisjoint(page.tags) and page.tags.count("script") == 1
    assert "<script>alert(1)</script> <img src=x onerror=alert(2)>" in page.text
    assert "What is 5 and <b>5</b>?" in page.text
    assert max(map(len, HOSTILE)) > 700
    assert len(html) < 1_000_000
    ids = [v for _, n, v in page.attributes if n == "id"]
    assert len(ids) == len(set(ids))
    links = {v for t, n, v in page.attributes if (t, n) == ("a", "href") and not v.startswith("#")}
    assert {"tables/voting.csv", "tables/failures.csv", "tables/drops.csv"} <= links
    assert not [v for v in links if not (made[0] / v).exists() and not v.startswith("data/")]


def test_shown_failures_are_bounded_and_the_rest_is_counted(made, html):
    text = re.sub(r"\s+", " ", Page(html).text)
    found = rows(made, "failures")
    sizes = Counter(
        (r["eval"], r["state"]) for r in found if int(r["unique_answers"]) >= 3
    )  # fmt: skip
    assert max(sizes.values()) > SHOWN, "or the bound is not tried"
    for (_, state), count in sizes.items():
        assert f"{state} ({count} missed with at least 3 different answers)" in text
        if count > SHOWN:
            assert (
                f"Shown: the {SHOWN} with the most different answers; {count - SHOWN} more are on "
                "the eval's own page" in text
            )
    assert text.count(" · gold ") >= sum(min(SHOWN, n) for n in sizes.values())
    assert "reward −" in text and "sample 8, " in text


def missed(made, state, name, at_least):
    """Failures straight from the scores."""
    return [
        s
        for s in scores(made, state, name)
        if s["unique_answers"] >= at_least
        and any(s["right"])
        and (not s["correct"] or s["best_correct"] is False)
    ]


@pytest.mark.parametrize("name", EVALS)
def test_an_evals_own_page_has_every_failure_in_full(made, html, name):
    folder = made[0] / "failures"
    assert f'href="failures/{name}.html"' in html and f'href="failures/{name}.txt"' in html
    assert failure_names(made[1]) == list(EVALS)
    source = (folder / f"{name}.html").read_text(encoding="utf-8")
    page, text = Page(source), (folder / f"{name}.txt").read_text(encoding="utf-8")
    assert page.unbalanced == page.open == []
    assert {"script", "img", "iframe", "form"}.isdisjoint(page.tags)
    links = {v for t, n, v in page.attributes if (t, n) == ("a", "href") and not v.startswith("#")}
    assert not [v for v in links if not (folder / v).exists()]
    for state in SKILL:
        found = missed(made, state, name, 3)
        assert f"{state}: {len(found)} missed with at least 3 different answers" in text
        assert f"{len(found)} missed with at least 3 different answers" in page.text
        for score in found:
            assert f"== {score['id']}: " in text and score["id"] in page.text
            for output in score["outputs"]:
                assert visible(output) in page.text and visible(output) in text
    everything = [s for state in SKILL for s in missed(made, state, name, 3)]
    assert text.count("-- sample ") == SAMPLES * len(everything)
    assert source.count('<span class="who">sample ') == SAMPLES * len(everything)
    assert any(len(o) > 10_000 for s in everything for o in s["outputs"]) or name != "near"
    rewards = sum(r is not None for s in everything for r in s["rewards"] or [])
    assert text.count(", reward ") == rewards
    assert not re.search("[\x00-\x08\x0b-\x1f\u202e]", text), "a terminal would obey it"


def test_without_a_threshold_every_failure_has_a_place(made, tmp_path):
    _, plan, inputs = made
    write_report(plan, inputs, {}, tmp_path / "report.html", tmp_path / "figures")
    text = (tmp_path / "failures" / "near.txt").read_text(encoding="utf-8")
    found = [s for state in SKILL for s in missed(made, state, "near", 1)]
    assert text.count(" different answers. ") == len(found)
    assert len(found) > sum(len(missed(made, state, "near", 3)) for state in SKILL)


def test_what_is_shown_is_no_part_of_the_protocol():
    spec, same = (
        EvalSpec(task="math", dataset="d", sampling={"unique_at_least": n}) for n in (3, 5)
    )
    assert spec.protocol() == same.protocol()
    assert protocol_name("d", spec, same) == "d"
    other = EvalSpec(task="math", dataset="d", sampling={"temperature": 1})
    assert spec.protocol() != other.protocol()
    assert EvalSpec(task="math", dataset="d").protocol()["sampling"] is None


def test_figures_have_files_captions_and_a_place(made, html):
    names = figure_names(made[1])
    kinds = Counter(figure["kind"] for figure in names)
    assert kinds == {"effects": 1, "eval": 3, "votes": 3, "unique": 3}
    assert {f.stem for f in (made[0] / "figures").iterdir()} == {f["name"] for f in names}
    assert html.count('<svg role="img" aria-label="') == len(names)
    for name in ("votes", "unique", "voting", "failures", "unique_answers", "drops"):
        assert (CAPTIONS / f"{name}.rst").read_text().strip()
    bare = (made[0] / "figures" / "votes-bare.svg").read_text()
    assert "best of n" not in bare and "majority vote" in bare


def test_page_is_the_same_bytes_each_time(made, html, tmp_path):
    _, plan, inputs = made
    page = tmp_path / "report.html"
    write_report(plan, inputs, {}, page, tmp_path / "figures", at_least=AT_LEAST)
    assert page.read_text(encoding="utf-8") == html


def test_the_terminal_names_the_primary_metric(made):
    final = json.loads((made[0] / "tables" / "final_metrics.json").read_text())
    gate = json.loads((made[0] / "tables/gate.json").read_text())
    text = format_summary(final, rows(made, "comparisons"), gate)
    assert re.search(r"near\n\s+majority\s+interval", text)
    assert final["runs"][0]["evals"]["near"]["counts"]["samples"] == COUNT * SAMPLES
    assert [t["metric"] for t in final["runs"][0]["thresholds"]] == ["near.best_of_n"]
    assert final["runs"][0]["thresholds"][0]["passed"]


def test_numbers_without_a_unit_are_no_percentages(html):
    text = re.sub(r"\s+", " ", Page(html).text)
    assert re.search(r"unique answers ?\d\.\d{3}", text)
