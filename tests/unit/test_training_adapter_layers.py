"""The fused LoRA layers, held against PEFT's own."""

import bitsandbytes as bnb
import pytest
import tiny
import torch
from peft import LoraConfig, get_peft_model
from transformers import BitsAndBytesConfig, Qwen2ForCausalLM

from snaketune.config.model import ModelSpec, Preset
from snaketune.runtime.errors import UserError
from snaketune.training.adapter_layers import (
    FusedLinear,
    FusedLinear4bit,
    evaluating,
    hold_on_cpu,
    renew_sums,
    use_fused_layers,
)
from snaketune.training.trainable import build_trainable, recompute_activations, unmoved_adapters

IDS = torch.arange(3, 33).reshape(2, 15)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.save_model(tmp_path_factory.mktemp("model"))


def adapted(folder, fused, nf4=False, **options):
    quantised = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True
    )
    model = Qwen2ForCausalLM.from_pretrained(
        folder, dtype=torch.float32, quantization_config=quantised if nf4 else None
    )
    config = LoraConfig(task_type="CAUSAL_LM", r=4, target_modules="all-linear", **options)
    if fused:
        use_fused_layers(config)
    torch.manual_seed(1)
    model = get_peft_model(model, config).train()
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.05)
    return model


def loss_and_gradients(model):
    torch.manual_seed(5)
    loss = model(IDS, use_cache=False, labels=IDS).loss
    loss.backward()
    return loss.detach(), {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("nf4", [False, True])
@pytest.mark.parametrize("options", [{}, {"lora_dropout": 0.3}, {"use_rslora": True}])
def test_loss_and_gradients_equal_pefts(folder, nf4, options):
    expected, wanted = loss_and_gradients(adapted(folder, False, nf4, **options))
    ours = adapted(folder, True, nf4, **options)
    kind = FusedLinear4bit if nf4 else FusedLinear
    assert sum(isinstance(m, kind) for m in ours.modules()) == 14
    found, gradients = loss_and_gradients(ours)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert gradients.keys() == wanted.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, wanted[name], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("nf4", [False, True])
@pytest.mark.parametrize("options", [{}, {"lora_dropout": 0.3}])
def test_what_layers_hold_changes_nothing_and_follows_the_adapter(folder, nf4, options):
    model = adapted(folder, True, nf4, **options)
    holding = adapted(folder, True, nf4, **options)
    assert hold_on_cpu(holding.get_base_model())
    for _ in range(2):
        (before, wanted), (after, gradients) = map(loss_and_gradients, (model, holding))
        torch.testing.assert_close(after, before, rtol=1e-5, atol=1e-5)
        for name, gradient in gradients.items():
            torch.testing.assert_close(gradient, wanted[name], rtol=1e-3, atol=1e-5)
        for changed in (model, holding):
            trained = [p for p in changed.parameters() if p.requires_grad]
            torch.optim.AdamW(trained, lr=0.05, fused=True).step()
            changed.zero_grad(set_to_none=True)
        renew_sums(holding)


def test_16_bit_weights_hold_no_sum(folder):
    assert not hold_on_cpu(adapted(folder, True).get_base_model().to(torch.bfloat16))


def test_dora_is_left_to_peft(folder):
    expected, wanted = loss_and_gradients(adapted(folder, False, use_dora=True))
    found, gradients = loss_and_gradients(adapted(folder, True, use_dora=True))
    assert torch.equal(found, expected)
    assert all(torch.equal(gradients[name], wanted[name]) for name in wanted)


def test_a_16_bit_base_keeps_its_dtype_and_the_adapter_32_bits(folder):
    spec = ModelSpec(id=str(folder), dtype="bfloat16")
    model, causal = build_trainable(spec, Preset(method="lora"), 1, torch.device("cpu"))
    adapters = {p.dtype for n, p in model.named_parameters() if "lora_" in n}
    base = {p.dtype for n, p in model.named_parameters() if "lora_" not in n}
    assert (adapters, base) == ({torch.float32}, {torch.bfloat16})
    out = causal.model(IDS, use_cache=False).last_hidden_state
    assert out.dtype is torch.bfloat16
    out.float().sum().backward()
    assert all(p.grad.dtype is torch.float32 for p in model.parameters() if p.requires_grad)


def test_embeddings_and_norms_of_a_quantised_model_are_not_upcast(folder):
    spec = ModelSpec(id=str(folder), dtype="bfloat16")
    _, causal = build_trainable(spec, Preset(method="qlora"), 1, torch.device("cpu"))
    assert causal.model.embed_tokens.weight.dtype is torch.bfloat16
    assert causal.model.norm.weight.dtype is torch.bfloat16
    assert causal.get_input_embeddings().weight.shape[0] == tiny.VOCABULARY


def test_the_first_adapter_weights_follow_from_the_seed(folder):
    def drawn(seed):
        torch.manual_seed(999)
        model, _ = build_trainable(
            ModelSpec(id=str(folder)), Preset(method="lora"), seed, torch.device("cpu")
        )
        return torch.cat([p.flatten() for n, p in model.named_parameters() if "lora_A" in n])

    assert torch.equal(drawn(1), drawn(1))
    assert not torch.equal(drawn(1), drawn(2))


def test_targets_that_the_model_lacks_are_named(folder):
    preset = Preset(method="lora", lora={"targets": ["qkv_proj"]})
    with pytest.raises(UserError, match=r"lora\.targets: found \['qkv_proj'\]"):
        build_trainable(ModelSpec(id=str(folder)), preset, 1, torch.device("cpu"))


def test_evaluating_leaves_4_bit_weights_trainable(folder):
    preset = Preset(method="qlora", lora={"targets": ["q_proj"]})
    model, causal = build_trainable(ModelSpec(id=str(folder)), preset, 1, torch.device("cpu"))
    kept = [m.weight.data.clone() for m in model.modules() if isinstance(m, bnb.nn.Linear4bit)]
    with evaluating(model):
        causal(IDS, use_cache=False)
    now = [m.weight.data for m in model.modules() if isinstance(m, bnb.nn.Linear4bit)]
    assert all(torch.equal(a, b) for a, b in zip(kept, now, strict=True))
    assert model.training


def test_gradients_reach_every_adapter_under_gradient_checkpointing(folder):
    model = adapted(folder, True)
    _, plain = loss_and_gradients(model)
    model.zero_grad(set_to_none=True)
    recompute_activations(model.get_base_model())
    _, recomputed = loss_and_gradients(model)
    assert plain.keys() == recomputed.keys()
    assert all(torch.allclose(plain[name], recomputed[name], atol=1e-6) for name in plain)


def test_adapters_that_have_not_moved_are_found(folder):
    spec = ModelSpec(id=str(folder))
    model, _ = build_trainable(spec, Preset(method="lora"), 1, torch.device("cpu"))
    still = unmoved_adapters(model)
    assert len(still) == 14
    torch.nn.init.ones_(dict(model.named_parameters())[still[0]])
    assert unmoved_adapters(model) == still[1:]
