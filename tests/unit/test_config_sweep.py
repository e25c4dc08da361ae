"""Sweeps: the runs that a list of hyperparameters stands for."""

from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml

from snaketune.config.read import load_experiment, write_resolved
from snaketune.plan.experiment_plan import make_plan
from snaketune.plan.lookups import Lookup
from snaketune.runtime.errors import UserError

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _in_the_project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def config(sweep: dict[str, list[Any]], **run: Any) -> dict[str, Any]:
    return {
        "experiment": "grid",
        "models": {"tiny": {"id": "data/demo/model"}, "other": {"id": "data/demo/model"}},
        "datasets": {"problems": {"source": "data/demo/math", "format": "gsm8k"}},
        "presets": {"lora": {"method": "lora", "lora": {"alpha": 16}}, "full": {"method": "full"}},
        "evals": {"math": {"task": "math", "dataset": "problems"}},
        "runs": {
            "a": {"model": "tiny", "preset": "lora", "train": "problems", "sweep": sweep, **run}
        },
        "thresholds": {"a": {"math.accuracy": 0.5}},
        "totals": {"a": {"math": 320}},
    }


def test_a_grid_is_every_combination_with_only_the_swept_values_changed() -> None:
    sweep = {"learning_rate": ["1e-4", 2e-4], "lora.r": [8, 16, 32], "seed": [1, 2]}
    experiment = load_experiment(config(sweep), [])
    assert len(experiment.runs) == 12
    found = {
        (
            (preset := experiment.presets[run.preset]).learning_rate,
            preset.lora.r,
            run.seed,
        )
        for run in experiment.runs.values()
    }
    assert found == set(product((1e-4, 2e-4), (8, 16, 32), (1, 2)))
    used = [experiment.presets[run.preset] for run in experiment.runs.values()]
    assert {preset.lora.alpha for preset in used} == {16} and {p.method for p in used} == {"lora"}
    assert experiment.presets["lora"].lora.r == 16, "the preset itself stays as it was"
    assert set(experiment.thresholds) == set(experiment.totals) == set(experiment.runs)


def test_names_say_what_differs_and_the_plan_has_all_runs() -> None:
    experiment = load_experiment(config({"learning_rate": ["1e-4", 0.002], "lora.r": [8]}), [])
    assert list(experiment.runs) == [
        "a_learning_rate_0_0001_r_8",
        "a_learning_rate_0_002_r_8",
    ]
    plan = make_plan(experiment)
    assert [row.swept for row in plan.table] == [
        {"learning_rate": 1e-4, "lora.r": 8},
        {"learning_rate": 0.002, "lora.r": 8},
    ]
    assert [row.preset["learning_rate"] for row in plan.table] == [1e-4, 0.002]
    assert set(plan.states) == {"base-tiny", *experiment.runs}


def test_methods_side_by_side_and_models() -> None:
    sweep = {"preset": ["full", "lora"], "model": ["tiny", "other"]}
    experiment = load_experiment(config(sweep, preset=None, model=None), [])
    plan = make_plan(experiment)
    shapes = {(kind, tuple(runs)) for kind, _, runs in plan.training_shapes}
    assert shapes == {
        ("full", ("a_preset_full_model_tiny", "a_preset_full_model_other")),
        ("adapter", ("a_preset_lora_model_tiny", "a_preset_lora_model_other")),
    }


def test_the_resolved_config_stands_for_the_same_runs(tmp_path: Path) -> None:
    sweep = {"learning_rate": [1e-4, 2e-4], "preset": ["full", "lora"]}
    experiment = load_experiment(config(sweep), [])
    write_resolved(experiment, tmp_path / "config.yaml")
    again = load_experiment(yaml.safe_load((tmp_path / "config.yaml").read_text()), [])
    assert again.runs == experiment.runs
    assert make_plan(again) == make_plan(experiment)


@pytest.mark.parametrize(
    ("sweep", "expected"),
    [
        ({"learning_rat": [1]}, "no hyperparameter; did you mean learning_rate?"),
        ({"lora.rank": [1]}, "runs.a.sweep.lora.rank: found lora.rank, which is no hyperparameter"),
        ({"label": ["x", "y"]}, "found label, which is no hyperparameter"),
        ({"lora.r": []}, "expected one or more different values"),
        ({"lora.r": [8, 8]}, "expected one or more different values"),
        ({"lora.r": [8, 0]}, "runs.a.sweep.lora.r: found 0"),
        ({"learning_rate": ["fast"]}, "found 'fast'"),
        ({"preset": ["lora", "ful"]}, "found ful, which is no entry under presets; did you mean"),
        ({"seed": ["x"]}, "found 'x', expected a whole number"),
        ({"lora.r": 8}, "runs.a.sweep.lora.r: found 8"),
        (
            {"preset": [["full", "lora"]]},
            "runs.a.sweep.preset: found ['full', 'lora'], which is no",
        ),
        ({"keep": [1, 2]}, "runs.a.sweep.keep: found keep, which is no hyperparameter"),
        (
            {"preset": ["full", "lora"], "lora.r": [8, 16]},
            "runs.a.sweep: preset full, lora.r 8: method full trains all weights and takes no lora",
        ),
        (
            {"best": ["none", "loss"], "eval_per_epoch": [0, 2]},
            "1 fault in the config:\n  runs.a.sweep: best loss, eval_per_epoch 0: best needs",
        ),
    ],
)
def test_faults_are_named(sweep: dict[str, Any], expected: str) -> None:
    with pytest.raises(UserError) as error:
        load_experiment(config(sweep), [])
    assert expected in str(error.value) and "pydantic" not in str(error.value)


