"""What other tools read, and the tables of origins and costs."""

import json
import math
import re
from dataclasses import replace

import pytest
from synthetic_results import make_tables, table_rows, table_sources
from verdict_cases import CASES, case, shares

from snaketune.tables.exports import harness_results, results_latex, results_markdown
from snaketune.tables.origins import cost_rows
from snaketune.tables.verdict import verdict_on


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(folder, plan) with the tables in it."""
    folder = tmp_path_factory.mktemp("results")
    return folder, make_tables(folder)


HOSTILE = "a_b & 50% #1 {x} $y$ ~^ \\cmd | <i> `c` *d* [e]\nnew"


def final(name=HOSTILE):
    """Of a run with a hostile name, however unlikely it is."""
    found = {"metric": "accuracy", "value": 0.75, "low": 0.7, "high": 0.8, "n": 320}
    run = {
        "run": name,
        "evals": {name: found, "gone": found | {"value": None, "n": 0}},
        "base_evals": {name: found | {"value": 0.5}},
        "verdicts": {
            name: verdict_on(case(shares(320, 160, 90, 10))),
            "gone": verdict_on(CASES["no figure"]),
        },
    }
    return {"experiment": name, "headline": [f"{name}: better."], "runs": [run]}


def test_latex_is_escaped_whatever_a_name_holds():
    rows = [line for line in results_latex(final()).splitlines() if line.endswith("\\\\")]
    assert len(rows) == 3
    name = rows[1].split(" & ")[0]
    escaped = (
        r"a\_b \& 50\% \#1 \{x\} \$y\$ \textasciitilde{}\textasciicircum{} "
        r"\textbackslash{}cmd \textbar{} \textless{}i\textgreater{} `c` *d* [e] new"
    )
    assert rows[1].startswith(escaped), name
    for row in rows:  # as many cells as columns: no & is left as it was
        assert len(re.split(r"(?<!\\)&", row)) == 10
        assert not re.search(r"(?<!\\)[%#_]", row)
        assert row.replace("\\{", "").count("{") == row.replace("\\}", "").count("}")
    assert "+25.0 & +19.6 to +30.6 & 320 & \\textless{} 0.001 & better" in rows[1]
    assert "missing" in rows[2] and " -- & -- & 0 & -- & no figure" in rows[2]


def test_markdown_is_a_table_whatever_a_name_holds():
    text = results_markdown(final())
    rows = [line for line in text.splitlines() if line.startswith("| ") or line.startswith("|-")]
    for row in rows:
        assert len(re.split(r"(?<!\\)\|", row)) == 12, row
    assert "<i>" not in text.replace("\\<i\\>", "")
    assert "\\`c\\`" in text


def test_the_harness_form_holds_what_its_tables_print(made):
    """Keys as lm-evaluation-harness 0.4 writes them; the error is that of the mean of the rows."""
    folder, plan = made
    found = json.loads((folder / "tables/lm_eval/simple.json").read_text())
    assert found["results"].keys() == {"gsm8k", "safety"}
    row = found["results"]["gsm8k"]
    hits = row["exact_match,strict-match"]
    assert row["alias"] == "gsm8k"
    error = math.sqrt(hits * (1 - hits) / 119)
    assert row["exact_match_stderr,strict-match"] == pytest.approx(error)
    assert "exact_match,flexible-extract" in row
    assert row["unparsed_stderr,none"] == "N/A"
    assert found["n-shot"] == {"gsm8k": 2, "safety": 0}
    assert found["n-samples"]["gsm8k"] == {"original": 120, "effective": 120}
    assert found["higher_is_better"]["gsm8k"]["exact_match"] is True
    assert found["higher_is_better"]["gsm8k"]["unparsed"] is False
    for part in ("versions", "configs", "group_subtasks"):
        assert found[part].keys() == found["results"].keys(), part
    for name, metrics in found["results"].items():  # every figure has its error beside it
        for key in metrics:
            if key != "alias" and "_stderr," not in key:
                assert key.replace(",", "_stderr,") in metrics, (name, key)
    base = harness_results("base-tiny-nf4", plan, table_sources(folder))
    assert base["results"].keys() == {"gsm8k", "gsm8k-few_shot_5", "safety"}, "both protocols"


def test_origins_tell_in_one_row_what_a_number_rests_on(made):
    folder, _ = made
    row = table_rows(folder, "origins.csv")[0]
    assert (row["run"], row["eval"], row["seed"], row["learning_rate"]) == (
        "simple", "gsm8k", "42", "0.0001",
    )  # fmt: skip
    assert (row["test_in"], row["test_out"], row["test_rejected"], row["rows"]) == (
        "122", "120", "2", "120",
    )  # fmt: skip
    assert (row["rows_learned"], row["rows_dropped"], row["few_shot_examples"]) == ("400", "0", "8")
    assert (row["equal_to_training"], row["near_to_training"]) == ("0", "0")
    assert row["near_to_training"] != "" and row["train_data"] == "problems"
    other = table_rows(folder, "origins.csv")[1]
    assert other["near_to_training"] == "", "nobody looked: not 0"


def test_cost_of_a_point(made):
    folder, plan = made
    rows = {(row["run"], row["eval"]): row for row in table_rows(folder, "cost.csv")}
    better = rows["medium", "gsm8k"]
    assert better["verdict"] == "better"
    seconds, gain = float(better["train_device_seconds"]), float(better["points_gained"])
    assert seconds == 131.4
    assert float(better["device_seconds_per_point"]) == pytest.approx(seconds / gain)
    assert better["energy_joules_per_point"] == "", "the device did not tell: not 0"
    assert rows["simple", "safety"]["device_seconds_per_point"] == "", "nothing was gained"
    sources = table_sources(folder)
    meta = sources.train_meta["medium"] | {"processes": 4, "energy_joules": 5000.0}
    sources = replace(sources, train_meta=sources.train_meta | {"medium": meta})
    final = json.loads((folder / "tables/final_metrics.json").read_text())
    verdicts = {(r["run"], name): v for r in final["runs"] for name, v in r["verdicts"].items()}
    row = next(r for r in cost_rows(plan, sources, verdicts) if r["run"] == "medium")
    assert row["train_device_seconds"] == pytest.approx(4 * 131.4)
    assert row["energy_joules_per_point"] == pytest.approx(5000 / gain)


def test_every_name_of_the_summary_is_unique(made):
    folder, _ = made
    names = [row["run"] for row in table_rows(folder, "summary.csv")]
    assert len(set(names)) == len(names)
