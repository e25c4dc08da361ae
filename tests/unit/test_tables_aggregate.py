"""Tables of a synthetic experiment."""

import json
import statistics
from dataclasses import replace

import pytest
from synthetic_results import (
    files,
    make_seeds,
    make_tables,
    table_rows,
    table_sources,
)

from snaketune.plan.table_plan import SnapshotPlan, TablePlan, joined_runs
from snaketune.runtime.content import flat
from snaketune.runtime.errors import UserError
from snaketune.runtime.files import read_rows
from snaketune.statistics.paired import holm
from snaketune.tables.aggregate import aggregate
from snaketune.tables.summary import checkpoint_rows, place
from snaketune.tables.terminal import summary_of


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(folder, plan) with the tables in it."""
    folder = tmp_path_factory.mktemp("results")
    return folder, make_tables(folder)


def test_metrics_hold_every_row_of_every_file(made):
    folder, _ = made
    rows = read_rows(folder / "tables" / "metrics.parquet")
    written = [json.loads(f.read_text())["rows"] for f in files(folder, "metrics/*/*.json")]
    assert len(rows) == len(table_rows(folder, "metrics.csv")) == sum(map(len, written))
    snapshot = next(row for row in rows if row["state"] == "medium-1of2")
    assert (snapshot["run"], snapshot["seed"], snapshot["experiment"]) == (
        "medium",
        42,
        "synthetic",
    )
    base = next(row for row in rows if row["state"] == "base-tiny-nf4")
    assert base["run"] is None


def test_comparisons_pair_each_run_with_its_base_under_its_own_protocol(made):
    folder, _ = made
    rows = table_rows(folder, "comparisons.csv")
    assert [(r["run"], r["eval"], r["metric"], r["protocol"]) for r in rows] == [
        ("simple", "gsm8k", "accuracy", "gsm8k"),
        ("simple", "gsm8k", "accuracy_flexible", "gsm8k"),
        ("simple", "safety", "safe_rate", "safety"),
        ("medium", "gsm8k", "accuracy", "gsm8k-few_shot_5"),
        ("medium", "gsm8k", "accuracy_flexible", "gsm8k-few_shot_5"),
        ("medium", "safety", "safe_rate", "safety"),
    ]
    medium = rows[3]
    assert medium["verdict"] == "better"
    assert float(medium["p"]) < 0.001
    assert int(medium["n"]) == 120


def test_summary_has_a_row_a_base_and_a_run(made):
    folder, _ = made
    rows = table_rows(folder, "summary.csv")
    # The base stands once for each set of protocols.
    names = [r["run"] for r in rows]
    assert names == [
        "base-tiny-nf4 (gsm8k, safety)",
        "base-tiny-nf4 (gsm8k-few_shot_5, safety)",
        "simple",
        "medium",
    ]
    assert [r["state"] for r in rows] == ["base-tiny-nf4", "base-tiny-nf4", "simple", "medium"]
    assert [r["gsm8k.accuracy.protocol"] for r in rows][:2] == ["gsm8k", "gsm8k-few_shot_5"]
    simple, medium = rows[2:]
    assert (medium["learning_rate"], medium["lora_r"], medium["lora_alpha"]) == (
        "0.0005",
        "16",
        "32",
    )
    assert (simple["checkpoint"], medium["checkpoint"]) == ("final", "2of2")
    assert rows[0]["learning_rate"] == ""


def test_checkpoints_are_in_training_order(made):
    folder, plan = made
    rows = table_rows(folder, "checkpoint_scores.csv")
    assert [(r["snapshot"], r["step"], r["chosen"]) for r in rows] == [
        ("1of2", "20", "False"),
        ("2of2", "40", "True"),
    ]
    run = plan.runs[1]
    shuffled = replace(plan, runs=[replace(run, snapshots=run.snapshots[::-1])])
    found = checkpoint_rows(shuffled, table_sources(folder))
    assert [row["snapshot"] for row in found] == ["1of2", "2of2"]


def test_snapshots_are_ordered_as_numbers():
    plan = [SnapshotPlan(f"{k}of12", f"run-{k}of12", {}) for k in (10, 2, 1)]
    assert [s.snapshot for s in sorted(plan, key=place)] == ["1of12", "2of12", "10of12"]


def test_final_metrics_have_counts_and_thresholds(made):
    folder, _ = made
    final = json.loads((folder / "tables" / "final_metrics.json").read_text())
    simple, medium = final["runs"]
    assert medium["evals"]["gsm8k"]["counts"]["total"] == 120
    assert medium["base_evals"]["gsm8k"]["protocol"] == "gsm8k-few_shot_5"
    passed = {t["metric"]: t["passed"] for t in simple["thresholds"]}
    assert passed == {"gsm8k.accuracy": False, "safety.safe_rate": True}
    counts = simple["evals"]["safety"]["counts"]
    kinds = ("safe", "unsafe", "unknown")
    assert sum(counts[kind] for kind in kinds) == counts["total"] == 60
    rows = table_rows(folder, "final_metrics.csv")
    assert [(r["run"], r["eval"], r["passed"]) for r in rows][:2] == [
        ("simple", "gsm8k", "False"),
        ("simple", "safety", "True"),
    ]
    assert rows[0]["unsafe"] == ""  # not 0: math has no such count


def test_a_threshold_on_what_was_not_evaluated_is_neither_passed_nor_failed(made, tmp_path):
    folder, plan = made
    run = replace(plan.runs[0], thresholds={"other.accuracy": 0.5})
    aggregate(replace(plan, runs=[run]), table_sources(folder), tmp_path)
    final = json.loads((tmp_path / "final_metrics.json").read_text())
    assert final["runs"][0]["thresholds"][0]["passed"] is None


def test_another_total_fails_and_leaves_no_table(made, tmp_path):
    folder, plan = made
    run = replace(plan.runs[0], totals={"gsm8k": 1319})
    with pytest.raises(UserError, match=r"run simple, eval gsm8k: 120 rows .* 1319"):
        aggregate(replace(plan, runs=[run]), table_sources(folder), tmp_path / "tables")
    assert not (tmp_path / "tables").exists()


def test_tables_are_the_same_bytes_each_time(made, tmp_path):
    folder, plan = made
    aggregate(plan, table_sources(folder), tmp_path)
    for file in (folder / "tables").rglob("*.*"):
        name = file.relative_to(folder / "tables")
        assert (tmp_path / name).read_bytes() == file.read_bytes(), name


def test_flat_settings():
    assert flat({"a": 1, "lora": {"r": 8, "targets": ["q", "v"]}}) == {
        "a": 1,
        "lora_r": 8,
        "lora_targets": "q v",
    }


def test_a_job_gets_the_plan_as_plain_json(made):
    _, plan = made
    told = json.loads(json.dumps(plan.as_json()))
    assert told == plan.as_json()
    assert list(told) == ["experiment", "runs", "drops"]
    assert TablePlan.from_json(told) == plan


@pytest.fixture(scope="module")
def seeded(tmp_path_factory):
    """(folder, plan): `simple` and a run that took the answers of `medium`, joined as seeds."""
    folder = tmp_path_factory.mktemp("seeds")
    return folder, make_seeds(folder)


def test_seeds_have_a_row_that_joins_them_and_rows_of_their_own(seeded):
    folder, plan = seeded
    rows = [r for r in table_rows(folder, "seeds.csv") if r["eval"] == "gsm8k"]
    joined = next(r for r in rows if r["metric"] == "accuracy")
    values = {r["run"]: float(r["gsm8k.accuracy"]) for r in table_rows(folder, "summary.csv")}
    both = [values["simple"], values["other"]]
    assert float(joined["value"]) == pytest.approx(values["both"]) == pytest.approx(sum(both) / 2)
    assert float(joined["between_seeds"]) == pytest.approx(statistics.stdev(both))
    assert [float(joined[k]) for k in ("least", "most")] == sorted(both)
    assert float(joined["low"]) < float(joined["value"]) < float(joined["high"])
    final = json.loads((folder / "tables" / "final_metrics.json").read_text())
    assert [row["runs"] for row in final["joined"]] == [["simple", "other"]]
    assert "both: 2 seeds" in (text := summary_of(folder))
    assert "between seeds" in text and "  other " in text
    assert joined_runs(TablePlan("e", plan.runs[:1], {})) == {}, "one seed alone joins nothing"


def test_joined_seeds_count_once_among_the_runs(seeded):
    folder, _ = seeded
    rows = table_rows(folder, "comparisons.csv")
    rows = {r["run"]: r for r in rows if (r["eval"], r["metric"]) == ("gsm8k", "accuracy")}
    raw = {name: float(r["p"]) for name, r in rows.items()}
    of = {name: float(r["p_holm"]) for name, r in rows.items()}
    counted = dict(zip(("both", "medium"), holm([raw["both"], raw["medium"]]), strict=True))
    assert (of["both"], of["medium"]) == pytest.approx((counted["both"], counted["medium"]))
    alone = holm([raw["simple"], raw["other"], raw["medium"]])
    assert (of["simple"], of["other"]) == pytest.approx(alone[:2])
    assert rows["both"]["seeds"] == "2" and rows["medium"]["seeds"] == "1"


@pytest.mark.parametrize(
    ("ending", "words"),
    [
        ("-smoke_demo", "with the demo's small models"),
        ("-smoke", "no figure says how good a model is"),
        ("", ""),
    ],
)
def test_a_rehearsal_says_so_before_all_else(made, tmp_path, ending, words):
    folder, plan = made
    aggregate(replace(plan, experiment=f"synthetic{ending}"), table_sources(folder), tmp_path)
    final = json.loads((tmp_path / "final_metrics.json").read_text())
    said = [sentence for sentence in final["headline"] if "ehears" in sentence]
    assert said == final["headline"][: len(said)] and len(said) == bool(ending)
    assert not words or words in said[0]
    assert ("rehearsal on a few rows" in (tmp_path / "results.md").read_text()) == bool(ending)