def test_what_only_a_combination_gets_wrong_is_found() -> None:
    values = config({"method": ["lora", "qlora"]})
    values["models"]["tiny"]["quantisation"] = "none"
    with pytest.raises(UserError, match="method qlora trains on nf4 weights"):
        load_experiment(values, [])


def test_two_runs_of_one_name_are_refused() -> None:
    values = config({"lora.r": [8, 16]})
    values["runs"]["a_r_8"] = {"model": "tiny", "preset": "lora", "train": "problems"}
    with pytest.raises(UserError, match="two runs named a_r_8"):
        load_experiment(values, [])


def test_runs_of_a_sweep_are_pushed_to_a_repository_each() -> None:
    sweep = {"lora.r": [8, 16]}
    experiment = load_experiment(config(sweep, push="me/tuned-{run}"), [])
    repositories = [run.push.repo for run in experiment.runs.values()]
    assert repositories == ["me/tuned-a_r_8", "me/tuned-a_r_16"]
    with pytest.raises(UserError, match=r"runs\.a\.push: found me/tuned for all runs of the sweep"):
        load_experiment(config(sweep, push="me/tuned"), [])


def test_two_runs_are_not_pushed_to_one_repository() -> None:
    both = config({}, push="me/tuned")
    both["runs"]["b"] = dict(both["runs"]["a"])
    with pytest.raises(UserError, match=r"runs\.b\.push: found me/tuned, which runs\.a is pushed"):
        load_experiment(both, [])


def test_a_smoke_run_is_never_pushed() -> None:
    experiment = load_experiment(config({}, push="me/tuned") | {"smoke": True}, [])
    assert experiment.runs["a"].push is None


def test_a_fully_trained_run_is_pushed_whole_and_an_adapter_as_asked() -> None:
    whole = config({}, push="me/tuned") | {"runs": {}}
    for name, preset, merged in (("a", "full", False), ("b", "lora", False), ("c", "lora", True)):
        push = {"repo": "me/{run}", "merged": merged}
        whole["runs"][name] = {"model": "tiny", "preset": preset, "train": "problems", "push": push}
    whole["thresholds"] = whole["totals"] = {}
    experiment = load_experiment(whole, [])
    plan = make_plan(experiment)
    lookup = Lookup(experiment, plan)
    assert [lookup.pushed_whole(name) for name in "abc"] == [True, False, True]
    about = {name: lookup.about_run(name) for name in "abc"}
    assert [about[name]["merged"] for name in "abc"] == [False, False, True]
    assert [about[name]["weights"] for name in "abc"] == ["full", "adapter", "adapter"]
    assert about["a"]["protocols"]["math"]["max_new_tokens"] == 512


def test_seeds_are_runs_that_a_row_joins(tmp_path: Path) -> None:
    experiment = load_experiment(config({}, seeds=3, seed=7, label="Mine"), [])
    runs = experiment.runs
    assert {name: run.seed for name, run in runs.items()} == {
        "a_seed_7": 7,
        "a_seed_8": 8,
        "a_seed_9": 9,
    }
    assert {run.seed_of for run in runs.values()} == {"a"} and runs["a_seed_8"].seeds == 1
    assert [run.label for run in runs.values()] == [f"Mine (seed {s})" for s in (7, 8, 9)]
    assert set(experiment.thresholds) == set(experiment.totals) == set(runs)
    plan = make_plan(experiment)
    assert [row.swept for row in plan.table] == [{}] * 3
    assert [row.seed_of for row in plan.table] == ["a"] * 3
    as_swept = load_experiment(config({"seed": [7, 8, 9]}), [])
    assert set(as_swept.runs) == set(runs), "as a sweep would name them"
    assert all(run.seed_of is None for run in as_swept.runs.values()), "a sweep joins nothing"
    write_resolved(experiment, tmp_path / "config.yaml")
    again = load_experiment(yaml.safe_load((tmp_path / "config.yaml").read_text()), [])
    assert again.runs == runs and make_plan(again) == plan


def test_every_combination_of_a_sweep_has_its_seeds() -> None:
    experiment = load_experiment(config({"lora.r": [8, 16]}, seeds=2), [])
    assert {name: run.seed_of for name, run in experiment.runs.items()} == {
        "a_r_8_seed_42": "a_r_8",
        "a_r_8_seed_43": "a_r_8",
        "a_r_16_seed_42": "a_r_16",
        "a_r_16_seed_43": "a_r_16",
    }


def test_one_seed_is_as_without() -> None:
    assert load_experiment(config({}, seeds=1), []) == load_experiment(config({}), [])


@pytest.mark.parametrize(
    ("sweep", "run", "more", "expected"),
    [
        ({"seed": [1, 2]}, {"seeds": 2}, {}, "found seed in the sweep as well"),
        ({}, {"seeds": 0}, {}, "runs.a.seeds: found 0"),
        ({}, {"seeds": 2, "push": "me/it"}, {}, "runs.a.push: found me/it for all runs"),
        ({}, {"seed_of": "b"}, {"b": {}}, "runs.a.seed_of: found b, which is a run of its own"),
        (
            {},
            {"seed_of": "x"},
            {"b": {"seed_of": "x", "preset": "full", "seed": 1}},
            "runs.b.seed_of: found x, but the run differs from a in more than its seed",
        ),
        ({}, {"seed_of": "x"}, {"b": {"seed_of": "x"}}, "found one seed twice"),
    ],
)
def test_faults_of_seeds(sweep: Any, run: Any, more: Any, expected: str) -> None:
    values = config(sweep, **run)
    for name, settings in more.items():
        own = {"model": "tiny", "preset": "lora", "train": "problems"}
        values["runs"][name] = own | settings
    with pytest.raises(UserError) as error:
        load_experiment(values, [])
    assert expected in str(error.value)
