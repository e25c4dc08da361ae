"""The plan: which states are evaluated under which protocols, and who shares what."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from snaketune.config.checks import data_files
from snaketune.config.read import load_experiment
from snaketune.plan.experiment_plan import Plan, make_plan
from snaketune.plan.protocols import is_reward_model, needs_chat
from snaketune.plan.states import State, gguf_file
from snaketune.plan.table_plan import TablePlan
from snaketune.plan.trained_forms import prompt_notes
from snaketune.prompts.wording import fill_template, list_options, options_protocol
from snaketune.runtime.errors import UserError
from snaketune.tables.sources import bases

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
        for entry in row.evals.values():
            assert (row.state, entry.protocol_name) in plan.measured
            assert (row.base_state, entry.protocol_name) in plan.measured
    # Three sizes of the math eval and of the safety eval, not one a run.
    base = [protocol for state, protocol in plan.measured if state == "base-qwen-nf4"]
    assert len(base) == len(set(base)) == 6


def test_datasets_are_compared_where_one_is_trained_on_and_another_evaluated() -> None:
    config = recipe_1()
    expected = {
        ("gsm8k", "ailuminate"): ["test"],
        ("self_instruct", "gsm8k"): ["test"],
        ("self_instruct", "ailuminate"): ["test"],
        ("one_row", "gsm8k"): ["test"],
        ("one_row", "ailuminate"): ["test"],
    }
    assert plan_of(config).crossed == expected
    config["runs"] |= {f"again_{i}": config["runs"]["simple"] for i in range(9)}
    assert plan_of(config).crossed == expected, "pairs of datasets, not of runs"
    config["runs"]["strong"]["evals"]["gsm8k"]["split"] = "dev"
    assert plan_of(config).crossed["self_instruct", "gsm8k"] == ["dev"]


def test_snapshots_are_chosen_on_all_of_dev_and_never_on_test() -> None:
    plan = plan_of(recipe_1())
    medium = plan.run_table["medium"]
    assert [s.snapshot for s in medium.snapshots] == ["1of3", "2of3", "3of3"]
    for snapshot in medium.snapshots:
        protocol = plan.protocols[snapshot.evals["gsm8k"].protocol_name]
        assert (protocol.split, protocol.sample, protocol.few_shot) == ("dev", None, 5)


def test_numeric_order_of_many_snapshots() -> None:
    config = recipe_1()
    config["runs"]["medium"]["snapshots"] = 12
    names = [s.snapshot for s in plan_of(config).run_table["medium"].snapshots]
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
    assert all("safety" not in row.totals for row in plan.table)
    assert all(set(row.thresholds) <= {"gsm8k.accuracy"} for row in plan.table)

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
    assert plan.run_table["given"].method == "adapter"


@pytest.mark.parametrize(
    ("method", "base"), [("qlora", "base-qwen-nf4"), ("lora", "base-qwen"), ("full", "base-qwen")]
)
def test_a_tuned_model_is_compared_with_its_base_in_the_same_numbers(
    method: str, base: str
) -> None:
    config = recipe_1()
    config["presets"]["simple"] = {"method": method}
    assert plan_of(config).run_table["simple"].base_state == base


def test_smoke_keeps_the_shape_of_the_plan() -> None:
    whole = plan_of(recipe_1())
    for smoke in (True, "demo"):
        small = plan_of({**recipe_1(), "smoke": smoke})
        assert set(whole.states) == set(small.states)
        assert all(p.sample.count == 4 for p in small.protocols.values())
        assert all(p.max_new_tokens <= 16 for p in small.protocols.values())


def recipe(name: str) -> dict[str, Any]:
    return yaml.safe_load((ROOT / f"config/experiments/{name}.yaml").read_text())


def test_recipe_2_evaluates_two_models_after_every_epoch_and_none_twice() -> None:
    plan = plan_of(recipe("f1_multiple_choice"))
    assert plan.training_shapes == [("adapter", 2, ["mistral", "llama"])]
    for name in ("mistral", "llama"):
        run = plan.run_table[name]
        states = [(s.snapshot, s.state) for s in run.followed]
        # The last snapshot is the run's own state: it is not evaluated a second time.
        assert states == [("1of2", f"{name}-1of2"), ("2of2", name)]
        assert all((state, "f1") in plan.measured for _, state in states)
        assert run.snapshots == [], "nothing is chosen on the test split"
    assert [state for state, _ in plan.measured] == [
        "base-mistral-nf4", "mistral", "mistral-1of2", "base-llama-nf4", "llama", "llama-1of2",
    ]  # fmt: skip


def test_the_last_snapshot_has_a_state_of_its_own_where_another_may_be_chosen() -> None:
    config = recipe_1()
    config["runs"]["medium"]["follow"] = ["gsm8k"]
    run = plan_of(config).run_table["medium"]
    assert [s.state for s in run.followed] == [f"medium-{k}of3" for k in (1, 2, 3)]
    protocols = {s.evals["gsm8k"].protocol_name for s in run.followed}
    assert protocols == {run.evals["gsm8k"].protocol_name}


def test_the_last_snapshot_has_a_state_of_its_own_where_the_run_takes_the_best_weights() -> None:
    config = recipe("f1_multiple_choice")
    for preset in config["presets"].values():
        preset["best"] = "loss"
    for data in config["datasets"].values():
        data["dev"] = 4
    run = plan_of(config).run_table["mistral"]
    assert [s.state for s in run.followed] == ["mistral-1of2", "mistral-2of2"]


def test_a_model_in_plain_text_needs_no_chat_template() -> None:
    experiment = load_experiment(recipe("f1_multiple_choice"), [])
    assert not needs_chat(experiment, "mistral")
    assert needs_chat(load_experiment(recipe_1(), []), "qwen")
    assert needs_chat(load_experiment(recipe_1(), []), "judge")


def test_recipe_2_trains_and_scores_the_texts_of_the_reference() -> None:
    plan = plan_of(recipe("f1_multiple_choice"))
    head = "You are a knowledgeable Formula 1 expert.\nAnswer the question briefly and accurately."
    asked = options_protocol(plan.protocols["f1"])
    shown = fill_template(
        asked["context"], question="Q?", options=list_options("wxyz", asked["line"])
    )
    assert shown == f"{head}\n\nQuestion: Q?\nOptions:\nA: w\nB: x\nC: y\nD: z\nAnswer:"
    assert (asked["option"], asked["system"]) == (" {option}", None)
    (prompt,) = {tokens.prompt["prompt"] for tokens in plan.tokens.values()}
    assert fill_template(prompt, question="Q?") == f"{head}\n\nQuestion: Q?\nAnswer:"


def test_predictions_made_elsewhere_stand_beside_a_base_or_alone() -> None:
    config = recipe_1()
    file = {"gsm8k": "elsewhere.jsonl"}
    config |= {"thresholds": {}, "totals": {}}
    config["runs"] = {
        "alone": {"predictions": file},
        "beside": {"predictions": file, "model": "qwen"},
        "after": {"predictions": file, "base": "alone"},
    }
    plan = plan_of(config)
    bases = {name: plan.run_table[name].base_state for name in config["runs"]}
    assert bases == {"alone": None, "beside": "base-qwen", "after": "alone"}
    assert set(plan.brought) == {(name, "gsm8k") for name in config["runs"]}
    # Only the base model generates, and only for the eval that the predictions are of.
    assert list(plan.states) == ["base-qwen"]
    assert set(plan.measured) == {*plan.brought, ("base-qwen", "gsm8k")}


def test_a_model_stands_alone_or_beside_the_run_of_another() -> None:
    config = recipe_1() | {"thresholds": {}, "totals": {}}
    config["models"]["merged"] = {**config["models"]["qwen"], "quantisation": "nf4"}
    config["runs"] = {
        "mine": {"model": "merged", "base": "b"},
        "b": {"model": "qwen", "evals": {"safety": False}},
    }
    experiment = load_experiment(config, [])
    plan = make_plan(experiment)
    found = {n: (r.base_state, r.model, r.method) for n, r in plan.run_table.items()}
    assert found == {"mine": ("b", "merged", "model"), "b": (None, "qwen", "model")}
    held = {name: (s.model, s.quantisation, s.weights) for name, s in plan.states.items()}
    assert held == {"mine": ("merged", "nf4", "none"), "b": ("qwen", "none", "none")}
    # What it is compared with is asked all that it is asked itself.
    assert set(plan.measured) == {(s, e) for s in ("mine", "b") for e in experiment.evals}
    assert not plan.tokens and not list(prompt_notes(experiment, plan))
    table = TablePlan("t", plan.table, {})
    assert [(base.state, base.model) for base in bases(table)] == [("b", "qwen")]


def test_what_a_run_is_exported_as_stands_beside_the_run() -> None:
    config = recipe_1() | {"totals": {}, "thresholds": {"medium": {"gsm8k.accuracy": 0.26}}}
    before = plan_of(config)
    config["runs"]["medium"]["gguf"] = ["f16", "q8_0"]
    plan = plan_of(config)
    names = [f"medium-gguf_{kind}" for kind in ("f16", "q8_0")]
    assert plan.exported_states == names and before.exported_states == []
    found = plan.states[names[1]]
    assert found == State("qwen", "none", "gguf", "medium", None, "q8_0")
    assert gguf_file("results/x", found) == ("results/x/gguf/medium/medium-q8_0.gguf")
    # Nothing else is another one than before.
    assert {k: v for k, v in plan.states.items() if k not in names} == before.states
    assert [row for row in plan.table if row.run not in names] == before.table
    assert [cell for cell in plan.measured if cell.state not in names] == [*before.measured]
    assert plan.protocols == before.protocols and plan.training_shapes == before.training_shapes
    run, export = plan.run_table["medium"], plan.run_table[names[1]]
    assert (export.base_state, export.method, export.model) == ("medium", "gguf", run.model)
    assert export.evals == run.evals and run.thresholds and not export.thresholds
    assert (export.seed, export.train_data, export.choose, export.snapshots) == (
        None,
        None,
        None,
        [],
    )
    asked = {cell.protocol for cell in plan.measured if cell.state == names[0]}
    assert asked == {cell.protocol for cell in plan.measured if cell.state == "medium"}
    shown = [base.state for base in bases(TablePlan("t", plan.table, {}))]
    assert "medium" in shown and not {*names} & {*shown}


def test_every_seed_of_a_run_is_exported() -> None:
    config = recipe_1() | {"totals": {}, "thresholds": {}}
    config["runs"] = {"simple": config["runs"]["simple"] | {"seeds": 2, "gguf": ["q8_0"]}}
    assert plan_of(config).exported_states == [f"simple_seed_{seed}-gguf_q8_0" for seed in (42, 43)]


def test_what_is_not_trained_or_known_to_llama_cpp_is_not_exported(tmp_path: Path) -> None:
    config = recipe_1() | {"thresholds": {}, "totals": {}}
    config["runs"] = {"mine": {"model": "qwen", "gguf": ["f16"]}}
    with pytest.raises(UserError, match="gguf needs preset and train; a model alone"):
        load_experiment(config, [])
    config["runs"] = {"mine": {"predictions": {"gsm8k": "x.jsonl"}, "gguf": ["f16"]}}
    with pytest.raises(UserError, match="gguf needs a training or an adapter"):
        load_experiment(config, [])
    config = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    config["runs"]["simple"]["gguf"] = ["f16"]
    data_files(load_experiment(config, []), [])
    shutil.copytree("data/demo/model", tmp_path / "model")
    text = (tmp_path / "model/config.json").read_text().replace('"qwen2"', '"falcon"')
    (tmp_path / "model/config.json").write_text(text)
    config["models"]["tiny"]["id"] = str(tmp_path / "model")
    found = "runs.simple.gguf: found a model of type falcon, expected one of llama, mistral"
    with pytest.raises(UserError, match=found):
        data_files(load_experiment(config, []), [])


def test_recipe_4_asks_the_labels_of_the_data_after_the_prompt_of_the_training() -> None:
    plan = plan_of(recipe("solution_verifier"))
    asked = options_protocol(plan.protocols["solutions"])
    assert (asked["labels"], asked["option"]) == (["0", "1"], "{option}")
    (tokens,) = plan.tokens.values()
    assert tokens.task == "classification"
    assert (tokens.prompt_text, tokens.system) == (asked["context"], asked["system"])
    assert fill_template(asked["context"], question="Q?", context="S.") == (
        "### Problem:\nQ?\n\n### Solution:\nS."
    )


def test_what_runs_keep_on_the_way_is_no_output_of_theirs() -> None:
    """Outputs that a finished training never made would hide what else changes of it."""
    config = recipe_1()
    before = plan_of(config).training_shapes
    config["datasets"]["gsm8k"]["dev"] = 20
    config["presets"]["simple"]["keep"] = 3
    assert plan_of(config).training_shapes == before


def test_protocols_that_differ_in_a_capital_are_two() -> None:
    config = recipe_1()
    for run, prefix in (("simple", "Answer"), ("strong", "answer")):
        config["runs"][run].setdefault("evals", {})["gsm8k"] = {"reply_prefix": prefix}
    plan = plan_of(config)
    names = {run: plan.run_table[run].evals["gsm8k"].protocol_name for run in config["runs"]}
    assert names["simple"].lower() != names["strong"].lower()
    assert plan.protocols[names["simple"]].reply_prefix == "Answer"
    assert plan.protocols[names["strong"]].reply_prefix == "answer"


def test_how_an_eval_is_shared_out_is_no_part_of_its_protocol() -> None:
    config = recipe_1()
    usual = plan_of(config).protocols
    config["evals"]["gsm8k"]["shards"] = 4
    shared = plan_of(config).protocols
    assert usual.keys() == shared.keys()
    assert all(usual[name].protocol() == shared[name].protocol() for name in usual)


def test_a_reward_model_that_only_a_run_names_is_known_as_one() -> None:
    config = recipe("gsm_symbolic_best_of_n")
    name, eval_spec = next((k, e) for k, e in config["evals"].items() if e.get("sampling"))
    reward = eval_spec["sampling"]["reward"]
    for spec in config["evals"].values():
        spec["sampling"].pop("reward", None)
    run = next(iter(config["runs"]))
    config["runs"][run].setdefault("evals", {})[name] = {"sampling": {"reward": reward}}
    experiment = load_experiment(config, [])
    assert is_reward_model(experiment, reward)
    smoke = load_experiment(config | {"smoke": "demo"}, [])
    assert smoke.models[reward].id == "data/demo/reward"
