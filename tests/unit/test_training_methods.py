"""What a model's runs can't train is said by the check of the model, in the words in which training
would say it, before a weight is read."""

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "families"))

from families import save_model
from journey import Journey

from snaketune.config.model import LoraSpec, ModelSpec, Preset
from snaketune.plan.protocols import training_methods
from snaketune.runtime.errors import UserError
from snaketune.training.methods import require_methods
from snaketune.training.trainable import build_trainable

CPU = torch.device("cpu")


def asked(method, **lora):
    if method == "full":
        return {"method": method}
    kept = {"targets", "dropout", "dora"}
    return {"method": method, "lora": LoraSpec.model_validate(lora).model_dump(include=kept)}


@pytest.mark.parametrize(
    ("family", "method", "lora", "said"),
    [
        ("Falcon", "qlora", {}, "found no layer in a FalconForCausalLM that NF4 can hold"),
        ("Mamba", "qlora", {}, "a MambaForCausalLM can't compute with weights in NF4"),
        ("Qwen3-MoE", "lora", {"dropout": 0.1}, r"lora\.dropout: found 0\.1, but experts"),
        ("Qwen3-MoE", "qlora", {"dora": True}, r"lora\.dora: found true, but experts"),
        ("Qwen2", "lora", {"targets": ["query"]}, r"lora\.targets: found \['query'\]"),
        ("GPT-2", "qlora", {"targets": ["q_proj"]}, r"lora\.targets: found \['q_proj'\]"),
    ],
)
def test_it_is_said_first_and_as_training_says_it(family, method, lora, said, tmp_path):
    spec = ModelSpec(id=str(save_model(family, tmp_path / "model")))
    with pytest.raises(UserError, match=said) as trained:
        build_trainable(spec, Preset(method=method, lora=LoraSpec(**lora)), 1, CPU)
    (tmp_path / "model/model.safetensors").unlink()  # no weight is read
    with pytest.raises(UserError) as checked:
        require_methods(spec, [asked("full"), asked(method, **lora)])
    assert str(checked.value) == str(trained.value)
    assert "\n" not in str(checked.value) and "expected" in str(checked.value)
    require_methods(spec, [asked("full"), asked("lora", targets="all-linear")])


def test_a_model_that_is_held_in_4_bits_without_a_training_is_tried_too(tmp_path):
    spec = ModelSpec(id=str(save_model("Falcon", tmp_path)), quantisation="nf4")
    with pytest.raises(UserError, match="that NF4 can hold"):
        require_methods(spec, [])


@pytest.mark.parametrize("family", ["Mamba 2", "Falcon-H1", "Jamba", "Llama 4", "DeepSeek-V3"])
def test_what_can_be_trained_is_not_refused(family, tmp_path):
    spec = ModelSpec(id=str(save_model(family, tmp_path)))
    require_methods(spec, [asked(method) for method in ("lora", "qlora", "full")])


@pytest.mark.parametrize("family", ["Qwen2", "GPT-2"])
def test_every_adapter_can_be_tried_without_weights(family, tmp_path):
    spec = ModelSpec(id=str(save_model(family, tmp_path)))
    require_methods(spec, [asked("lora", dora=True), asked("qlora", dora=True, dropout=0.1)])


class Experiment:
    """As much of one as is asked for."""

    def __init__(self, **runs):
        self.presets = {
            "a": Preset(method="lora"), "b": Preset(method="lora", learning_rate=1.0),
            "c": Preset(method="full"), "d": Preset(method="qlora", lora={"dropout": 0.1, "r": 2}),
        }  # fmt: skip
        self.runs = {
            name: type("Run", (), {"model": m, "preset": p, "train": t})
            for name, (m, p, t) in runs.items()
        }


def test_the_rule_asks_what_decides_once():
    experiment = Experiment(
        one=("m", "a", "d"), two=("m", "b", "d"), three=("m", "c", "d"), four=("m", "d", "d"),
        other=("n", "a", "d"), given=("m", None, None),
    )  # fmt: skip
    found = training_methods(experiment, "m")
    assert sorted(map(str, found)) == sorted(
        map(str, [asked("lora"), asked("full"), asked("qlora", dropout=0.1)])
    )
    assert training_methods(experiment, "n") == [asked("lora")]
    assert training_methods(experiment, "judge") == []


@pytest.mark.parametrize(
    ("family", "changes", "method"),
    [
        ("Qwen2", {}, "lora"),
        ("Qwen2", {"tie_word_embeddings": True}, "qlora"),
        ("Gemma 3", {}, "lora"),
        ("Mamba", {}, "lora"),
    ],
)
def test_embeddings_can_be_a_target(family, changes, method, tmp_path, monkeypatch):
    """Trained, asked and merged, each held against PEFT; tied and not."""
    monkeypatch.setenv("SNAKETUNE_CACHE", str(tmp_path / "cache"))
    targets = ["in_proj", "embeddings"] if family == "Mamba" else ["q_proj", "embed_tokens"]
    Journey(family, method, tmp_path / "run", changes, {"targets": targets}).run()
