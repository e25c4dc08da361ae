"""What the rules look up: identities follow what is loaded, files what the config asks for."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from snaketune.config.read import load_experiment
from snaketune.plan.experiment_plan import Cell, make_plan
from snaketune.plan.lookups import Lookup
from snaketune.plan.slurm_site import JobRequest

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _in_the_project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def lookup(**changes: Any) -> Lookup:
    config = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    for section, entries in changes.items():
        for name, entry in entries.items():
            config[section][name] = config[section].get(name, {}) | entry
    experiment = load_experiment(config, [])
    return Lookup(experiment, make_plan(experiment))


def test_an_identity_has_no_paths_and_what_a_job_loads_has() -> None:
    found = lookup()
    state = found.plan.states["simple"]
    assert "data/demo" not in str(found.state_identity(state))
    assert found.state_settings(state)["model"]["id"] == "data/demo/model"
    assert found.pinned_identity("tiny") == {}


def test_what_is_kept_or_shown_is_no_part_of_a_trainings_identity() -> None:
    before, after = lookup(), lookup(presets={"simple": {"keep": 2}})
    assert before.training_identity("simple") == after.training_identity("simple")
    assert after.training_aside("simple")["keep"] == 2
    longer = lookup(presets={"simple": {"epochs": 2}})
    assert before.training_identity("simple") != longer.training_identity("simple")


def test_a_judge_and_a_reward_model_leave_files_where_there_is_one() -> None:
    found = lookup()
    assert found.verdicts(Cell("simple", "safety")) == ["results/demo/verdicts/simple/safety.jsonl"]
    assert found.verdicts(Cell("simple", "math")) == []
    assert found.rewards(Cell("simple", "samples"), "meta.json") == [
        "results/demo/rewards/simple/samples.meta.json"
    ]
    assert found.rewards(Cell("simple", "math")) == []
    assert found.rewarding_state("samples").model == "reward"
    assert found.judging_state("safety").quantisation == "none"


def test_predictions_made_elsewhere_bring_their_rewards() -> None:
    file = "data/demo/math/test.jsonl"
    found = lookup(runs={"other": {"predictions": {"samples": file}}})
    assert found.rewards(Cell("other", "samples")) == []
    assert found.plan.brought == {Cell("other", "samples"): file}


def test_files_follow_the_config() -> None:
    found = lookup(datasets={"problems": {"overlap": "drop"}}, evals={"math": {"shards": 2}})
    folder = "results/demo/data/problems"
    assert found.training_files("problems")[1:] == [f"{folder}/dev.parquet", f"{folder}/dev.json"]
    assert len(found.training_files("reading")) == 1
    assert len(found.compared_with("problems", "test")) == 3
    assert found.compared_with("problems", "dev") == found.compared_with("quiz", "test") == []
    assert found.few_shot_file("math") == [f"{folder}/few_shot.json"]
    assert found.few_shot_file("safety") == []
    assert [Path(f).name for f in found.shards(Cell("simple", "math"), "jsonl")] == [
        "1of2.jsonl", "2of2.jsonl",
    ]  # fmt: skip
    assert [Path(f).parent.name for f in found.snapshot_metrics("medium")] == [
        "medium-1of2", "medium-2of2",
    ]  # fmt: skip


def test_a_job_asks_for_nothing_by_an_empty_value() -> None:
    request = JobRequest.of("train", {"gpu": 0, "mem_mb": 10, "slurm_extra": "", "qos": None})
    assert request.named == {"gpu": "0", "mem_mb": "10"}


def test_all_weights_of_a_training_are_asked_for_but_what_it_keeps() -> None:
    """What nobody asks for, and was never made, would hide all else that changes of a training."""
    found = lookup(presets={"medium": {"keep": 2}}).training_outputs("medium")
    places = [str(Path(file).parent.relative_to("results/demo/train/medium")) for file in found]
    assert dict.fromkeys(places) == dict.fromkeys(["final", "snapshots/1of2", "snapshots/2of2"])
