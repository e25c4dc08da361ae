"""A model that also sees pictures, as gemma-3-4b-it is: only its language model is trained."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from test_training_run import published
from tiny import make_rows, write_rows
from tiny_chat import make_tokenizer
from transformers import (
    AutoModelForCausalLM,
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    Gemma3TextConfig,
    SiglipVisionConfig,
)

from snaketune.config.model import ModelSpec, Preset
from snaketune.inference.backends.transformers import open_transformers
from snaketune.inference.session import LoadableState
from snaketune.models.describe import describe_model
from snaketune.models.load import load_model
from snaketune.models.merge import write_merged
from snaketune.training.assemble import TrainingPlan
from snaketune.training.run import run_training

CPU = torch.device("cpu")
IDS = torch.arange(3, 40)[None]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A random gemma-3 with pictures, and rows."""
    folder = tmp_path_factory.mktemp("pictures")
    text = Gemma3TextConfig(
        vocab_size=320,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        max_position_embeddings=512,
        sliding_window=16,
        layer_types=["sliding_attention", "full_attention"],
        bos_token_id=None,
        eos_token_id=0,
        pad_token_id=0,
    )
    vision = SiglipVisionConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        image_size=28,
        patch_size=14,
    )
    torch.manual_seed(5)
    config = Gemma3Config(text_config=text, vision_config=vision, mm_tokens_per_image=1)
    config.eos_token_id = 0
    model = Gemma3ForConditionalGeneration(config)
    model.save_pretrained(folder / "model")
    make_tokenizer().save_pretrained(folder / "model")
    write_rows(folder / "train.parquet", make_rows(12))
    write_rows(folder / "none.parquet", [])
    return folder


def trained(files: Path, folder: Path, method: str):
    preset = {"method": method, "batch_size": 4, "learning_rate": 5e-2}
    plan = TrainingPlan(ModelSpec(id=str(files / "model")), Preset.model_validate(preset), 1)
    out = published(folder, full=method == "full")
    run_training(plan, files / "train.parquet", files / "none.parquet", out, folder / "work", 1)
    return out


def logits(model):
    with torch.no_grad():
        return model(input_ids=IDS).logits


@pytest.mark.parametrize("method", ["lora", "qlora", "full"])
def test_only_the_language_model_is_trained_merged_and_asked(files, tmp_path, method):
    spec = ModelSpec(id=str(files / "model"))
    out = trained(files, tmp_path, method)
    weights = [out.weights, out.config]
    quantisation = "nf4" if method == "qlora" else "none"
    kind = "full" if method == "full" else "adapter"
    before = load_file(files / "model" / "model.safetensors")
    found = load_file(out.weights)
    if kind == "adapter":
        assert len(found) == 2 * 2 * 7, "A and B of the seven linear layers of both layers"
        assert all("language_model" in name for name in found)
    else:
        pictures = [n for n in before if "vision_tower" in n or "projector" in n]
        assert pictures and all(torch.equal(before[n], found[n]) for n in pictures)
        moved = [n for n in before if n not in pictures and not torch.equal(before[n], found[n])]
        assert len(moved) == len(before) - len(pictures)
    meta = json.loads(out.meta.read_text())
    picture_numbers = sum(v.numel() for n, v in before.items() if "language_model" not in n)
    if kind == "full":
        assert meta["parameters_trained"] == meta["parameters"] - picture_numbers
    assert meta["logits"] == "chunked"

    write_merged(spec, quantisation, kind, weights, tmp_path / "merged")
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged", dtype="auto").eval()
    state = LoadableState(spec, quantisation, kind, weights)
    session = open_transformers(state)
    assert session.engine is not None
    with torch.no_grad():
        ours = session.engine.model
        session.engine.base.set_attn_implementation("sdpa")
        torch.testing.assert_close(logits(merged), logits(ours), atol=1e-4, rtol=0)
        base = logits(load_model(spec, quantisation, CPU))
    assert (base - logits(merged)).abs().max() > 0.01


def test_it_writes(files):
    spec = ModelSpec(id=str(files / "model"))
    session = open_transformers(LoadableState(spec, "none", "none", []))
    prompts = [[5, 6, 7, 8], [9, 10, 11, 12, 13, 14]]
    found = {text.index: text.tokens for text in session.replies(prompts, 6, 2)}
    plain = AutoModelForCausalLM.from_pretrained(files / "model", dtype="auto").eval()
    for place, prompt in enumerate(prompts):
        out = plain.generate(
            input_ids=torch.tensor([prompt]), max_new_tokens=6, do_sample=False, eos_token_id=[0, 2]
        )[0, len(prompt) :]
        assert found[place] == [token for token in out.tolist() if token not in (0, 2)]
    assert describe_model(spec)["context_length"] == 512
