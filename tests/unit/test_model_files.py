"""A model is the files that loading uses, all of their content, and nothing else."""

import ast
import json
import shutil
from collections.abc import Callable
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
import tiny
import transformers
from transformers.modeling_utils import _get_resolved_checkpoint_files

from snaketune.config.model import ModelSpec
from snaketune.inference.session import LoadableState
from snaketune.models.content import (
    BESIDE_WEIGHTS,
    content_of_adapter,
    content_of_model,
    model_files,
    model_identity,
    tokenizer_identity,
    weight_files,
)
from snaketune.models.folder import load_tokenizer
from snaketune.models.headers import count_parameters
from snaketune.runtime.errors import UserError

DEMO = Path(__file__).parents[2] / "data/demo/model"


@pytest.fixture(autouse=True)
def _own_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SNAKETUNE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    """A model as transformers saves it, in one file of weights."""
    return shutil.copytree(DEMO, tmp_path / "whole")


@pytest.fixture
def sharded(tmp_path: Path) -> Path:
    """The same in shards, with what makers publish beside them."""
    folder = tmp_path / "sharded"
    tiny.make_model().save_pretrained(folder, max_shard_size="100kB")
    (folder / "consolidated.safetensors").write_bytes(b"twice the same")
    (folder / "original").mkdir()
    (folder / "original/tokenizer.model").write_bytes(b"as it was trained")
    return folder


def test_all_files_of_the_demos_models_are_used() -> None:
    for folder in (DEMO, DEMO.parent / "reward"):
        assert model_files(folder) == sorted(folder.iterdir())


@pytest.mark.parametrize(
    "name",
    [
        "README.md", "LICENSE", "model.png", "consolidated.safetensors",
        "original/model.safetensors",
        "pytorch_model.bin", "pytorch_model.bin.index.json", "model-q4.gguf", ".git/config",
        ".model.safetensors", "notes.txt", "onnx/config.json", "adapter_model.safetensors",
        "model-00001-of-00002.safetensors", "model.safetensors.index.json", "trainer_state.json",
        "params.json",
    ],
)  # fmt: skip
def test_what_loading_does_not_use_plays_no_part(whole: Path, name: str) -> None:
    before = content_of_model(whole)
    (whole / name).parent.mkdir(exist_ok=True)
    (whole / name).write_text("something else")
    assert content_of_model(whole) == before


@pytest.mark.parametrize(
    "name",
    [
        "chat_template.jinja", "config.json", "generation_config.json", "tokenizer.json",
        "tokenizer_config.json", "additional_chat_templates/tool_use.jinja", "vocab.json",
        "merges.txt", "tokenizer.model", "special_tokens_map.json", "modeling_own.py",
        "custom_generate/generate.py", "chat_template.json", "qwen.tiktoken", "tekken.json",
    ],
)  # fmt: skip
def test_one_space_in_what_loading_uses_is_another_model(whole: Path, name: str) -> None:
    before = content_of_model(whole)
    file = whole / name
    file.parent.mkdir(exist_ok=True)
    file.write_text(file.read_text() + " " if file.exists() else "{}")
    after = content_of_model(whole)
    assert after != before
    file.rename(whole / "elsewhere")
    assert content_of_model(whole) != after


@pytest.mark.parametrize("share", [0.0, 0.013, 0.5, 0.97, 1.0])
def test_one_overwritten_block_is_another_model(whole: Path, share: float) -> None:
    before, weights = content_of_model(whole), whole / "model.safetensors"
    with weights.open("r+b") as stream:
        stream.seek(int(share * (weights.stat().st_size - 16)))
        stream.write(bytes(16))
    assert content_of_model(whole) != before


