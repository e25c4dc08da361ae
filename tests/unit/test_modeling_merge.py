"""A merged model against the adapter on its base, and what a fully trained one becomes."""

import json

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from test_modeling import (
    CPU,
    adapter,  # noqa: F401
    cache,  # noqa: F401
    dequantised,
    divergence,
    folder,  # noqa: F401
    log_probabilities,
    spec,
)
from tiny_chat import make_model, make_tokenizer, save_chat_model
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GPT2Config,
    GPT2LMHeadModel,
    MixtralConfig,
    MixtralForCausalLM,
)

from snaketune.models import merge as module
from snaketune.models.headers import count_parameters
from snaketune.models.load import load_model, load_state
from snaketune.models.merge import agreement, write_merged
from snaketune.models.nf4 import nf4_folder, nf4_layers
from snaketune.runtime.errors import UserError


def plain(path):
    return AutoModelForCausalLM.from_pretrained(path, dtype="auto").eval()


@pytest.mark.parametrize("quantisation", ["nf4", "none"])
def test_the_merged_model_is_the_adapter_on_the_weights_it_knew(
    folder,  # noqa: F811
    adapter,  # noqa: F811
    tmp_path,
    quantisation,
):
    write_merged(spec(folder), quantisation, "adapter", adapter, tmp_path / "merged")
    state = load_state(spec(folder), quantisation, "adapter", adapter, CPU)
    wanted = log_probabilities(state)
    found = log_probabilities(plain(tmp_path / "merged"))
    assert torch.allclose(wanted, found, atol=1e-4)
    bare = log_probabilities(load_model(spec(folder), quantisation, CPU))
    assert divergence(bare, wanted) > 1e-3, "the adapter must change something"


def test_merging_onto_the_original_weights_would_be_another_model(
    folder,  # noqa: F811
    adapter,  # noqa: F811
    tmp_path,
):
    write_merged(spec(folder), "nf4", "adapter", adapter, tmp_path / "merged")
    original = log_probabilities(load_state(spec(folder), "none", "adapter", adapter, CPU))
    assert not torch.allclose(original, log_probabilities(plain(tmp_path / "merged")), atol=1e-3)


def test_a_merged_model_stands_by_itself(folder, adapter, tmp_path):  # noqa: F811
    write_merged(spec(folder), "nf4", "adapter", adapter, tmp_path / "merged")
    config = json.loads((tmp_path / "merged" / "config.json").read_text())
    assert "quantization_config" not in config
    assert not list((tmp_path / "merged").glob("*.bin"))
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "merged")
    assert tokenizer.chat_template == AutoTokenizer.from_pretrained(folder).chat_template


def test_weights_are_stored_in_the_dtype_that_the_config_names(folder, adapter, tmp_path):  # noqa: F811
    write_merged(spec(folder, dtype="bfloat16"), "none", "adapter", adapter, tmp_path / "merged")
    tensors = load_file(tmp_path / "merged" / "model.safetensors")
    assert {tensor.dtype for tensor in tensors.values()} == {torch.bfloat16}


def test_nf4_weights_are_those_of_the_dtype_that_was_trained_in(folder, adapter, tmp_path):  # noqa: F811
    """Stored in float32, computed in bfloat16: training quantised the rounded weights."""
    write_merged(spec(folder, dtype="bfloat16"), "nf4", "adapter", adapter, tmp_path / "merged")
    found = load_file(tmp_path / "merged" / "model.safetensors")
    parts = load_file(adapter[0])
    start, name = "base_model.model.", "model.layers.0.mlp.up_proj"
    a, b = (parts[f"{start}{name}.lora_{x}.weight"] for x in "AB")
    expected = {}
    for dtype in ("bfloat16", "float32"):
        layer = nf4_layers(load_model(spec(folder, dtype=dtype), "nf4", CPU))[name]
        whole = dequantised(layer).float() + 2 * b @ a  # alpha 16, rank 8
        expected[dtype] = whole.to(torch.bfloat16)
    assert torch.equal(found[f"{name}.weight"], expected["bfloat16"])
    assert not torch.equal(expected["bfloat16"], expected["float32"])


def test_a_model_that_does_not_fit_the_gpu_is_merged_on_the_cpu(folder, monkeypatch):  # noqa: F811
    gpu = torch.device("cuda")
    needed = 4 * count_parameters(folder)
    for free, fits in ((needed, False), (2 * needed, True)):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device, free=free: (free, free))
        assert module._has_room(spec(folder), gpu) == fits
    assert module._has_room(spec(folder), CPU)


