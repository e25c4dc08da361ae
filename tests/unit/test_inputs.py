"""Folders and files that a config names are looked for before anything runs."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from snaketune.config.checks import data_files
from snaketune.config.read import load_experiment
from snaketune.runtime.errors import UserError

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _in_the_project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def check(section: str, name: str, **changes: Any) -> str:
    config = yaml.safe_load(Path("config/config.yaml").read_text())
    config[section][name].update(changes)
    with pytest.raises(UserError) as caught:
        data_files(load_experiment(config, []), [])
    return str(caught.value)


def test_the_demos_files_are_all_there() -> None:
    config = yaml.safe_load(Path("config/config.yaml").read_text())
    files = data_files(load_experiment(config, []), [])
    assert all(Path(f).is_file() for group in files.values() for f in group)
    assert {"problems", "prompts"} <= set(files)


def test_a_missing_data_file() -> None:
    message = check("datasets", "problems", source="data/nowhere.jsonl")
    assert "datasets.problems.source" in message
    assert "data/nowhere.jsonl" in message


def test_a_missing_few_shot_file() -> None:
    message = check("datasets", "problems", few_shot={"file": "data/shots.json"})
    assert "datasets.problems.few_shot.file: found data/shots.json, which is no file" in message


def test_a_model_folder_that_is_missing() -> None:
    message = check("models", "tiny", id="data/demo/nowhere")
    assert "models.tiny.id: found data/demo/nowhere, which is no folder" in message


def test_a_model_folder_without_safetensors(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "tokenizer_config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_text("")
    message = check("models", "tiny", id=str(tmp_path))
    assert "has no *.safetensors; only safetensors are loaded" in message


def test_a_model_folder_that_lacks_weights_its_index_names(tmp_path: Path) -> None:
    for name in ("config.json", "tokenizer_config.json"):
        (tmp_path / name).write_text("{}")
    (tmp_path / "model-1-of-2.safetensors").write_text("")
    shards = {"a": "model-1-of-2.safetensors", "b": "model-2-of-2.safetensors"}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))
    message = check("models", "tiny", id=str(tmp_path))
    assert "models.tiny.id" in message
    assert f"{tmp_path}/model.safetensors.index.json: found no model-2-of-2" in message


def test_an_adapter_folder_without_its_files(tmp_path: Path) -> None:
    config = yaml.safe_load(Path("config/config.yaml").read_text())
    config["runs"]["given"] = {"model": "tiny", "adapter": str(tmp_path)}
    with pytest.raises(UserError) as caught:
        data_files(load_experiment(config, []), [])
    assert "runs.given.adapter" in str(caught.value)
    assert "no adapter_config.json" in str(caught.value)
    assert "no adapter_model.safetensors" in str(caught.value)
