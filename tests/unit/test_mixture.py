"""Trainings on several datasets: how often each row occurs, what is counted and told by part."""

import json
from collections import Counter
from pathlib import Path
from typing import ClassVar

import pandas as pd
import pytest
import tiny
import torch
from test_training_run import PLAIN, published

from snaketune.config.model import ModelSpec, Preset
from snaketune.config.read import load_experiment
from snaketune.plan.experiment_plan import make_plan
from snaketune.plan.resources import training_request
from snaketune.plan.table_plan import learned_data
from snaketune.plan.trained_forms import compared_evals
from snaketune.prompts.mixture import MixedRows, mix_rows
from snaketune.runtime.errors import UserError
from snaketune.runtime.files import read_jsonl, write_json, write_jsonl
from snaketune.tables.evidence import overlap_with_training
from snaketune.training.assemble import TrainingPlan
from snaketune.training.batches import read_token_rows
from snaketune.training.run import run_training


def tokenised(folder: Path, rows: int, dev: int, seed: int) -> Path:
    """A dataset's rows, as `tokenise` leaves them."""
    train = tiny.write_rows(folder / "train.parquet", tiny.make_rows(rows, seed=seed))
    tiny.write_rows(folder / "dev.parquet", tiny.make_rows(dev, seed=seed + 1))
    tokens = sum(len(row.input_ids) for row in read_token_rows(train))
    counts = {"in": rows + 1, "out": rows, "dropped": {"overlong": 1}, "truncated": 0}
    counts |= {"tokens": tokens, "trained_tokens": 1, "lengths": {"max": 40}}
    none = {"in": dev, "out": dev, "dropped": {}, "truncated": 0, "lengths": {}}
    stats = {"splits": {"train": counts, "dev": none}, "few_shot": 0, "max_length": 64}
    stats |= {"overlong": "drop", "template_hash": "abc", "example": {"id": "row-0"}}
    write_json(folder / "stats.json", stats)
    write_json(folder / "lengths.json", {"train": {}, "dev": {}})
    write_jsonl(folder / "dropped.jsonl", [{"split": "train", "id": "long", "reason": "overlong"}])
    return folder


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("parts")
    return tokenised(folder / "a", 10, 3, 1), tokenised(folder / "b", 25, 2, 5)


def mixed(parts, folder, a=(1.0, None), b=(1.0, None), seed=42):
    named = [MixedRows(n, p, *of) for n, p, of in zip("ab", parts, (a, b), strict=True)]
    mix_rows(named, seed, folder)
    rows = {split: read_token_rows(folder / f"{split}.parquet") for split in ("train", "dev")}
    return rows, json.loads((folder / "stats.json").read_text())


@pytest.mark.parametrize(
    ("a", "times"),
    [(1.0, {1: 10}), (3.0, {3: 10}), (2.5, {2: 5, 3: 5}), (0.3, {1: 3}), (0.25, {1: 2})],
)
def test_a_row_occurs_as_often_as_its_weight_says(parts, tmp_path, a, times):
    rows, stats = mixed(parts, tmp_path, a=(a, None))
    found = Counter(row.id for row in rows["train"])
    assert Counter(n for name, n in found.items() if name[0] == "a") == times
    assert Counter(n for name, n in found.items() if name[0] == "b") == {1: 25}
    count = sum(n * of for n, of in times.items())
    about = stats["parts"]["a"]
    assert (about["occurrences"], about["different"]) == (count, sum(times.values()))
    assert stats["splits"]["train"]["occurrences"] == count + 25


