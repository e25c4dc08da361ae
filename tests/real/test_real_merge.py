"""A pretrained model's QLoRA run, merged: the model that was measured."""

import os
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from snaketune.config.model import ModelSpec, Preset
from snaketune.models.load import load_state, pick_device
from snaketune.models.merge import agreement, logits_of, write_merged
from snaketune.prompts.rows import IGNORED
from snaketune.training.assemble import TrainingPlan
from snaketune.training.batches import TokenRow
from snaketune.training.run import TrainingOutputs, run_training
from snaketune.training.saving import ADAPTER_FILES

ROOT = Path(__file__).parents[2]
MODELS = {"instruct": "REAL_MODEL_DIR", "base": "REAL_BASE_MODEL_DIR"}
_PIECE = 64  # tokens


@pytest.fixture(params=MODELS)
def model(request):
    variable = MODELS[request.param]
    folder = os.environ.get(variable, "")
    if not Path(folder, "model.safetensors").is_file():
        pytest.skip(f"no pretrained model: {variable} names no folder with model.safetensors")
    return Path(folder)


def pieces(tokenizer, file):
    """The project's own prose as tokens: text that a language model has an opinion on."""
    tokens = tokenizer((ROOT / file).read_text(encoding="utf-8"))["input_ids"]
    return [tokens[i : i + _PIECE] for i in range(0, len(tokens) - _PIECE, _PIECE)]


def trained(model, folder):
    """A few steps of QLoRA on the README."""
    rows = []
    for number, tokens in enumerate(pieces(AutoTokenizer.from_pretrained(model), "README.md")[:8]):
        labels = np.array([IGNORED] * 8 + tokens[8:])
        rows.append(TokenRow(f"row-{number}", np.array(tokens), labels))
    data = [tiny.write_rows(folder / "train.parquet", rows)]
    data.append(tiny.write_rows(folder / "dev.parquet", []))
    weights, config = (folder / "final" / name for name in ADAPTER_FILES)
    out = TrainingOutputs(weights, config, [], [], [], folder / "log.parquet", folder / "meta.json")
    preset = Preset(method="qlora", batch_size=4, epochs=1, learning_rate=1e-3)
    plan = TrainingPlan(ModelSpec(id=str(model)), preset, 1)
    run_training(plan, *data, out, folder / "work", torch.get_num_threads())
    return [weights, config]


def test_the_merged_model_is_the_measured_one(model, tmp_path, monkeypatch):
    monkeypatch.setenv("SNAKETUNE_CACHE", str(tmp_path / "cache"))
    files, spec = trained(model, tmp_path), ModelSpec(id=str(model))
    write_merged(spec, "nf4", "adapter", files, tmp_path / "merged")
    assert list((tmp_path / "cache" / "nf4").iterdir()), "large enough to be kept"
    rows = pieces(AutoTokenizer.from_pretrained(model), "docs/architecture.md")[:12]
    bare = logits_of(load_state(spec, "nf4", "none", [], pick_device()), rows)
    measured = logits_of(load_state(spec, "nf4", "adapter", files, pick_device()), rows)
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged", dtype=torch.float32)
    found = logits_of(merged.eval(), rows)
    same, divergence = agreement(measured, found)
    print(f"{model.name}: the same top token at {100 * same:.2f} %, KL {divergence:.2g}")
    assert same >= 0.99
    assert divergence <= 1e-3
    assert agreement(bare, measured)[1] > 1e-2, "the training must have changed something"
