"""Of a model on the hub the files that loading uses are fetched, once, and then found offline."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hub import COMMIT, serve

ROOT = Path(__file__).parents[2]
PROGRAM = """
import sys
from snaketune.config.model import ModelSpec
from snaketune.runtime.errors import UserError
from snaketune.models.folder import model_folder
try:
    print(model_folder(ModelSpec(id="demo/tiny", revision=sys.argv[1] or None)))
except UserError as error:
    print(error)
"""
STRAY = (
    "README.md", "consolidated.safetensors", "original/tokenizer.model",
    "original/config.json", "model-00009-of-00009.safetensors", "pytorch_model.bin", "onnx/a.json",
    "tiny.gguf", ".gitattributes",
)  # fmt: skip


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """The demo's model with all that makers publish beside one."""
    folder = shutil.copytree(ROOT / "data/demo/model", tmp_path / "repository")
    for name in (*STRAY, "LICENSE", "additional_chat_templates/tools.jinja"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(name)
    return folder


@pytest.fixture
def sharded(repository: Path) -> Path:
    """As before, with the weights in two files. What is in them plays no part here."""
    (repository / "model.safetensors").unlink()
    shards = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    for name in shards.values():
        (repository / name).write_text(name)
    index = {"metadata": {}, "weight_map": shards}
    (repository / "model.safetensors.index.json").write_text(json.dumps(index))
    return repository


def folder_of(home: Path, address: str = "", revision: str = "") -> str:
    """What a process of its own is told; without an address the hub is switched off."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING"))}
    environment |= {"HF_HOME": str(home), "PYTHONPATH": str(ROOT / "workflow/scripts")}
    environment |= {"HF_ENDPOINT": address or "http://127.0.0.1:9"}
    environment |= {} if address else {"HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", PROGRAM, revision]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert "No files matched" not in done.stderr
    return done.stdout.strip()


def files_in(folder: str) -> set[str]:
    assert folder.endswith(COMMIT), folder
    return {str(f.relative_to(folder)) for f in Path(folder).rglob("*") if f.is_file()}


@pytest.mark.parametrize("kind", ["repository", "sharded"])
def test_only_what_loading_uses_is_fetched(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    published = request.getfixturevalue(kind)
    with serve({"demo/tiny": published}) as (address, asked):
        online = folder_of(tmp_path / "home", address)
        fetched = {p.partition(f"{COMMIT}/")[2] for p in asked if "/resolve/" in p}
    assert files_in(online) == files_in_repository(published) - set(STRAY)
    assert not fetched & set(STRAY)
    for revision in ("", COMMIT):
        assert folder_of(tmp_path / "home", revision=revision) == online


def files_in_repository(folder: Path) -> set[str]:
    return {str(f.relative_to(folder)) for f in folder.rglob("*") if f.is_file()}


def test_a_commit_that_was_fetched_is_not_asked_for_again(sharded: Path, tmp_path: Path) -> None:
    with serve({"demo/tiny": sharded}) as (address, asked):
        folder = folder_of(tmp_path / "home", address, "v1")
        asked.clear()
        assert folder_of(tmp_path / "home", address, COMMIT) == folder
        assert not [path for path in asked if "demo/tiny" in path]
    assert folder_of(tmp_path / "home", revision="v1") == folder


def test_an_index_beside_the_whole_weights_fetches_no_shard(sharded: Path, tmp_path: Path) -> None:
    """As transformers does, which takes the whole ones."""
    (sharded / "model.safetensors").write_text("whole")
    with serve({"demo/tiny": sharded}) as (address, _):
        found = files_in(folder_of(tmp_path / "home", address))
    assert {f for f in found if f.endswith(".safetensors")} == {"model.safetensors"}


def test_a_fetch_that_did_not_end_is_told_offline(sharded: Path, tmp_path: Path) -> None:
    with serve({"demo/tiny": sharded}) as (address, _):
        folder = Path(folder_of(tmp_path / "home", address))
    (folder / "model-00002-of-00002.safetensors").unlink()
    said = folder_of(tmp_path / "home")
    assert said.startswith(
        "model demo/tiny: the model hub can't be reached, and its cache here lacks"
    )