def test_rows_stay_as_they_are_and_dev_has_each_once(parts, tmp_path):
    rows, stats = mixed(parts, tmp_path, a=(2.0, None))
    own = {f"a/{row.id}": row for row in read_token_rows(parts[0] / "train.parquet")}
    for row in rows["train"][:20]:
        assert row.input_ids.tolist() == own[row.id].input_ids.tolist()
        assert row.labels.tolist() == own[row.id].labels.tolist()
    assert [row.part for row in rows["dev"]] == ["a"] * 3 + ["b"] * 2
    tokens = [sum(len(r.input_ids) for r in rows["train"] if r.part == k) for k in "ab"]
    assert [stats["parts"][k]["tokens"] for k in "ab"] == tokens
    trained = [sum(r.trained_tokens for r in rows["train"] if r.part == k) for k in "ab"]
    counted = [int((r.labels[1:] != -100).sum()) for r in rows["train"]]
    assert sum(trained) == sum(counted)
    whole = stats["splits"]["train"]
    assert (whole["in"], whole["out"], whole["dropped"]) == (37, 35, {"overlong": 2})
    assert [row["dataset"] for row in read_jsonl(tmp_path / "dropped.jsonl")] == ["a", "b"]


def test_so_many_rows_are_drawn_with_the_seed(parts, tmp_path):
    drawn = []
    for seed in (42, 42, 43):
        rows, stats = mixed(parts, tmp_path / str(len(drawn)), b=(1.0, 7), seed=seed)
        drawn.append([row.id for row in rows["train"] if row.part == "b"])
        assert stats["parts"]["b"]["occurrences"] == len(set(drawn[-1])) == 7
    assert drawn[0] == drawn[1] != drawn[2]
    rows, _ = mixed(parts, tmp_path / "all", b=(1.0, 25))
    assert len(rows["train"]) == 35
    with pytest.raises(UserError, match="found 25 rows of dataset b, expected at least the 26"):
        mixed(parts, tmp_path / "more", b=(1.0, 26))


def test_a_training_counts_steps_and_dev_by_part(parts, tmp_path):
    torch.set_num_threads(1)
    mixed(parts, tmp_path / "mix", a=(2.0, None), b=(1.0, 5))
    model = tiny.save_model(tmp_path / "model")
    losses, metas = {}, {}
    for name, dev, of in (
        ("mix", tmp_path / "mix", "ab"),
        ("a", parts[0], ""),
        ("b", parts[1], ""),
    ):
        plan = TrainingPlan(
            ModelSpec(id=str(model)), Preset.model_validate(PLAIN), 1, parts=list(of)
        )
        out = published(tmp_path / name)
        files = tmp_path / "mix/train.parquet", dev / "dev.parquet"
        run_training(plan, *files, out, tmp_path / name / "work", 1)
        losses[name] = pd.read_parquet(out.log)
        metas[name] = json.loads(out.meta.read_text())
    # Two epochs of twenty rows of a (ten, twice each) and five of b.
    found = metas["mix"]["parts"]
    assert [found[k]["rows_taken"] for k in "ab"] == [40, 10]
    assert [found[k]["epochs_of_its_rows"] for k in "ab"] == [4.0, 2.0]
    assert sum(part["trained_tokens"] for part in found.values()) == metas["mix"]["trained_tokens"]
    told = losses["mix"].dropna(subset="dev_losses")
    assert len(told) == 4 and "dev_losses" not in losses["a"]
    for place in range(4):
        by_part = json.loads(told.iloc[place]["dev_losses"])
        for k in "ab":
            alone = losses[k].dropna(subset="dev_loss").iloc[place]["dev_loss"]
            assert by_part[k] == pytest.approx(alone, rel=1e-5)
    assert found["a"]["dev_loss"] == json.loads(told.iloc[-1]["dev_losses"])["a"]


COLUMNS = {"question": "q", "answer": "a"}


def config(train, **presets):
    data = {n: {"source": f"{n}.csv", "format": "table", "columns": COLUMNS} for n in "abc"}
    data["a"]["limit"], data["c"] = 100, {"source": "c.txt", "format": "text"}
    return load_experiment(
        {
            "experiment": "t",
            "models": {"m": {"id": "data/demo/model"}},
            "datasets": data,
            "presets": {"p": presets},
            "evals": {"a": {"task": "open_qa", "dataset": "a"},
                      "b": {"task": "open_qa", "dataset": "b"}},
            "runs": {"r": {"model": "m", "preset": "p", "train": train}},
        },
        [],
    )  # fmt: skip


