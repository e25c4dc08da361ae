"""Bases that come quantised: asked and trained where the libraries can, else refused in a line."""

import json
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_chat import make_tokenizer
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

sys.path.insert(0, str(Path(__file__).parents[1] / "families"))

from families import make_model, save_model
from journey import Journey, plain_model

from snaketune.config.model import ModelSpec, Preset
from snaketune.models.describe import describe_model
from snaketune.models.headers import count_parameters
from snaketune.models.load import load_model, load_state
from snaketune.plan import estimate
from snaketune.runtime.errors import UserError
from snaketune.training.trainable import build_trainable

CPU, IDS = torch.device("cpu"), torch.arange(6, 40)[None]
PLAIN = sum(p.numel() for p in make_model("Llama").parameters())
BITS = {
    4: {
        "load_in_4bit": True,
        "bnb_4bit_quant_type": "nf4",
        "bnb_4bit_compute_dtype": torch.float32,
    },
    8: {"load_in_8bit": True},
}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SNAKETUNE_CACHE", str(tmp_path / "cache"))


def in_bits(bits, folder):
    plain = save_model("Llama", folder / "plain")
    quantised = AutoModelForCausalLM.from_pretrained(
        plain, quantization_config=BitsAndBytesConfig(**BITS[bits]), dtype=torch.float32
    )
    quantised.save_pretrained(folder / "quantised")
    make_tokenizer().save_pretrained(folder / "quantised")
    return folder / "quantised"


def labelled(folder, **settings):
    """A plain model whose config says that it comes quantised."""
    save_model("Llama", folder)
    file = folder / "config.json"
    said = json.loads(file.read_text()) | {"quantization_config": settings}
    file.write_text(json.dumps(said))
    return folder


def in_fp8(folder):
    """As DeepSeek's and Qwen's: a scale for each block of 128 x 128."""
    settings = {"quant_method": "fp8", "weight_block_size": [128, 128]}
    labelled(folder, activation_scheme="dynamic", **settings)
    tensors = load_file(folder / "model.safetensors")
    for name in [n for n in tensors if n.endswith("_proj.weight")]:
        scale = tensors[name].abs().max() / 448
        tensors[f"{name}_scale_inv"] = scale.reshape(1, 1).float()
        tensors[name] = (tensors[name] / scale).to(torch.float8_e4m3fn)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    return folder


@torch.no_grad()
def logits(model):
    return model(input_ids=IDS).logits.float()


@pytest.mark.parametrize("method", ["lora", "qlora"])
def test_4_bits_of_bitsandbytes_are_trained_asked_and_merged(method, tmp_path):
    class Quantised(Journey):
        def __post_init__(self):
            super().__post_init__()
            self.base = in_bits(4, self.folder / "made")
            self.spec = ModelSpec(id=str(self.base))

    Quantised("Llama", method, tmp_path).run()


@pytest.mark.parametrize(("bits", "name"), [(4, "bitsandbytes_4bit"), (8, "bitsandbytes_8bit")])
def test_what_comes_in_bits_is_recorded_and_counted_as_what_it_stands_for(bits, name, tmp_path):
    folder = in_bits(bits, tmp_path)
    record = describe_model(ModelSpec(id=str(folder)))
    assert record["comes_as"] == name and record["parameters"] == PLAIN
    assert count_parameters(tmp_path / "plain") == count_parameters(folder) == PLAIN
    held = estimate.held_bytes(ModelSpec(id=str(folder)), "none")
    assert held == (folder / "model.safetensors").stat().st_size
    theirs = plain_model(folder)
    ours = load_state(ModelSpec(id=str(folder)), "none", "none", [], CPU)
    torch.testing.assert_close(logits(ours), logits(theirs), atol=1e-3, rtol=1e-3)


def test_fp8_is_asked_as_what_it_stands_for_and_not_trained(tmp_path):
    spec = ModelSpec(id=str(in_fp8(tmp_path / "fp8")))
    assert describe_model(spec)["comes_as"] == "fp8"
    assert count_parameters(tmp_path / "fp8") == PLAIN
    found, plain = logits(load_model(spec, "none", CPU)), logits(make_model("Llama"))
    assert (found - plain).norm() < 0.2 * plain.norm()
    with pytest.raises(UserError, match="come as fp8; expected plain weights or 4 bits"):
        build_trainable(spec, Preset(method="lora"), 1, CPU)


