"""A merged model against the adapter on its base, and what a fully trained one becomes."""

import json

import pytest
import torch
from safetensors.torch import load_file
from test_modeling import (
    CPU,
    adapter,  # noqa: F401
    dequantised,
    divergence,
    folder,  # noqa: F401
    log_probabilities,
    spec,
)
from transformers import AutoModelForCausalLM, AutoTokenizer

from snaketune.models import merge as module
from snaketune.models.headers import count_parameters
from snaketune.models.load import load_model, load_state
from snaketune.models.merge import write_merged
from snaketune.models.nf4 import nf4_layers


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