def test_a_fully_trained_model_gets_its_tokenizer(folder, tmp_path):  # noqa: F811
    files = [folder / "model.safetensors", folder / "config.json"]
    write_merged(spec(folder), "none", "full", files, tmp_path / "merged")
    one, other = log_probabilities(plain(folder)), log_probabilities(plain(tmp_path / "merged"))
    assert torch.equal(one, other)
    AutoTokenizer.from_pretrained(tmp_path / "merged")


def gpt2():
    """Conv1D layers, which hold their weights the other way round."""
    torch.manual_seed(3)
    shape = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128, "vocab_size": 320}
    ends = {"bos_token_id": None, "eos_token_id": 0}
    return GPT2LMHeadModel(GPT2Config(**shape, **ends, initializer_range=0.3))


def mixtral():
    """Experts, whose weights are no layers of their own."""
    torch.manual_seed(3)
    config = MixtralConfig(
        vocab_size=320,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        num_local_experts=4,
        initializer_range=0.3,
        bos_token_id=None,
        eos_token_id=0,
    )
    return MixtralForCausalLM(config)


def tied():
    return make_model(320, tie_word_embeddings=True)


def untied():
    return make_model(320)


def large():
    """Over the size from which NF4 weights are kept."""
    return make_model(320, hidden_size=512, intermediate_size=1024, num_hidden_layers=4)


def random_adapter(folder, quantisation, out, **settings):  # noqa: F811
    """An adapter whose every number counts, in PEFT's format."""
    base = load_model(spec(folder), quantisation, CPU)
    torch.manual_seed(0)
    model = get_peft_model(base, LoraConfig(**{"r": 4, "task_type": "CAUSAL_LM"} | settings))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.requires_grad and "lora_A" not in name:
                weight.add_(torch.randn_like(weight) * 0.05)
    model.save_pretrained(out)
    return [out / "adapter_model.safetensors", out / "adapter_config.json"]


LINEAR = {"target_modules": "all-linear"}
TAUGHT = {
    "large": (large, "nf4", LINEAR),
    "dora": (untied, "none", {**LINEAR, "use_dora": True}),
    "dora on nf4": (untied, "nf4", {**LINEAR, "use_dora": True}),
    "rslora": (untied, "nf4", {**LINEAR, "use_rslora": True}),
    "ranks": (untied, "nf4", {**LINEAR, "rank_pattern": {"q_proj": 8}, "alpha_pattern": {"up": 3}}),
    "head": (untied, "none", {"target_modules": ["q_proj", "lm_head"]}),
    "tied head": (tied, "none", {"target_modules": ["q_proj", "lm_head"]}),
    "tied head on nf4": (tied, "nf4", {"target_modules": ["q_proj", "lm_head"]}),
    "tied embeddings": (tied, "none", {"target_modules": ["q_proj", "embed_tokens"]}),
    "saved head": (tied, "none", {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]}),
    "saved embeddings": (
        untied,
        "none",
        {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens"]},
    ),
    "token rows": (untied, "none", {**LINEAR, "trainable_token_indices": [5, 9]}),
    "tied token rows": (tied, "none", {**LINEAR, "trainable_token_indices": [5, 9]}),
    "gpt2": (gpt2, "none", LINEAR),
    "gpt2 on nf4": (gpt2, "nf4", LINEAR),
    "attention of experts": (mixtral, "nf4", {"target_modules": ["q_proj", "v_proj"]}),
    "experts": (
        mixtral,
        "none",
        {"target_modules": ["q_proj"], "target_parameters": ["experts.gate_up_proj"]},
    ),
}


@pytest.mark.parametrize("kind", TAUGHT)
def test_whatever_was_taught_is_in_the_merged_model(kind, tmp_path, cache):  # noqa: F811
    build, quantisation, settings = TAUGHT[kind]
    base = save_chat_model(tmp_path / "base", build())
    files = random_adapter(base, quantisation, tmp_path / "adapter", **settings)
    bare = log_probabilities(load_model(spec(base), quantisation, CPU))
    wanted = log_probabilities(load_state(spec(base), quantisation, "adapter", files, CPU))
    assert divergence(bare, wanted) > 1e-3
    write_merged(spec(base), quantisation, "adapter", files, tmp_path / "merged")
    found = log_probabilities(plain(tmp_path / "merged"))
    torch.testing.assert_close(found, wanted, atol=2e-3, rtol=1e-3)
    assert (nf4_folder(spec(base), torch.float32) is not None) == (kind == "large")


