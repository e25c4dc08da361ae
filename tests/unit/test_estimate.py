"""Estimates of what jobs need, against sizes that are known and counts by hand."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from snaketune import estimate
from snaketune.config.evaluation import EvalSpec
from snaketune.config.model import ModelSpec
from snaketune.config.preset import Preset
from snaketune.config.resources import ResourceSpec

ROOT = Path(__file__).parents[2]
SEVEN = ModelSpec(id="mistralai/Mistral-7B-Instruct-v0.3")


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("Qwen/Qwen2.5-1.5B-Instruct", 1.5e9),
        ("HuggingFaceTB/SmolLM2-135M", 135e6),
        ("mistralai/Mixtral-8x7B-v0.1", 56e9),
        ("Qwen/Qwen3-30B-A3B", 30e9),
        ("unsloth/Llama-3.1-8B-bnb-4bit", 8e9),
        ("org/model-v2B4", 8e9),
        ("org/nameless", 8e9),
    ],
)
def test_the_size_is_read_from_the_hub_id(model: str, expected: float) -> None:
    assert estimate.parameters_of(ModelSpec(id=model)) == expected


def test_the_config_goes_before_the_name() -> None:
    assert estimate.parameters_of(ModelSpec(id="org/x-7B", parameters="2e9")) == 2e9


def test_a_folder_is_counted_as_torch_counts_it() -> None:
    from safetensors import safe_open

    folder = ROOT / "data/demo/model"
    with safe_open(folder / "model.safetensors", "pt") as file:
        counted = sum(file.get_tensor(name).numel() for name in file.keys())  # noqa: SIM118
    assert estimate.parameters_of(ModelSpec(id=str(folder))) == counted


def test_an_adapter_is_about_as_large_as_peft_makes_it() -> None:
    """Published shapes, LoRA on all linear layers, r 16, counted by matrix."""
    shapes = {  # parameters, layers, width, inner width, key and value width
        "1.5B": (1.54e9, 28, 1536, 8960, 256),
        "7B": (7.25e9, 32, 4096, 14336, 1024),
        "8B": (8.03e9, 32, 4096, 14336, 1024),
    }
    for name, (size, layers, width, inner, kv) in shapes.items():
        matrices = [(width, width)] * 2 + [(width, kv)] * 2 + [(width, inner)] * 3
        exact = layers * 16 * sum(a + b for a, b in matrices)
        assert 0.5 < estimate._adapter(size, 16) / exact < 2, name


def test_methods_and_optimisers_order_as_they_must() -> None:
    def gpu(**preset) -> float:
        return estimate.training(SEVEN, Preset.model_validate(preset)).gpu_memory

    qlora, lora = gpu(method="qlora"), gpu(method="lora")
    assert lora - qlora == pytest.approx(1.1 * 7e9 * (2 - 0.6))
    # 4 bytes of weight, 4 of gradient and 8 of AdamW against 2 of weight.
    assert gpu(method="full") > lora + 1.1 * 13 * 7e9
    saved = gpu(method="full") - gpu(method="full", optimizer="adamw_8bit")
    assert saved == pytest.approx(1.1 * 6 * 7e9)
    assert gpu(batch_size=16) > gpu(batch_size=8)
    assert gpu(max_length=4096) > gpu(max_length=2048)


def test_time_follows_from_what_is_done() -> None:
    def minutes(**preset) -> int:
        return estimate.training(SEVEN, Preset.model_validate(preset)).minutes

    once, twice = minutes(epochs=1), minutes(epochs=2)
    assert twice - 30 == pytest.approx(2 * (once - 30), abs=1)
    assert minutes(max_steps=1) == 30
    few = estimate.training(SEVEN, Preset(), rows=100).minutes
    assert 30 <= few < once
    spec = EvalSpec(task="math", dataset="d")
    whole = estimate.evaluation(SEVEN, "nf4", spec)
    shared = estimate.evaluation(SEVEN, "nf4", spec.model_copy(update={"shards": 4}))
    assert 30 < shared.minutes < whole.minutes
    assert estimate.evaluation(SEVEN, "none", spec).gpu_memory > whole.gpu_memory


def test_the_first_override_counts_and_every_attempt_gets_as_much_again() -> None:
    needs = estimate.Estimate(memory=5e9, gpu_memory=1e9, minutes=40)
    run, whole = ResourceSpec(minutes=90), ResourceSpec(memory_gb=2.5, minutes=10)
    assert [estimate.asked_minutes(needs, run, whole, attempt=n) for n in (1, 2, 3)] == [
        90,
        180,
        270,
    ]
    assert estimate.asked_memory(needs, run, whole, attempt=2) == "5000MB"
    assert estimate.asked_memory(needs, run) == "5000MB"
    assert estimate.asked_minutes(needs, ResourceSpec()) == 40


def test_it_is_light() -> None:
    """The Snakefile imports it, and every job parses the Snakefile."""
    code = "import json, sys, snaketune.estimate; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(ROOT / "workflow/scripts")}, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    loaded = set(json.loads(done.stdout))
    assert not loaded & {"torch", "transformers", "pandas", "pyarrow", "numpy", "snakemake"}
