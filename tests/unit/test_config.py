"""The config: defaults, faults with their place, smoke, and the files generated from it."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from snaketune.config.document import page, schema
from snaketune.config.load import load_experiment, write_resolved
from snaketune.errors import UserError

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
        ("evals.safety.judge", None, "a judge section belongs to task safety"),
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
        ("evals.math.task", "multiple_choice", "few_shot is not for task multiple_choice"),
        (
            "evals.letters",
            {"task": "multiple_choice", "dataset": "problems"},
            "evals.letters.dataset: found problems, whose format gsm8k gives no options",
        ),
        ("runs.simple.follow", ["math"], "follow needs snapshots"),
        ("runs.medium.follow", ["mth"], "runs.medium.follow: found mth"),
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
    ],
)
def test_a_fault_names_its_place_and_what_was_found(path: str, value: Any, expected: str) -> None:
    with pytest.raises(UserError) as caught:
        load_experiment(set_at(demo(), path, value), [CONFIGS[0]])
    assert expected in str(caught.value)


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
    small = load_experiment({**config, "smoke": True}, [file])
    assert small.folder == f"{whole.folder}-smoke"
    assert {m.id for m in small.models.values()} <= {"data/demo/model", "data/demo/judge"}
    assert all(p.max_steps and p.max_steps <= 3 for p in small.presets.values())
    assert all(d.limit for d in small.datasets.values())
    judges = {e.judge.model for e in small.evals.values() if e.judge}
    assert all(small.models[name].id == "data/demo/judge" for name in judges)


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
