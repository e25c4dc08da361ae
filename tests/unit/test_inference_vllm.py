"""The vLLM backend's requests, against a stand-in: vLLM itself needs a GPU and isn't installed."""

import json
import sys
from types import ModuleType, SimpleNamespace

import pytest
from tiny_chat import make_tokenizer

from snaketune.config.model import ModelSpec
from snaketune.inference.backends.vllm import VllmSession, prepare_vllm
from snaketune.inference.pick import Sampling
from snaketune.runtime.errors import UserError


class Parameters(SimpleNamespace):
    """Stands for SamplingParams."""


class Engine:
    """Answers every request with its prompt's last token and an end token."""

    def __init__(self, **settings):
        self.settings, self.asked = settings, []

    def generate(self, prompts, parameters, use_tqdm, lora_request):
        self.asked += list(zip(prompts, parameters, strict=True))
        self.adapter = lora_request
        return [
            SimpleNamespace(outputs=[SimpleNamespace(token_ids=(p["prompt_token_ids"][-1], 2))])
            for p in prompts
        ]


@pytest.fixture
def vllm(monkeypatch):
    module, request = ModuleType("vllm"), ModuleType("vllm.lora.request")
    module.LLM, module.SamplingParams = Engine, Parameters
    request.LoRARequest = lambda name, number, path: (name, number, path)
    for name, value in {
        "vllm": module,
        "vllm.lora": ModuleType("x"),
        "vllm.lora.request": request,
    }.items():
        monkeypatch.setitem(sys.modules, name, value)


def session(start, adapter=None):
    return VllmSession("tiny", make_tokenizer(), [0, 2], 16, start, adapter)


def test_greedy_requests_hold_nothing_of_the_models_own(vllm):
    start, adapter = prepare_vllm(ModelSpec(id="x"), "none", "none", [])
    asked = session(start)
    found = list(asked.replies([[5, 6], [1] * 20, [7]], 4, "auto"))
    engine = asked.engine
    assert engine.settings["generation_config"] == "vllm" and adapter is None
    assert engine.settings["max_model_len"] == 2 + 4, "of what is asked, not the model's context"
    assert sorted((t.index, t.tokens, t.finish) for t in found) == [
        (0, [6], "stop"), (1, [], "overlong"), (2, [7], "stop")
    ]  # fmt: skip
    for _, parameters in engine.asked:
        assert parameters.temperature == 0.0 and parameters.stop_token_ids == [0, 2]


def test_each_sample_has_a_seed_of_its_own(vllm):
    def seeds(samples):
        start, _ = prepare_vllm(ModelSpec(id="x"), "none", "none", [])
        wanted, asked = [list(range(samples))] * 2, session(start)
        list(asked.replies([[5], [6]], 4, "auto", Sampling(0.7, 0.9, 3), wanted, ["a", "b"]))
        return [p.seed for _, p in asked.engine.asked]

    four, two = seeds(4), seeds(2)
    assert len(set(four)) == 8
    assert two == [*four[:2], *four[4:6]]


def test_an_adapter_is_served_at_a_rank_that_vllm_takes(vllm, tmp_path):
    (tmp_path / "adapter_config.json").write_text(json.dumps({"r": 12}))
    files = [tmp_path / "adapter_model.safetensors", tmp_path / "adapter_config.json"]
    start, adapter = prepare_vllm(ModelSpec(id="x"), "none", "adapter", files)
    engine = start(8)
    assert engine.settings["max_lora_rank"] == 16
    assert adapter == ("state", 1, str(tmp_path))


def test_what_vllm_does_not_serve():
    with pytest.raises(UserError, match="found quantisation nf4 with backend vllm"):
        prepare_vllm(ModelSpec(id="x"), "nf4", "none", [])
    with pytest.raises(UserError, match="found no vllm"):
        prepare_vllm(ModelSpec(id="x"), "none", "none", [])