@pytest.mark.parametrize(
    ("bits", "method", "expected"),
    [
        (4, "full", "bitsandbytes_4bit; expected qlora or lora"),
        (8, "lora", "bitsandbytes_8bit; expected plain weights or 4 bits of bitsandbytes"),
        (8, "full", "bitsandbytes_8bit; expected plain weights"),
    ],
)
def test_a_method_that_can_not_train_them_is_refused(bits, method, expected, tmp_path):
    spec = ModelSpec(id=str(in_bits(bits, tmp_path)))
    with pytest.raises(UserError, match=f"found {method}, but the weights .* come as {expected}"):
        build_trainable(spec, Preset(method=method), 1, CPU)


def test_other_bits_than_they_come_in_are_refused(tmp_path):
    spec = ModelSpec(id=str(in_bits(8, tmp_path)), quantisation="nf4")
    for look in (describe_model, lambda spec: load_model(spec, "nf4", CPU)):
        with pytest.raises(UserError, match="found quantisation nf4 for weights that come as"):
            look(spec)


@pytest.mark.parametrize(
    "settings",
    [
        {"quant_method": "gptq", "bits": 4, "group_size": 128},
        {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True},
        {"quant_method": "compressed-tensors", "config_groups": {}, "format": "pack-quantized"},
        {"quant_method": "made-up"},
    ],
    ids=lambda settings: settings["quant_method"],
)
def test_what_nothing_here_reads_is_refused_with_what_to_do(settings, tmp_path):
    spec = ModelSpec(id=str(labelled(tmp_path, **settings)))
    said = f"come as {settings['quant_method']}, which can't be read here .* expected plain weights"
    for look in (describe_model, lambda spec: load_model(spec, "none", CPU)):
        with pytest.raises(UserError, match=said) as refused:
            look(spec)
        assert "\n" not in str(refused.value)


FP4 = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6])
"""What three bits stand for; the fourth is the sign."""


def in_mxfp4(folder):
    """As gpt-oss: of experts two numbers a byte, and a power of two for each 32 of them. Also the
    plain model of the same numbers."""
    plain = make_model("GPT-OSS")
    save_model("GPT-OSS", folder)
    tensors, made = load_file(folder / "model.safetensors"), torch.Generator().manual_seed(3)
    for number, layer in enumerate(plain.model.layers):
        for name in ("gate_up_proj", "down_proj"):
            weight = getattr(layer.mlp.experts, name)  # [experts, in, out]
            count, wide, out = weight.shape
            codes = torch.randint(16, (count, out, wide // 32, 32), generator=made)
            powers = torch.randint(-4, 0, (count, out, wide // 32), generator=made)
            numbers = FP4[codes % 8] * (1 - 2 * (codes // 8)) * 2.0 ** powers[..., None]
            weight.data = numbers.reshape(count, out, wide).transpose(1, 2).contiguous()
            key = f"model.layers.{number}.mlp.experts.{name}"
            del tensors[key]
            tensors[f"{key}_blocks"] = (codes[..., ::2] + 16 * codes[..., 1::2]).to(torch.uint8)
            tensors[f"{key}_scales"] = (powers + 127).to(torch.uint8)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    file = folder / "config.json"
    said = json.loads(file.read_text()) | {"quantization_config": {"quant_method": "mxfp4"}}
    file.write_text(json.dumps(said))
    return plain


def test_mxfp4_is_asked_as_what_it_stands_for_and_not_trained(tmp_path):
    plain = in_mxfp4(tmp_path)
    spec = ModelSpec(id=str(tmp_path))
    assert describe_model(spec)["comes_as"] == "mxfp4"
    assert count_parameters(tmp_path) == sum(p.numel() for p in plain.parameters())
    found = logits(load_state(spec, "none", "none", [], CPU))
    torch.testing.assert_close(found, logits(plain), atol=1e-3, rtol=1e-3)
    with pytest.raises(UserError, match="come as mxfp4; expected plain weights"):
        build_trainable(spec, Preset(method="lora"), 1, CPU)