TWO = [{"dataset": "a", "weight": 3}, {"dataset": "b", "rows": 20}]


def test_the_plan_of_a_mixture_has_a_set_of_rows_a_dataset_and_one_of_all():
    experiment = config(TWO)
    plan = make_plan(experiment)
    assert list(plan.run_parts["r"]) == ["a", "b"]
    mixture = plan.mixtures[plan.run_tokens["r"]]
    assert list(mixture.tokens) == list(plan.run_parts["r"].values())
    assert mixture.settings == [
        {"dataset": "a", "weight": 3.0, "rows": None},
        {"dataset": "b", "weight": 1.0, "rows": 20},
    ]
    assert sorted(plan.crossed) == [("a", "b"), ("b", "a")]
    assert list(compared_evals(experiment, "r", "b")) == ["b"]
    assert plan.table[0].train_data == "a+b"
    assert learned_data(plan.table[0]) == ["a", "b"]
    assert training_request(experiment, "r").minutes > 0


def test_one_dataset_is_no_mixture_and_keeps_its_name():
    alone, listed = make_plan(config("a")), make_plan(config([{"dataset": "a", "weight": 2}]))
    assert not alone.mixtures
    assert list(alone.tokens) == list(listed.tokens) == [alone.run_tokens["r"]]
    assert list(listed.mixtures) == [listed.run_tokens["r"]]


def test_another_seed_or_weight_is_another_mixture():
    names = {
        make_plan(config([{"dataset": "a", "weight": weight}])).run_tokens["r"]
        for weight in (1, 2, 2.5)
    }
    assert len(names) == 3


@pytest.mark.parametrize(
    ("train", "fault"),
    [
        ([{"dataset": "z"}], "runs.r.train: found z"),
        ([{"dataset": "a"}, {"dataset": "a"}], "found a twice"),
        ([{"dataset": "a", "weight": 2, "rows": 3}], "give either weight or rows"),
        ([{"dataset": "a", "weight": 0}], "greater than 0"),
        ([{"dataset": "a", "wieght": 2}], "unknown key"),
        ([], "at least 1"),
    ],
)
def test_what_is_no_mixture_is_refused(train, fault):
    with pytest.raises(UserError, match=fault):
        config(train)


def test_only_text_goes_on_in_further_rows():
    with pytest.raises(UserError, match=r"overlong is split, but datasets\.a is open_qa"):
        config([{"dataset": "c"}, {"dataset": "a"}], overlong="split")
    assert make_plan(config([{"dataset": "c"}], overlong="split")).mixtures


class Sources:
    """As much of what tables are made from as overlaps need."""

    manifests: ClassVar = {"a": {"leakage": {"comparisons": {"test in train": {
        "exact": 0, "rephrased": 0, "near": 2,
        "pairs": [{"left": "1", "kind": "near"}, {"left": "2", "kind": "near"}],
    }}}}}  # fmt: skip
    leakage: ClassVar = {("b", "a"): {"comparisons": {"test in b": {
        "exact": 1, "rephrased": 0, "near": 3,
        "pairs": [{"left": "2", "kind": "exact"}, {"left": "3", "kind": "near"}],
    }}}}  # fmt: skip

    def document(self, state, spec):
        return {"protocol": {"dataset": "a", "split": "test"}}


def test_overlaps_are_those_with_all_parts_and_the_worst_counts():
    [run] = make_plan(config(TWO)).table
    found = overlap_with_training(run, run.evals["a"], Sources())
    assert found == ({"1": "near", "2": "exact", "3": "near"}, 2)
