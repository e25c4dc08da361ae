"""What is settled before vLLM's engine starts, with stand-ins for its classes; `make test-vllm`
runs the engine itself."""

import json
import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch

from snaketune.config.model import ModelSpec
from snaketune.inference.backends.vllm import prepare_vllm
from snaketune.runtime.errors import UserError


@pytest.fixture
def vllm(monkeypatch):
    module, request = ModuleType("vllm"), ModuleType("vllm.lora.request")
    module.LLM = lambda **settings: SimpleNamespace(settings=settings)
    request.LoRARequest = lambda name, number, path: (name, number, path)
    modules = {"vllm": module, "vllm.lora": ModuleType("x"), "vllm.lora.request": request}
    for name, value in modules.items():
        monkeypatch.setitem(sys.modules, name, value)


def adapter(folder, **config):
    (folder / "adapter_config.json").write_text(json.dumps({"r": 12, **config}))
    return [folder / "adapter_model.safetensors", folder / "adapter_config.json"]


def test_the_engine_takes_nothing_of_the_models_own_settings(vllm):
    start, served = prepare_vllm(ModelSpec(id="x", revision="abc"), "none", "none", [])
    engine = start(12)
    assert served is None
    assert engine.settings["generation_config"] == "vllm"
    assert engine.settings["max_model_len"] == 12, "of what is asked, not the model's context"
    assert engine.settings["revision"] == engine.settings["tokenizer_revision"] == "abc"
    wanted = "float32" if not torch.cuda.is_available() else engine.settings["dtype"]
    assert engine.settings["dtype"] == wanted, "as our own engine computes"


def test_a_whole_training_is_served_from_its_folder(vllm, tmp_path):
    spec = ModelSpec(id="x", revision="abc")
    start, _ = prepare_vllm(spec, "none", "full", [tmp_path / "model.safetensors"])
    settings = start(8).settings
    assert (settings["model"], settings["revision"]) == (str(tmp_path), None)
    assert (settings["tokenizer"], settings["tokenizer_revision"]) == ("x", "abc")


@pytest.mark.parametrize(
    ("config", "rank"),
    [({}, 16), ({"r": 16}, 16), ({"r": 17}, 32), ({"r": 512}, 512),
     ({"r": 8, "rank_pattern": {"q_proj": 40}}, 64)],
)  # fmt: skip
def test_an_adapter_is_served_at_a_rank_that_vllm_takes(vllm, tmp_path, config, rank):
    start, served = prepare_vllm(ModelSpec(id="x"), "none", "adapter", adapter(tmp_path, **config))
    assert start(8).settings["max_lora_rank"] == rank
    assert served == ("state", 1, str(tmp_path))


@pytest.mark.parametrize(
    ("config", "found"),
    [({"r": 513}, "r 513"), ({"use_dora": True}, "use_dora"), ({"lora_bias": True}, "lora_bias"),
     ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
     ({"rank_pattern": {"q_proj": 600}}, "r 600")],
)  # fmt: skip
def test_an_adapter_that_vllm_does_not_serve_is_refused(vllm, tmp_path, config, found):
    with pytest.raises(UserError, match=f"found {found}, expected an adapter without"):
        prepare_vllm(ModelSpec(id="x"), "none", "adapter", adapter(tmp_path, **config))


def test_without_vllm_it_says_what_to_install():
    with pytest.raises(UserError, match=r"found no vllm.*envs/vllm\.yaml"):
        prepare_vllm(ModelSpec(id="x"), "none", "none", [])
