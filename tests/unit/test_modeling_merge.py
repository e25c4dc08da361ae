"""A merged model against the adapter on its base, and what a fully trained one becomes."""

import json

import pytest
import torch
from safetensors.torch import load_file
from test_modeling import CPU, adapter, divergence, folder, log_probabilities, spec  # noqa: F401
from transformers import AutoModelForCausalLM, AutoTokenizer

from snaketune.modeling.load import load_model
from snaketune.modeling.merge import merge
from snaketune.modeling.state import load_state


def plain(path):
    return AutoModelForCausalLM.from_pretrained(path, dtype="auto").eval()


@pytest.mark.parametrize("quantisation", ["nf4", "none"])
def test_the_merged_model_is_the_adapter_on_the_weights_it_knew(
    folder,  # noqa: F811
    adapter,  # noqa: F811
    tmp_path,
    quantisation,
):
    merge(spec(folder), quantisation, "adapter", adapter, tmp_path / "merged")
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
    merge(spec(folder), "nf4", "adapter", adapter, tmp_path / "merged")
    original = log_probabilities(load_state(spec(folder), "none", "adapter", adapter, CPU))
    assert not torch.allclose(original, log_probabilities(plain(tmp_path / "merged")), atol=1e-3)


def test_a_merged_model_stands_by_itself(folder, adapter, tmp_path):  # noqa: F811
    merge(spec(folder), "nf4", "adapter", adapter, tmp_path / "merged")
    config = json.loads((tmp_path / "merged" / "config.json").read_text())
    assert "quantization_config" not in config
    assert not list((tmp_path / "merged").glob("*.bin"))
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "merged")
    assert tokenizer.chat_template == AutoTokenizer.from_pretrained(folder).chat_template


def test_weights_are_stored_in_the_dtype_that_the_config_names(folder, adapter, tmp_path):  # noqa: F811
    merge(spec(folder, dtype="bfloat16"), "none", "adapter", adapter, tmp_path / "merged")
    tensors = load_file(tmp_path / "merged" / "model.safetensors")
    assert {tensor.dtype for tensor in tensors.values()} == {torch.bfloat16}


def test_a_fully_trained_model_gets_its_tokenizer(folder, tmp_path):  # noqa: F811
    files = [folder / "model.safetensors", folder / "config.json"]
    merge(spec(folder), "none", "full", files, tmp_path / "merged")
    one, other = log_probabilities(plain(folder)), log_probabilities(plain(tmp_path / "merged"))
    assert torch.equal(one, other)
    AutoTokenizer.from_pretrained(tmp_path / "merged")