def test_what_does_not_merge_is_refused_and_not_written(tmp_path, monkeypatch):
    base = save_chat_model(tmp_path / "base", tied())
    files = random_adapter(base, "none", tmp_path / "adapter", target_modules=["lm_head"])
    monkeypatch.setattr(module, "_untie", lambda model: None)
    with pytest.raises(UserError, match="merging the adapter changed its logits by up to"):
        write_merged(spec(base), "none", "adapter", files, tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


def test_what_is_loaded_again_is_held_against_it(folder, adapter, tmp_path, monkeypatch):  # noqa: F811
    save = module._save

    def broken(model, target):
        save(model, target)
        file = target / "model.safetensors"
        tensors = load_file(file)
        tensors["model.layers.1.mlp.up_proj.weight"].neg_()
        save_file(tensors, file, metadata={"format": "pt"})

    monkeypatch.setattr(module, "_save", broken)
    with pytest.raises(UserError, match="saving and loading it changed its logits"):
        write_merged(spec(folder), "none", "adapter", adapter, tmp_path / "merged")


@pytest.mark.parametrize("weights", ["adapter", "full"])
def test_end_tokens_template_and_licence_go_along(adapter, tmp_path, weights):  # noqa: F811
    base = save_chat_model(tmp_path / "base", make_model(320, intermediate_size=128))
    (base / "LICENSE.txt").write_text("yours")
    # What transformers would refuse to write again.
    settings = {"do_sample": False, "temperature": 0.7, "eos_token_id": 0}
    (base / "generation_config.json").write_text(json.dumps(settings))
    files = adapter if weights == "adapter" else [base / "model.safetensors", base / "config.json"]
    write_merged(spec(base), "none", weights, files, tmp_path / "merged")
    written = json.loads((tmp_path / "merged" / "generation_config.json").read_text())
    ends = make_tokenizer().convert_tokens_to_ids(["<|endoftext|>", "<|im_end|>"])
    assert written == settings | {"eos_token_id": ends}
    assert (tmp_path / "merged" / "LICENSE.txt").read_text() == "yours"
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "merged")
    assert tokenizer.chat_template == make_tokenizer().chat_template


@pytest.mark.parametrize("named", [True, False])
def test_weights_stay_in_16_bits_and_what_is_wider_stays_so(adapter, tmp_path, named):  # noqa: F811
    base = save_chat_model(tmp_path / "base", make_model(320, intermediate_size=128).bfloat16())
    tensors = load_file(base / "model.safetensors")
    wide = "model.norm.weight"
    save_file(
        tensors | {wide: tensors[wide].float()},
        base / "model.safetensors",
        metadata={"format": "pt"},
    )
    config = json.loads((base / "config.json").read_text())
    assert config.pop("dtype") == "bfloat16"
    if not named:
        (base / "config.json").write_text(json.dumps(config))
    write_merged(spec(base), "none", "adapter", adapter, tmp_path / "merged")
    found = load_file(tmp_path / "merged" / "model.safetensors")
    assert {n for n, t in found.items() if t.dtype != torch.bfloat16} == {wide}
    assert json.loads((tmp_path / "merged" / "config.json").read_text())["dtype"] == "bfloat16"


@pytest.mark.parametrize(("gap", "apart"), [(0.062, 0.0), (0.063, 0.5)])
def test_a_tie_is_told_from_another_word(gap, apart):
    """At 16 half a step of bfloat16 is 1/16 = 0.0625."""
    one = torch.tensor([[16.0, 16.0 - gap, 0.0], [3.0, 1.0, 2.0]])
    other = torch.tensor([[16.0 - gap, 16.0, 0.0], [3.0, 1.0, 2.0]])
    found = agreement([one[:1], one[1:]], [other], torch.bfloat16)
    assert (found.same, found.apart) == (0.5, apart)
    p, q = one.double().softmax(-1), other.double().softmax(-1)
    assert found.kl == pytest.approx(float((p * (p / q).log()).sum() / 2))
    assert agreement([one], [other], torch.float16).apart == 0.5, "narrower steps"
