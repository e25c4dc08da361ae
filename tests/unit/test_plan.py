"""The plan: which states are evaluated under which protocols, and who shares what."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from snaketune.config.load import load_experiment
from snaketune.plan import Plan, make_plan

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _in_the_project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def recipe_1() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "config/experiments/gsm8k_ailuminate.yaml").read_text())


def plan_of(config: dict[str, Any]) -> Plan:
    return make_plan(load_experiment(config, []))


def test_recipe_1_has_the_states_and_protocols_of_the_reference() -> None:
    plan = plan_of(recipe_1())
    tuned = {"simple", "medium", "strong", "sandbox_one"}
    snapshots = {f"medium-{k}of3" for k in (1, 2, 3)}
    assert set(plan.states) == {"base-qwen-nf4"} | tuned | snapshots
    shown = {name: (p.few_shot, p.max_new_tokens) for name, p in plan.protocols.items()}
    assert sorted(shown.values()) == [
        (0, 16), (0, 16), (0, 512), (3, 512), (5, 768), (5, 768), (8, 1024),
    ]  # fmt: skip


def test_a_base_is_evaluated_once_under_every_protocol_of_its_runs() -> None:
    plan = plan_of(recipe_1())
    for row in plan.table:
        for entry in row["evals"].values():
            assert (row["state"], entry["protocol_name"]) in plan.measured
            assert (row["base_state"], entry["protocol_name"]) in plan.measured
    # Three sizes of the math eval and of the safety eval, not one a run.
    base = [protocol for state, protocol in plan.measured if state == "base-qwen-nf4"]
    assert len(base) == len(set(base)) == 6


def test_snapshots_are_chosen_on_all_of_dev_and_never_on_test() -> None:
    plan = plan_of(recipe_1())
    medium = plan.run_table["medium"]
    assert [s["snapshot"] for s in medium["snapshots"]] == ["1of3", "2of3", "3of3"]
    for snapshot in medium["snapshots"]:
        protocol = plan.protocols[snapshot["evals"]["gsm8k"]["protocol_name"]]
        assert (protocol.split, protocol.sample, protocol.few_shot) == ("dev", None, 5)


def test_numeric_order_of_many_snapshots() -> None:
    config = recipe_1()
    config["runs"]["medium"]["snapshots"] = 12
    names = [s["snapshot"] for s in plan_of(config).run_table["medium"]["snapshots"]]
    assert names == [f"{k}of12" for k in range(1, 13)]


def test_few_shot_examples_of_the_evals_leave_the_training_rows() -> None:
    plan = plan_of(recipe_1())
    shown = {run: plan.tokens[key].few_shot for run, key in plan.run_tokens.items()}
    assert shown == {
        "simple": {"gsm8k": 3},
        "medium": {"gsm8k": 5},
        "strong": {"gsm8k": 8},
        "sandbox_one": {},
    }


def test_runs_that_agree_share_their_training_rows() -> None:
    config = recipe_1()
    config["runs"]["again"] = {**config["runs"]["simple"], "seed": 7}
    plan = plan_of(config)
    assert plan.run_tokens["again"] == plan.run_tokens["simple"]
    assert plan.run_tokens["again"] != plan.run_tokens["medium"]


def test_leaving_an_eval_out() -> None:
    plan = plan_of({**recipe_1(), "leave_out": "safety"})
    assert all(not p.judge for p in plan.protocols.values())
    assert all("safety" not in row["totals"] for row in plan.table)
    assert all(set(row["thresholds"]) <= {"gsm8k.accuracy"} for row in plan.table)

    config = recipe_1()
    config["runs"]["simple"]["evals"]["safety"] = False
    plan = plan_of(config)
    assert ("simple", "safety") not in plan.measured
    assert ("medium", "safety") in plan.measured


def test_an_adapter_stands_in_for_training() -> None:
    config = recipe_1()
    config["runs"] = {"given": {"model": "qwen", "adapter": "hub:someone/adapter"}}
    config["thresholds"] = config["totals"] = {}
    plan = plan_of(config)
    assert not plan.tokens and not plan.training_shapes
    assert plan.states["given"].weights == "adapter"
    assert plan.run_table["given"]["method"] == "adapter"


@pytest.mark.parametrize(
    ("method", "base"), [("qlora", "base-qwen-nf4"), ("lora", "base-qwen"), ("full", "base-qwen")]
)
def test_a_tuned_model_is_compared_with_its_base_in_the_same_numbers(
    method: str, base: str
) -> None:
    config = recipe_1()
    config["presets"]["simple"] = {"method": method}
    assert plan_of(config).run_table["simple"]["base_state"] == base


def test_smoke_keeps_the_shape_of_the_plan() -> None:
    whole, small = plan_of(recipe_1()), plan_of({**recipe_1(), "smoke": True})
    assert set(whole.states) == set(small.states)
    assert all(p.sample.count == 4 for p in small.protocols.values())
    assert all(p.max_new_tokens <= 16 for p in small.protocols.values())
