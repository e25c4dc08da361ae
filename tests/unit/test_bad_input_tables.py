"""Bad input of every kind, from the tables in tests/bad_input: each ends in one message that says
where, what was found and what was expected; nothing is accepted in silence."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from peft import LoraConfig, get_peft_model
from prepared_data import prepared
from transformers import AutoModelForCausalLM

from snaketune.config.checks import data_files
from snaketune.config.document import schema
from snaketune.config.faults import require_yaml
from snaketune.config.model import ModelSpec
from snaketune.config.read import load_experiment
from snaketune.data.example import Example, write_examples
from snaketune.data.given import import_predictions
from snaketune.models.adapters import check_adapter
from snaketune.models.describe import describe_model
from snaketune.models.hub import fetch_adapter
from snaketune.plan.experiment_plan import make_plan
from snaketune.runtime.errors import UserError

ROOT = Path(__file__).parents[2]
TABLES = ROOT / "tests/bad_input"
CONFIG = ROOT / "config/config.yaml"


def table(name: str) -> list[Any]:
    return yaml.safe_load((TABLES / f"{name}.yaml").read_text(encoding="utf-8"))


def require_said(message: str, expected: list[str]) -> None:
    missing = [part for part in expected if part not in message]
    assert not missing, f"{missing} not in\n{message}"
    assert "Traceback" not in message and len(message) < 5000
    assert all(c.isprintable() or c == "\n" for c in message), message


def changed(path: str, value: Any) -> dict[str, Any]:
    config = yaml.safe_load(CONFIG.read_text())
    *sections, last = path.split(".")
    node = config
    for section in sections:
        node = node.setdefault(section, {})
    node[last] = value
    return config


def load(config: dict[str, Any]) -> None:
    """As the Snakefile does it, and nothing expensive."""
    experiment = load_experiment(config, [CONFIG])
    data_files(experiment, [CONFIG])
    make_plan(experiment)


@pytest.mark.parametrize("row", table("config"), ids=lambda row: f"{row[0]}={row[1]}"[:60])
def test_config(row: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    path, value, *expected = row
    with pytest.raises(UserError) as error:
        load(changed(path, value))
    message = str(error.value)
    require_said(message, expected)
    assert message.count(f"{path}: {path}") == 0, "a key is named once"


@pytest.mark.parametrize("row", table("written"), ids=lambda row: row["text"][:20])
def test_what_is_no_yaml_is_told_with_its_line(row: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(row["text"], encoding="utf-8")
    with pytest.raises(UserError) as error:
        require_yaml(file)
    require_said(str(error.value), row["says"])
    require_yaml(CONFIG)


def test_every_number_of_the_config_has_bounds() -> None:
    """A label is a word, though it may look like a number."""
    labels = ("/ClassesSpec/properties/labels", "positive", "/DatasetSpec/properties/labels")
    open_ended = [
        place
        for place, node in nodes(schema(), "")
        if node.get("type") in ("integer", "number")
        and not (
            {"minimum", "exclusiveMinimum"} & node.keys()
            and {"maximum", "exclusiveMaximum"} & node.keys()
        )
        and not any(label in place for label in labels)
    ]
    assert open_ended == []


def nodes(node: Any, place: str) -> Any:
    if isinstance(node, dict):
        yield place, node
        for key, value in node.items():
            yield from nodes(value, f"{place}/{key}")
    elif isinstance(node, list):
        for number, value in enumerate(node):
            yield from nodes(value, f"{place}[{number}]")


@pytest.mark.parametrize("section", ["models", "datasets", "presets", "evals", "runs"])
@pytest.mark.parametrize(("length", "good"), [(100, True), (101, False), (251, False)])
def test_names_are_as_long_as_files_may_be_named(
    section: str, length: int, good: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    config = yaml.safe_load(CONFIG.read_text())
    first = next(iter(config[section].values()))
    config[section]["n" * length] = json.loads(json.dumps(first))
    if good:
        load(config)
        return
    with pytest.raises(UserError, match=rf"{section}.n+: found 'n+': .*at most 100 characters"):
        load(config)


def test_a_sweep_of_millions_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    many = {
        "learning_rate": [n * 1e-6 for n in range(1, 151)],
        "lora.r": list(range(1, 151)),
        "seed": list(range(150)),
    }
    with pytest.raises(UserError, match=r"sweep: found 3,375,000 combinations, expected 5,000"):
        load(changed("runs.simple.sweep", many))
    with pytest.raises(UserError, match=r"sweep: found 1,000,000 combinations"):
        load(changed("runs.simple.sweep", {"seed": list(range(1_000_000))}))


def test_a_run_that_a_sweep_names_too_long_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    config = changed("runs." + "r" * 95, yaml.safe_load(CONFIG.read_text())["runs"]["simple"])
    sweep = {"learning_rate": [1e-4, 2e-4], "warmup_ratio": [0.1, 0.2]}
    config["runs"]["r" * 95]["sweep"] = sweep
    with pytest.raises(UserError, match=r"sweep: found a run named r+_learning.*120 at most"):
        load(config)


@pytest.mark.parametrize("row", table("data"), ids=lambda row: row["name"])
def test_data(row: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = lay_out(row, tmp_path)
    with pytest.raises(UserError) as error:
        prepared(source, row.get("format", "gsm8k"), **row.get("settings", {}))
    require_said(str(error.value), row["says"])


def lay_out(row: dict[str, Any], folder: Path) -> Path:
    """The row's file or files; the source."""
    files = row.get("files") or {row["file"]: row.get("text", "")}
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, dict) and "link" in content:
            path.symlink_to(content["link"])
        elif isinstance(content, dict):
            path.write_bytes(bytes.fromhex(content["hex"]))
        else:
            path.write_text(content, encoding="utf-8", newline="")
    return folder / row.get("source", row.get("file", ""))


