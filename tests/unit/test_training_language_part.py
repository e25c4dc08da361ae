"""A model that also sees pictures, as gemma-3-4b-it, Mistral Small 3.1 and Qwen2.5-VL do: only its
language model is trained."""

import json
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from test_training_run import published
from tiny import make_rows, write_rows
from tiny_chat import make_tokenizer
from transformers import (
    AutoModelForImageTextToText,
    Gemma3Config,
    Gemma3TextConfig,
    Mistral3Config,
    MistralConfig,
    PixtralVisionConfig,
    Qwen2_5_VLConfig,
    SiglipVisionConfig,
)

from snaketune.config.model import ModelSpec, Preset
from snaketune.inference.backends.transformers import open_transformers
from snaketune.inference.session import LoadableState
from snaketune.models.describe import describe_model
from snaketune.models.load import auto_class, load_model
from snaketune.models.merge import write_merged
from snaketune.training.assemble import TrainingPlan
from snaketune.training.run import run_training

CPU = torch.device("cpu")
IDS = torch.arange(3, 40)[None]


TEXT = {
    "vocab_size": 320,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "bos_token_id": None,
    "eos_token_id": 0,
    "pad_token_id": 0,
}
SEES = re.compile(r"vision_tower|projector|visual")
VISION = {"hidden_size": 32, "intermediate_size": 64}


def gemma3():
    text = Gemma3TextConfig(
        **TEXT, head_dim=8, sliding_window=16, layer_types=["sliding_attention", "full_attention"]
    )
    vision = SiglipVisionConfig(
        **VISION, num_hidden_layers=1, num_attention_heads=2, image_size=28, patch_size=14
    )
    return Gemma3Config(text_config=text, vision_config=vision, mm_tokens_per_image=1)


def mistral3():
    text = MistralConfig(**TEXT, head_dim=8, sliding_window=None, tie_word_embeddings=False)
    vision = PixtralVisionConfig(
        **VISION, num_hidden_layers=1, num_attention_heads=2, image_size=28, patch_size=14
    )
    return Mistral3Config(text_config=text, vision_config=vision, tie_word_embeddings=False)


def qwen2_5_vl():
    """Positions of three kinds, which are the same one for text."""
    rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 1, 1]}
    vision = {**VISION, "depth": 1, "num_heads": 2, "out_hidden_size": 32, "window_size": 28}
    return Qwen2_5_VLConfig(
        text_config={**TEXT, "rope_parameters": rope},
        vision_config={**vision, "fullatt_block_indexes": [0]},
        tie_word_embeddings=False,
    )


KINDS = {"gemma3": gemma3, "mistral3": mistral3, "qwen2_5_vl": qwen2_5_vl}


def save_kind(kind, folder):
    """A random model with pictures."""
    torch.manual_seed(5)
    config = KINDS[kind]()
    config.eos_token_id = 0
    auto_class(config).from_config(config).save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module", params=KINDS)
def files(request, tmp_path_factory):
    """One of each kind, and rows."""
    folder = tmp_path_factory.mktemp("pictures")
    save_kind(request.param, folder / "model")
    write_rows(folder / "train.parquet", make_rows(12))
    write_rows(folder / "none.parquet", [])
    return folder


def plain(folder):
    """By the class that the config names."""
    return AutoModelForImageTextToText.from_pretrained(folder, dtype="auto").eval()


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
        pictures = [n for n in before if SEES.search(n)]
        assert pictures and all(torch.equal(before[n], found[n]) for n in pictures)
        moved = [n for n in before if n not in pictures and not torch.equal(before[n], found[n])]
        assert len(moved) == len(before) - len(pictures)
    meta = json.loads(out.meta.read_text())
    picture_numbers = sum(value.numel() for n, value in before.items() if SEES.search(n))
    if kind == "full":
        assert meta["parameters_trained"] == meta["parameters"] - picture_numbers
    assert meta["logits"] == "chunked"

    write_merged(spec, quantisation, kind, weights, tmp_path / "merged")
    merged = plain(tmp_path / "merged")
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
    model = plain(files / "model")
    for place, prompt in enumerate(prompts):
        out = model.generate(
            input_ids=torch.tensor([prompt]), max_new_tokens=6, do_sample=False, eos_token_id=[0, 2]
        )[0, len(prompt) :]
        assert found[place] == [token for token in out.tolist() if token not in (0, 2)]
    assert describe_model(spec)["context_length"] == 512