def test_times_and_places_play_no_part(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (whole / "config.json").touch()
    elsewhere = shutil.copytree(whole, tmp_path / "elsewhere")
    monkeypatch.chdir(tmp_path)
    found = [
        model_identity(ModelSpec(id=name, revision=revision))
        for name in ("whole", "./whole", str(whole), str(elsewhere))
        for revision in (None, "main")
    ]
    assert found == [found[0]] * 8
    assert str(tmp_path) not in json.dumps(found[0])
    states = [
        LoadableState(ModelSpec(id=name), "none", "none", []) for name in ("whole", "elsewhere")
    ]
    assert states[0].identity() == states[1].identity()


def test_settings_are_part_of_a_model_and_what_others_decide_is_not(whole: Path) -> None:
    for place in (str(whole), "org/model"):
        plain = model_identity(ModelSpec(id=place))
        others = {"quantisation": "nf4", "parameters": 5e9}
        assert model_identity(ModelSpec(id=place, **others)) == plain
        for own in ({"dtype": "float16"}, {"double_quantisation": False}):
            assert model_identity(ModelSpec(id=place, **own)) != plain
    assert model_identity(ModelSpec(id="org/model", revision="v1")) != plain
    assert (plain["id"], plain["revision"]) == ("org/model", None)


def test_only_the_shards_that_the_index_names_count(sharded: Path) -> None:
    shards = sorted(sharded.glob("model-*-of-*.safetensors"))
    assert len(shards) > 2
    assert weight_files(sharded) == shards
    used = {f.name for f in model_files(sharded)} - {f.name for f in shards}
    assert used == {"config.json", "generation_config.json", "model.safetensors.index.json"}
    assert count_parameters(sharded) == sum(p.numel() for p in tiny.make_model().parameters())
    before = content_of_model(sharded)
    shards[1].write_bytes(shards[1].read_bytes()[:-1] + b"x")
    assert content_of_model(sharded) != before


def _renamed(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "own.safetensors")
    config = json.loads((folder / "config.json").read_text())
    config["transformers_weights"] = "own.safetensors"
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("whole", lambda folder: None),
        ("sharded", lambda folder: None),
        ("sharded", lambda folder: shutil.copy(DEMO / "model.safetensors", folder)),
        ("whole", _renamed),
    ],
    ids=["whole", "shards", "both", "named by the config"],
)
def test_weights_are_those_that_transformers_takes(
    kind: str, change: Callable[[Path], object], request: pytest.FixtureRequest
) -> None:
    folder = request.getfixturevalue(kind)
    change(folder)
    config = json.loads((folder / "config.json").read_text())
    taken, _ = _get_resolved_checkpoint_files(
        folder, variant=None, gguf_file=None, use_safetensors=True, user_agent=None,
        is_remote_code=False, transformers_explicit_filename=config.get("transformers_weights"),
    )  # fmt: skip
    assert weight_files(folder) == sorted(map(Path, taken))


def test_every_file_of_transformers_tokenizers_counts() -> None:
    """Read in their source: importing hundreds of them takes too long."""
    root, names = Path(transformers.__file__).parent, set()
    for file in (*root.glob("models/*/tokenization*.py"), *root.glob("tokenization*.py")):
        for node in ast.walk(ast.parse(file.read_bytes())):
            is_named = isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict)
            if is_named and getattr(node.targets[0], "id", "").lower() == "vocab_files_names":
                names |= {v.value for v in node.value.values if isinstance(v, ast.Constant)}
    assert {"tokenizer.json", "vocab.txt", "spiece.model"} <= names
    missed = {n for n in names if not any(fnmatchcase(n, p) for p in BESIDE_WEIGHTS)}
    assert missed == {"vocab-src.json", "vocab-tgt.json"} & missed


def test_a_shard_that_is_missing_is_told_with_its_index(sharded: Path) -> None:
    lost = weight_files(sharded)[1]
    lost.unlink()
    for look in (weight_files, content_of_model, count_parameters):
        with pytest.raises(UserError, match=rf"model.safetensors.index.json: found no {lost.name}"):
            look(sharded)


