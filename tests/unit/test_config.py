"""The config: defaults, faults with their place, smoke, and the files generated from it."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from snaketune.config.changes import smoke_notes
from snaketune.config.dataset import DatasetSpec, may_have_dev
from snaketune.config.document import page, schema
from snaketune.config.model import Preset
from snaketune.config.read import load_experiment, write_resolved
from snaketune.plan.experiment_plan import make_plan
from snaketune.plan.protocols import run_evals
from snaketune.runtime.errors import UserError

ROOT = Path(__file__).parents[2]
CONFIGS = [ROOT / "config/config.yaml", *sorted((ROOT / "config/experiments").glob("*.yaml"))]


@pytest.fixture(autouse=True)
def _in_the_project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def demo() -> dict[str, Any]:
    return yaml.safe_load(CONFIGS[0].read_text())


def set_at(config: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    node = config
    *parents, last = path.split(".")
    for key in parents:
        node = node.setdefault(key, {})
    node[last] = value
    return config


@pytest.mark.parametrize("file", CONFIGS, ids=lambda f: f.stem)
def test_shipped_configs_are_valid(file: Path) -> None:
    load_experiment(yaml.safe_load(file.read_text()), [file])


@pytest.mark.parametrize(
    ("method", "quantisation", "expected"),
    [
        ("lora", "nf4", "method lora trains on plain weights, but models.tiny.quantisation is nf4"),
        ("full", "nf4", "method full trains on plain weights, but models.tiny.quantisation is nf4"),
        ("qlora", "none", "method qlora trains on nf4 weights, but models.tiny.quantisation is no"),
        ("lora", "none", ""),
        ("qlora", "nf4", ""),
        ("lora", None, ""),
    ],
)
def test_a_run_is_evaluated_on_what_it_trained_on(method, quantisation, expected) -> None:
    config = demo()
    for preset in config["presets"].values():
        preset["method"] = "qlora" if quantisation == "nf4" else "lora"
        preset.pop("lora", None)
    config["presets"]["simple"]["method"] = method
    config["models"]["tiny"]["quantisation"] = quantisation
    if not expected:
        load_experiment(config, [])
        return
    with pytest.raises(UserError) as error:
        load_experiment(config, [])
    assert expected in str(error.value)


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("smok", True, "smok: unknown key; did you mean smoke?"),
        (
            "presets.simple.lerning_rate",
            1,
            "presets.simple.lerning_rate: unknown key; did you mean learning_rate?",
        ),
        ("presets.simple.lora.rr", 1, "presets.simple.lora.rr: unknown key; did you mean r?"),
        ("runs.simple.preset", "simpel", "which is no entry under presets; did you mean simple?"),
        ("runs.simple.train", "nothing", "which is no entry under datasets; known: problems"),
        ("runs.simple.model", "tny", "runs.simple.model: found tny"),
        ("runs.simple.evals", {"maths": {}}, "runs.simple.evals.maths: found maths"),
        ("runs.simple.evals", {"math": {"few_shots": 5}}, "did you mean few_shot?"),
        ("runs.simple.evals", {"math": {"few_shot": -1}}, "runs.simple.evals.math.few_shot"),
        ("runs.medium.choose", "math", "expected EVAL.METRIC such as math.accuracy"),
        ("runs.simple.choose", "math.accuracy", "choose needs snapshots"),
        ("runs.simple.adapter", "some/folder", "an adapter stands instead of"),
        ("runs.simple.preset", None, "needs preset (or an adapter)"),
        ("evals.math.sample", {"fraction": 2}, "evals.math.sample.fraction: found 2"),
        ("evals.math.sample", {}, "give either fraction or count"),
        ("evals.safety.judge", "juge", "found juge, which is no entry under models"),
        ("evals.math.judge", "judge", "a judge section belongs to task safety"),
        ("evals.math.task", "maths", "evals.math.task: found 'maths'"),
        ("leave_out", ["mth"], "leave_out: found mth"),
        ("thresholds.simpel", {}, "thresholds.simpel: found simpel"),
        ("totals.simple", {"mat": 3}, "totals.simple.mat: found mat"),
        ("presets.simple.learning_rate", "fast", "presets.simple.learning_rate: found 'fast'"),
        ("models.tiny.quantisation", "none", "method qlora trains on nf4 weights"),
        ("models.t-x", {"id": "a/b"}, "models.t-x: found 't-x'"),
        (
            "evals.math.options",
            {"chat": False},
            "a section options belongs to task multiple_choice",
        ),
        ("evals.math.prompt", "Solve this.", "found no {question} in it"),
        ("evals.math.task", "multiple_choice", "found few-shot examples of task multiple_choice"),
        (
            "evals.math",
            {
                "task": "math",
                "dataset": "problems",
                "few_shot": 3,
                "chat": False,
                "prompt": "{context} {question}",
            },
            "evals.math.few_shot: found few-shot examples in plain text under a prompt that places",
        ),
        (
            "evals.letters",
            {"task": "multiple_choice", "dataset": "problems"},
            "evals.letters.dataset: found problems, whose format gsm8k gives no options",
        ),
        ("evals.math.sampling", {"samples": 4}, "at: found 8, expected numbers from 1 to samples"),
        ("evals.math.sampling", {"at": [4, 2]}, "expected rising numbers"),
        ("evals.math.sampling", {"reward": "judg"}, "no entry under models; did you mean judge?"),
        ("evals.math.sampling", {"reward": "tiny"}, "found tiny, which is also asked to write"),
        ("models.reward.quantisation", "nf4", "evals.samples.sampling.reward: found reward with q"),
        (
            "evals.math",
            {"task": "math", "dataset": "problems", "backend": "vllm", "batch_size": 4},
            "batch_size: found 4 with backend vllm, which sizes its batches by itself",
        ),
        (
            "evals.samples",
            {
                "task": "math",
                "dataset": "problems",
                "backend": "vllm",
                "sampling": {"temperature": 2.5},
            },
            "evals.samples.sampling.temperature: found 2.5 with backend vllm, expected 0.01 to 2",
        ),
        (
            "evals.samples",
            {
                "task": "math",
                "dataset": "problems",
                "backend": "vllm",
                "sampling": {"temperature": 0.005},
            },
            "evals.samples.sampling.temperature: found 0.005 with backend vllm, expected 0.01 to 2",
        ),
        ("evals.quiz.backend", "vllm", "task multiple_choice generates nothing: no other backend"),
        ("evals.safety.sampling", {}, "sampling is for task math only"),
        ("evals.safety.answer_rule", "final_answer", "answer_rule is for task math only"),
        ("evals.math.reply_prefix", "So: ", "found white space around it"),
        (
            "evals.classes",
            {"task": "classification", "dataset": "problems"},
            "evals.classes.dataset: found problems, whose format gsm8k gives no labels",
        ),
        ("drops", {"math": "mth"}, "drops.math: found mth"),
        ("drops", {"math": "safety"}, "found safety of task safety, expected an eval of task math"),
        ("datasets.problems.labels", ["0", "1"], "labels belong to datasets of classes"),
        (
            "datasets.problems",
            {"source": "x.csv", "format": "solution_verifier"},
            "labels: found [], expected at least two classes",
        ),
        (
            "datasets.problems",
            {"source": "x.csv", "format": "table", "columns": {"question": "q"}},
            "give either answer or label",
        ),
        ("runs.simple.gguf", ["f16", "f16"], "gguf: found f16, f16, expected each once"),
        ("runs.simple.gguf", ["q4_0"], "runs.simple.gguf"),
        ("evals.math.backend", "llama_cpp", "evals.math.backend"),
        ("runs.simple.follow", ["math"], "follow needs snapshots"),
        ("runs.medium.follow", ["mth"], "runs.medium.follow: found mth"),
        (
            "evals.open",
            {"task": "open_qa", "dataset": "prompts"},
            "evals.open.dataset: found prompts, whose format ailuminate gives no gold answers",
        ),
        (
            "evals.math.dataset",
            "prompts",
            "evals.math.dataset: found prompts, whose format ailuminate gives no numbers",
        ),
        ("presets.simple.best", "f1", "presets.simple.best: found 'f1'"),
        (
            "presets.simple",
            {"best": "loss", "eval_per_epoch": 0},
            "presets.simple: best needs scores on dev, but eval_per_epoch is 0",
        ),
        (
            "presets.simple",
            {"keep": 2, "eval_per_epoch": 0},
            "presets.simple: keep needs scores on dev",
        ),
        (
            "presets.simple.best",
            "accuracy",
            "runs.simple.preset: presets.simple.best is accuracy, but datasets.problems is math",
        ),
        (
            "presets.medium.best",
            "loss",
            "runs.medium.preset: both choose and presets.medium.best say which weights",
        ),
        ("runs.simple.report_to", ["wand"], "runs.simple.report_to"),
        (
            "runs.given",
            {"model": "tiny", "adapter": "a/b", "report_to": ["wandb"]},
            "runs.given: report_to shows a training, and there is none",
        ),
        ("datasets.problems.format", "table", "a columns section belongs to format table"),
        ("runs.simple.predictions", {"math": "x.jsonl"}, "predictions stand instead of"),
        (
            "runs.given",
            {"predictions": {"mth": "x.jsonl"}},
            "runs.given.predictions.mth: found mth",
        ),
        (
            "runs.given",
            {"predictions": {"math": "x"}, "base": "simpl"},
            "runs.given.base: found simpl",
        ),
        ("runs.given", {"model": "tiny", "base": "simpl"}, "runs.given.base: found simpl"),
        ("runs.given", {"model": "tiny", "base": "given"}, "found given, the run itself"),
        ("runs.given", {"model": "tiny", "snapshots": 2}, "snapshots needs preset and train"),
        ("runs.given", {"model": "tiny", "seeds": 2}, "seeds needs preset and train"),
        ("runs.given", {"model": "tiny", "chat": False}, "and a model alone has none"),
        ("runs.given", {"model": "tiny", "preset": "simple"}, "needs train (or an adapter)"),
        (
            "runs.given",
            {"predictions": {"math": "x"}, "follow": ["math"]},
            "runs.given: predictions stand instead of",
        ),
        (
            "runs.given",
            {"model": "tiny", "adapter": "a/b", "chat": False},
            "runs.given: chat words training rows, and an adapter has none",
        ),
        (
            "runs.medium.choose",
            "math.acuracy",
            "runs.medium.choose: found acuracy, which is no metric of math of which more is "
            "better; did you mean accuracy?",
        ),
        ("runs.medium.choose", "math.unparsed", "found unparsed, which is no metric of math of"),
        ("runs.medium.choose", "solutions.brier", "found brier, which is no metric of class"),
        ("runs.medium.choose", "math", "found math, expected EVAL.METRIC such as math.accuracy"),
        (
            "datasets.problems",
            {"source": "data/demo/math/train.jsonl", "format": "gsm8k"},
            "runs.medium.choose: found math.accuracy, but datasets.problems has no dev split",
        ),
        ("thresholds.simple", {"math.f1": 1}, "thresholds.simple.math.f1: found f1, which is no"),
        ("thresholds.simple", {"samples.majority": 0}, ""),
        (
            "presets.simple.dtype",
            "float16",
            "runs.simple.preset: presets.simple.dtype is float16, but models.tiny.dtype is auto",
        ),
        (
            "evals.math.few_shot",
            12,
            "evals.math.few_shot: found 12, but datasets.problems.few_shot.count is 8",
        ),
        ("evals.quiz.batch_size", 8, "evals.quiz: batch_size: found 8, but task multiple_choice"),
        (
            "evals.quiz",
            {"task": "multiple_choice", "dataset": "q", "system": "x", "options": {"chat": False}},
            "evals.quiz: a system turn needs a chat template",
        ),
    ],
)
def test_a_fault_names_its_place_and_what_was_found(path: str, value: Any, expected: str) -> None:
    config = set_at(demo(), path, value)
    if not expected:
        load_experiment(config, [CONFIGS[0]])
        return
    with pytest.raises(UserError) as caught:
        load_experiment(config, [CONFIGS[0]])
    assert expected in str(caught.value)


def test_snapshots_at_epochs_need_epochs_and_what_follows_must_be_evaluated() -> None:
    config = set_at(demo(), "runs.medium.snapshots", "epochs")
    set_at(config, "presets.medium.epochs", 1)
    config["runs"]["medium"] |= {"follow": ["math"], "choose": None}
    load_experiment(config, [])
    with pytest.raises(UserError, match=r"runs.medium.follow: found math, which runs.medium.evals"):
        load_experiment(set_at(config, "runs.medium.evals.math", False), [])
    del config["runs"]["medium"]["evals"]["math"]
    set_at(config, "presets.medium.max_steps", 7)
    with pytest.raises(UserError, match=r"medium.snapshots: .*presets.medium.max_steps is 7"):
        load_experiment(config, [])
    load_experiment(config | {"smoke": True}, [])


@pytest.mark.parametrize(
    ("source", "dev", "fault"),
    [
        ("data/demo/problems.jsonl", 0, True),
        ({"train": "a.jsonl", "test": "b.jsonl"}, 0, True),
        ("data/demo/problems.jsonl", 5, False),
        ({"train": "a.jsonl", "dev": "b.jsonl"}, 0, False),
        ("hub:openai/gsm8k", 0, False),
        ("a/folder", 0, False),
    ],
)
def test_best_wants_a_dev_split(source: Any, dev: int, fault: bool) -> None:
    config = set_at(demo(), "presets.simple.best", "loss")
    config["datasets"]["problems"] |= {"source": source, "dev": dev}
    if fault:
        with pytest.raises(UserError, match=r"but datasets\.problems has no dev split"):
            load_experiment(config, [])
    else:
        load_experiment(config, [])


@pytest.mark.parametrize(
    ("lora", "method", "evals", "found"),
    [
        ({"dora": True}, "lora", {}, "with lora.dora"),
        ({"r": 513}, "qlora", {}, "with lora.r 513"),
        ({"r": 1024, "dora": True}, "lora", {}, "with lora.r 1024 and lora.dora"),
        ({"r": 512}, "lora", {}, None),
        ({"dora": True}, "lora", {"math": False}, None),
        ({"dora": True}, "lora", {"math": {"backend": "transformers"}}, None),
        ({"dora": True}, "lora", {"math": {"few_shot": 0}}, "with lora.dora"),
    ],
)
def test_adapters_that_vllm_cannot_serve_are_told_before(lora, method, evals, found) -> None:
    config = demo()
    config["presets"]["simple"] |= {"method": method, "lora": lora}
    set_at(config, "evals.math.backend", "vllm")
    config["runs"] = {"first": {**config["runs"]["simple"], "evals": evals}}
    config["models"]["tiny"].pop("quantisation", None)
    for key in ("drops", "totals", "thresholds"):
        config.pop(key, None)
    expected = f"runs.first.preset: found simple, {found}, but evals.math is answered by vllm"
    if found:
        with pytest.raises(UserError, match=re.escape(expected)):
            load_experiment(config, [])
    else:
        load_experiment(config, [])


def test_what_is_kept_on_the_way_is_no_part_of_what_a_training_is() -> None:
    assert Preset(keep=3).identity() == Preset().identity()
    assert Preset(best="loss").identity() != Preset().identity()


def test_all_faults_are_reported_together_with_their_lines() -> None:
    config = set_at(demo(), "presets.medium.epoch", 1)
    config = set_at(config, "runs.strong.preset", "stron")
    with pytest.raises(UserError) as caught:
        load_experiment(config, [CONFIGS[0]])
    lines = CONFIGS[0].read_text().splitlines()
    medium = 1 + next(i for i, line in enumerate(lines) if line.startswith("  medium:"))
    message = str(caught.value)
    assert message.startswith("2 faults in the config:")
    assert f"config.yaml:{medium}: presets.medium.epoch: unknown key" in message
    assert "runs.strong.preset: found stron" in message


def test_the_last_file_that_has_a_key_is_named(tmp_path: Path) -> None:
    overlay = tmp_path / "overlay.yaml"
    overlay.write_text("presets:\n  medium:\n    learning_rate: fast\n")
    config = set_at(demo(), "presets.medium.learning_rate", "fast")
    with pytest.raises(UserError, match=r"overlay\.yaml:3: presets\.medium\.learning_rate"):
        load_experiment(config, [CONFIGS[0], overlay])


@pytest.mark.parametrize("written", ["1e-4", 1.0e-4, "0.0001"])
def test_numbers_may_be_written_as_yaml_reads_them_or_not(written: object) -> None:
    config = set_at(demo(), "presets.simple.learning_rate", written)
    assert load_experiment(config, []).presets["simple"].learning_rate == 1e-4


@pytest.mark.parametrize("file", CONFIGS, ids=lambda f: f.stem)
def test_smoke_cuts_every_experiment_and_moves_its_results(file: Path) -> None:
    config = yaml.safe_load(file.read_text())
    whole = load_experiment(config, [file])
    own, small = (load_experiment({**config, "smoke": smoke}, [file]) for smoke in (True, "demo"))
    assert small.folder == f"{whole.folder}-smoke_demo" and own.folder == f"{whole.folder}-smoke"
    assert {m.id for m in small.models.values()} <= {
        "data/demo/model",
        "data/demo/judge",
        "data/demo/reward",
    }
    assert own.models == whole.models, "a rehearsal is with one's own models and templates"
    for name, preset in own.presets.items():
        kept = {"max_steps": None}
        assert preset.model_copy(update=kept) == whole.presets[name].model_copy(update=kept)
    for experiment in (own, small):
        assert all(p.max_steps and p.max_steps <= 3 for p in experiment.presets.values())
        assert all(d.limit for d in experiment.datasets.values())
    judges = {e.judge.model for e in small.evals.values() if e.judge}
    assert all(small.models[name].id == "data/demo/judge" for name in judges)
    assert "the models of this config" in next(smoke_notes(own))
    assert "demo's small models" in next(smoke_notes(small)) and not list(smoke_notes(whole))


def test_smoke_prepares_all_that_predictions_made_elsewhere_answer() -> None:
    config = set_at(demo(), "runs.given", {"predictions": {"math": "x.jsonl"}, "model": "tiny"})
    config = set_at(config, "datasets.problems.dev", 40) | {"smoke": True}
    small = load_experiment(config, []).datasets
    assert (small["problems"].limit, small["problems"].dev) == (None, 40)
    assert all(d.limit for name, d in small.items() if name != "problems")


def test_generated_files_are_up_to_date() -> None:
    """Run `make docs` when this fails."""
    import json

    assert json.loads((ROOT / "config/schema.json").read_text()) == schema()
    assert (ROOT / "config/README.md").read_text() == page()


def test_every_key_is_documented() -> None:
    whole = schema()
    for node in [whole, *whole["$defs"].values()]:
        for key, value in node.get("properties", {}).items():
            assert value.get("description"), f"{node['title']}.{key} has no description"


@pytest.mark.parametrize("file", CONFIGS, ids=lambda f: f.stem)
def test_the_resolved_config_is_the_same_experiment(file: Path, tmp_path: Path) -> None:
    experiment = load_experiment(yaml.safe_load(file.read_text()), [file])
    write_resolved(experiment, tmp_path / "config.yaml")
    again = load_experiment(yaml.safe_load((tmp_path / "config.yaml").read_text()), [])
    assert again == experiment


def test_null_on_the_command_line_is_nothing() -> None:
    """Snakemake reads `--config 'evals={math: {sample: null}}'` as text."""
    config = set_at(demo(), "evals.math.sample", "null")
    assert load_experiment(config, []).evals["math"].sample is None


def classes(**changes: Any) -> dict[str, Any]:
    config = demo()
    columns = {"question": "q", "label": "l"}
    data = {"source": "data/demo/math", "format": "table", "columns": columns, "labels": [0, 1]}
    config["datasets"]["kinds"] = data | changes.pop("data", {})
    config["evals"]["kinds"] = {"task": "classification", "dataset": "kinds", "classes": changes}
    return config


def test_labels_may_be_written_as_numbers() -> None:
    loaded = load_experiment(classes(names={0: "good", 1: "bad"}, positive=0), [])
    assert loaded.datasets["kinds"].labels == ["0", "1"]
    found = loaded.evals["kinds"].classes
    assert (found.names, found.positive) == ({"0": "good", "1": "bad"}, "0")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": ["0", "2"]}, "evals.kinds.classes.labels: found ['0', '2'], expected those of"),
        (
            {"positive": 2},
            "evals.kinds.classes.positive: found 2, expected those of datasets.kinds: ",
        ),
        ({"names": {"yes": "x"}}, "evals.kinds.classes.names: found yes, expected those of"),
        ({"labels": [0, 1], "names": {2: "odd"}}, "found '2', expected one of ['0', '1']"),
        ({"names": {0: "a", "0": "b"}}, "classes.names: found [0, '0'], expected each label once"),
        ({"by": "label"}, "by: found label, by which results are split in any case"),
        ({"data": {"labels": [1.5, "a"]}}, "datasets.kinds.labels.0: found 1.5"),
        ({"data": {"labels": ["0"]}}, "labels: found ['0'], expected at least two classes"),
    ],
)
def test_faults_of_classes_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as error:
        load_experiment(classes(**changes), [])
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            {"classes": {"positive": 7}},
            "runs.simple.evals.kinds.classes.positive: found 7, expected",
        ),
        (
            {"dataset": "kind"},
            "runs.simple.evals.kinds.dataset: found kind, which is no entry under",
        ),
        ({"max_new_tokens": 0}, "runs.simple.evals.kinds.max_new_tokens: found 0"),
    ],
)
def test_what_a_run_changes_of_an_eval_is_checked_like_the_eval(change: Any, expected: str) -> None:
    config = classes()
    config["runs"]["simple"]["evals"]["kinds"] = change
    with pytest.raises(UserError) as error:
        load_experiment(config, [])
    assert expected in str(error.value)


@pytest.mark.parametrize(
    ("name", "change", "expected"),
    [
        ("safety", {"judge": "nobody"}, "evals.safety.judge: found nobody, which is no entry"),
        (
            "math",
            {"dataset": "reading", "few_shot": 0},
            "evals.math.dataset: found reading, whose format",
        ),
        ("math", {"few_shot": 9}, "evals.math.few_shot: found 9, but datasets.problems.few_shot"),
        ("math", {"shards": 2}, "evals.math.shards: is how the work is shared out"),
        (
            "samples",
            {"sampling": {"unique_at_least": 5}},
            "evals.samples.sampling.unique_at_least: says what the report shows of all runs",
        ),
        ("samples", {"sampling": None}, "evals.samples: makes math of an eval of math_samples"),
        ("samples", {"sampling": {"reward": "tiny"}}, "evals.samples.sampling.reward: found tiny"),
    ],
)
def test_a_changed_eval_is_checked_beside_the_rest(name: str, change: Any, expected: str) -> None:
    config = demo()
    config["runs"]["simple"].setdefault("evals", {})[name] = change
    with pytest.raises(UserError) as error:
        load_experiment(config, [])
    assert f"runs.simple.{expected}" in str(error.value)
    assert "1 fault in" in str(error.value)


def test_a_run_changes_sections_of_an_eval_key_by_key() -> None:
    config = demo()
    config["runs"]["simple"].setdefault("evals", {}).update(
        {"samples": {"sampling": {"samples": 16}}, "math": {"sample": {"count": 5}}}
    )
    experiment = load_experiment(config, [])
    changed = run_evals(experiment, experiment.runs["simple"])
    usual = experiment.evals["samples"].sampling
    assert usual.reward and usual.temperature != 0.7
    assert changed["samples"].sampling == usual.model_copy(update={"samples": 16})
    assert changed["math"].sample.count == 5


def test_true_leaves_an_eval_of_a_run_as_it_is() -> None:
    config = demo()
    config["runs"]["medium"]["evals"]["math"] = True
    experiment = load_experiment(config, [])
    changed = run_evals(experiment, experiment.runs["medium"])["math"]
    assert changed == run_evals(experiment, experiment.runs["simple"])["math"]


@pytest.mark.parametrize(
    ("source", "has"),
    [("a/my_validation.jsonl", True), ("a/dev.csv", True), ("a/evaluation.jsonl", False)],
)
def test_a_lone_file_may_be_the_dev_split(source: str, has: bool) -> None:
    assert may_have_dev(DatasetSpec(source=source, format="gsm8k")) is has


def test_a_rehearsal_in_16_bits_can_be_run_again(tmp_path: Path) -> None:
    config = demo()
    config["smoke"] = "demo"
    config["models"]["tiny"]["dtype"] = "bfloat16"
    for preset in config["presets"].values():
        preset["dtype"] = "bfloat16"
    experiment = load_experiment(config, [])
    write_resolved(experiment, tmp_path / "config.yaml")
    again = yaml.safe_load((tmp_path / "config.yaml").read_text())
    assert load_experiment(again, []) == experiment


def test_a_signature_in_an_address_stays_out_of_the_resolved_config(tmp_path: Path) -> None:
    config = demo()
    config["datasets"]["problems"]["source"] = {"train": "https://x.org/a.jsonl?sig=SECRET"}
    write_resolved(load_experiment(config, []), tmp_path / "config.yaml")
    text = (tmp_path / "config.yaml").read_text()
    assert "https://x.org/a.jsonl" in text and "SECRET" not in text


@pytest.mark.parametrize("address", ["https://me:SECRET@x.org/a.csv", "https://SECRET@x.org/a.csv"])
def test_a_password_in_an_address_is_refused_and_not_repeated(address: str) -> None:
    config = demo()
    config["datasets"]["problems"]["source"] = {"train": address}
    with pytest.raises(UserError, match="password in the address") as error:
        load_experiment(config, [])
    assert "SECRET" not in str(error.value)


def test_an_at_sign_behind_the_host_is_no_password() -> None:
    config = demo()
    config["datasets"]["problems"]["source"] = {"train": "https://x.org/@me/a.jsonl?u=a@b"}
    load_experiment(config, [])


def test_what_slips_through_the_checks_is_no_traceback() -> None:
    experiment = load_experiment(classes(), [])
    spec = experiment.evals["kinds"]
    wrong = spec.model_copy(update={"classes": spec.classes.model_copy(update={"positive": "7"})})
    experiment = experiment.model_copy(update={"evals": {"kinds": wrong}})
    with pytest.raises(
        UserError, match=r"runs\.simple\.evals\.classes: found '7', expected one of"
    ):
        make_plan(experiment)