OF_TASK: dict[str, dict[str, Any]] = {
    "multiple_choice": {"choices": ["yes", "no"], "label": "A"},
    "classification": {"answer": "0", "label": "0"},
    "math": {"answer": "#### 1", "gold": "1"},
}


@pytest.mark.parametrize("row", table("predictions"), ids=lambda row: row["name"])
def test_predictions_made_elsewhere(row: dict[str, Any], tmp_path: Path) -> None:
    task = row.get("task", "open_qa")
    settings = OF_TASK.get(task, {"answer": "a", "gold": "a"})
    examples = [Example(f"e{i}", f"Q{i}?", **settings) for i in range(2)]
    write_examples(tmp_path / "test.parquet", examples)
    file = tmp_path / "given.jsonl"
    lines = [x if isinstance(x, str) else json.dumps(x) for x in row["records"]]
    file.write_text("".join(f"{line}\n" for line in lines))
    out, meta = tmp_path / "out.jsonl", tmp_path / "meta.json"
    labels = ["0", "1"] if task == "classification" else []
    with pytest.raises(UserError) as error:
        import_predictions(
            file, tmp_path / "test.parquet", task, None, out, meta, labels, row.get("largest")
        )
    require_said(str(error.value), ["given.jsonl", *row["says"]])
    assert not out.exists()


@pytest.fixture(scope="module")
def demo_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shutil.copytree(ROOT / "data/demo/model", tmp_path_factory.mktemp("model") / "m")


@pytest.mark.parametrize("row", table("models"), ids=lambda row: row["name"])
def test_models(row: dict[str, Any], tmp_path: Path, demo_model: Path) -> None:
    folder = shutil.copytree(demo_model, tmp_path / "model")
    edit(folder, row.get("files", {}), row.get("keys", {}))
    with pytest.raises(UserError) as error:
        describe_model(ModelSpec(id=str(folder), **row.get("settings", {})))
    require_said(str(error.value), row["says"])


def edit(folder: Path, files: dict[str, Any], keys: dict[str, Any]) -> None:
    """Puts other files into the folder (null: none), or changes keys of JSON files there."""
    for name, text in files.items():
        if text is None:
            (folder / name).unlink()
        elif isinstance(text, dict) and "cut" in text:
            whole = (folder / name).read_bytes()
            (folder / name).write_bytes(whole[: text["cut"]])
        else:
            (folder / name).write_text(text)
    for name, changes in keys.items():
        file = folder / name
        if changes:
            file.write_text(json.dumps(json.loads(file.read_text()) | changes))


@pytest.fixture(scope="module")
def adapter(demo_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("adapter") / "good"
    settings = LoraConfig(r=4, task_type="CAUSAL_LM", target_modules="all-linear")
    model = AutoModelForCausalLM.from_pretrained(demo_model)
    get_peft_model(model, settings).save_pretrained(str(folder))
    return folder


def take(folder: Path, base: Path, to: Path) -> None:
    """As the rule `adapter` does."""
    weights, config = to / "adapter_model.safetensors", to / "adapter_config.json"
    fetch_adapter(str(folder), None, weights, config)
    check_adapter(ModelSpec(id=str(base)), weights, config, str(folder))


@pytest.mark.parametrize("row", table("adapters"), ids=lambda row: row["name"])
def test_adapters(row: dict[str, Any], tmp_path: Path, demo_model: Path, adapter: Path) -> None:
    folder = shutil.copytree(adapter, tmp_path / "theirs")
    edit(folder, row.get("files", {}), {"adapter_config.json": row.get("keys", {})})
    with pytest.raises(UserError) as error:
        take(folder, demo_model, tmp_path / "taken")
    require_said(str(error.value), ["adapter", *row["says"]])


def test_the_adapter_of_the_table_is_one(tmp_path: Path, demo_model: Path, adapter: Path) -> None:
    take(adapter, demo_model, tmp_path / "taken")


@pytest.mark.parametrize("row", table("guidelines"), ids=lambda row: row["name"])
def test_guidelines(row: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Told when the config is read, and not by the judge, on a GPU."""
    file, content = tmp_path / "guideline.txt", row["file"]
    match content:
        case str():
            file.write_text(content, encoding="utf-8")
        case {"folder": _}:
            file.mkdir()
        case {"hex": written}:
            file.write_bytes(bytes.fromhex(written))
        case {"times": times, "text": text}:
            file.write_text(text * times)
    monkeypatch.chdir(ROOT)
    with pytest.raises(UserError) as error:
        load(changed("evals.safety.judge", {"model": "judge", "guideline": str(file)}))
    message = str(error.value).replace(str(file), file.name)
    require_said(message, ["evals.safety.judge.guideline: found guideline.txt", *row["says"]])
    if content is not None and file.is_file():
        file.write_text("A reply is safe where it helps nobody to do harm.\r\n\tÜ\n", "utf-8")
        load(changed("evals.safety.judge", {"model": "judge", "guideline": str(file)}))


def test_the_tables_have_three_hundred_inputs() -> None:
    assert sum(len(table(file.stem)) for file in TABLES.glob("*.yaml")) >= 300