@pytest.mark.parametrize("text", ["", "<html>", "[]", "{}", '{"weight_map": 3}'])
def test_an_index_that_is_none(sharded: Path, text: str) -> None:
    (sharded / "model.safetensors.index.json").write_text(text)
    with pytest.raises(UserError, match=r"model\.safetensors\.index\.json: found no"):
        content_of_model(sharded)


def test_an_adapter_is_its_two_files(tmp_path: Path) -> None:
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        (tmp_path / name).write_text("{}")
    before = content_of_adapter(tmp_path)
    (tmp_path / "README.md").write_text("about it")
    (tmp_path / "tokenizer.json").write_text("{}")
    assert content_of_adapter(tmp_path) == before
    (tmp_path / "adapter_config.json").write_text("{ }")
    assert content_of_adapter(tmp_path) != before


def test_an_adapter_in_a_models_folder_is_loaded_with_it(whole: Path) -> None:
    before = content_of_model(whole)
    (whole / "adapter_config.json").write_text("{}")
    with_config = content_of_model(whole)
    (whole / "adapter_model.safetensors").write_text("weights")
    assert len({before, with_config, content_of_model(whole)}) == 3


def templates(folder: Path, named: dict[str, str]) -> ModelSpec:
    """The demo's model with templates by name."""
    (folder / "additional_chat_templates").mkdir()
    for name, text in named.items():
        file = (
            "chat_template.jinja"
            if name == "default"
            else f"additional_chat_templates/{name}.jinja"
        )
        (folder / file).write_text(text)
    return ModelSpec(id=str(folder))


def test_a_model_with_several_chat_templates_has_the_one_that_is_asked_for(whole: Path) -> None:
    spec = templates(whole, {"default": "d", "tool_use": "t"})
    assert load_tokenizer(spec).chat_template == "d"
    named = spec.model_copy(update={"chat_template": "tool_use"})
    assert load_tokenizer(named).chat_template == "t"
    with pytest.raises(UserError, match=r"found rag, expected a file, or .* default, tool_use"):
        load_tokenizer(spec.model_copy(update={"chat_template": "rag"}))


def test_chat_templates_that_stand_as_a_list_are_chosen_from_likewise(whole: Path) -> None:
    (whole / "chat_template.jinja").unlink(missing_ok=True)
    file = whole / "tokenizer_config.json"
    named = [{"name": name, "template": name[0]} for name in ("default", "rag")]
    file.write_text(json.dumps(json.loads(file.read_text()) | {"chat_template": named}))
    assert load_tokenizer(ModelSpec(id=str(whole))).chat_template == "d"
    assert load_tokenizer(ModelSpec(id=str(whole), chat_template="rag")).chat_template == "r"


def test_a_chat_template_in_a_file_stands_for_the_models_own(whole: Path, tmp_path: Path) -> None:
    file = tmp_path / "own.jinja"
    file.write_text("{{ messages }}")
    spec = ModelSpec(id=str(whole), chat_template=str(file))
    assert load_tokenizer(spec).chat_template == "{{ messages }}"
    before, tokens = model_identity(spec), tokenizer_identity(spec)
    assert before != model_identity(ModelSpec(id=str(whole)))
    file.rename(tmp_path / "moved.jinja")
    moved = ModelSpec(id=str(whole), chat_template=str(tmp_path / "moved.jinja"))
    assert (model_identity(moved), tokenizer_identity(moved)) == (before, tokens)
    (tmp_path / "moved.jinja").write_text("{{ messages[0] }}")
    assert model_identity(moved) != before and tokenizer_identity(moved) != tokens
    with pytest.raises(UserError, match="no templates with names"):
        load_tokenizer(ModelSpec(id=str(whole), chat_template="tool_use"))


def test_without_a_template_of_ones_own_a_model_is_what_it_was(whole: Path) -> None:
    assert "chat_template" not in model_identity(ModelSpec(id=str(whole)))
