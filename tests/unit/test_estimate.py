"""Estimates of what jobs need, against sizes that are known and counts by hand."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from snaketune.config.base import ResourceSpec
from snaketune.config.evaluation import EvalSpec
from snaketune.config.experiment import Experiment
from snaketune.config.model import ModelSpec, Preset
from snaketune.plan import estimate
from snaketune.plan.resources import training_request, with_gpus

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


def test_experts_stay_in_16_bits_where_the_rest_takes_4() -> None:
    """Counted by hand for Mixtral 8x7B: 1.34 B of 46.7 B numbers lie in attention."""
    spec = EvalSpec(task="math", dataset="d")

    def weights(model: str) -> float:
        plain, nf4 = (
            estimate.evaluation(ModelSpec(id=model, parameters="46.7e9"), held, spec).gpu_memory
            for held in ("none", "nf4")
        )
        return 2 * 46.7e9 - (plain - nf4) / 1.1

    exact = 2 * 46.7e9 - 1.34e9 * 1.47
    assert weights("mistralai/Mixtral-8x7B-v0.1") == pytest.approx(exact, rel=0.05)
    assert weights("Qwen/Qwen3-47B-A3B") == pytest.approx(exact, rel=0.05)
    assert weights("org/dense-47B") == pytest.approx(0.6 * 46.7e9, rel=0.01)
    assert weights("org/model-v2x") == weights("org/AA3B-47B") == weights("org/dense-47B")


def test_of_a_folder_the_files_say_what_takes_4_bits(tmp_path: Path) -> None:
    sys.path.insert(0, str(ROOT / "tests/families"))
    from families import FAMILIES, make_model
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    for name in FAMILIES:
        model = make_model(name)
        model.save_pretrained(tmp_path / name)
        head = model.get_output_embeddings()
        linear = [m for m in model.modules() if isinstance(m, nn.Linear | Conv1D) and m is not head]
        layers = sum(m.weight.numel() for m in linear)
        whole = sum(p.numel() for p in model.parameters())
        found = estimate.held_bytes(ModelSpec(id=str(tmp_path / name)), "nf4")
        assert found == pytest.approx(0.53 * layers + 2 * (whole - layers), rel=0.01), name


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


def test_a_training_of_days_is_worth_several_gpus() -> None:
    def worth(hours: float, **preset) -> int:
        """Of a full training that takes so long by hand: 6 operations a weight and token."""
        spec = Preset.model_validate(
            {"method": "full", "max_length": 2000, "epochs": 1, "batch_size": 8} | preset
        )
        rows = round(hours * 3600 * 4e13 / (6 * 7e9 * 1000))
        return estimate.gpus(SEVEN, spec, rows)

    assert [worth(hours) for hours in (0.1, 7.9, 8.1, 23, 1000)] == [1, 1, 2, 3, 8]
    assert worth(1000, batch_size=2, accumulation=2) == 4, "a row for each at least"
    assert worth(30, max_steps=1) == 1


def test_every_gpu_has_a_process_that_holds_the_model() -> None:
    preset = Preset.model_validate({"method": "lora", "batch_size": 8, "accumulation": 2})
    one, four = (estimate.training(SEVEN, preset, 100_000, n) for n in (1, 4))
    assert four.memory == 4 * one.memory
    assert four.minutes - 30 == pytest.approx((one.minutes - 30) / 4, abs=1)
    assert four.gpu_memory < one.gpu_memory, "a quarter of the rows"


def test_what_is_at_once_in_a_gpu_is_a_micro_batch_at_most() -> None:
    def gpu(**preset) -> float:
        return estimate.training(SEVEN, Preset.model_validate(preset)).gpu_memory

    assert gpu(batch_size=16, max_length=2048) == gpu(batch_size=64, max_length=2048)
    assert gpu(batch_size=1, max_length=65_536) > gpu(batch_size=64, max_length=2048)


def test_gpus_that_a_run_does_not_name_are_estimated_and_granted() -> None:
    long = {"method": "full", "epochs": 100, "max_length": 2048}
    experiment = Experiment.model_validate(
        {
            "experiment": "e",
            "models": {"m": {"id": SEVEN.id}},
            "datasets": {"d": {"source": "x.jsonl", "format": "gsm8k"}},
            "presets": {"p": long},
            "evals": {"e": {"task": "math", "dataset": "d"}},
            "runs": {
                "own": {"model": "m", "preset": "p", "train": "d", "gpu": 1},
                "none": {"model": "m", "preset": "p", "train": "d"},
            },
        }
    )

    def gpus(limit: int | None) -> list[int | None]:
        return [run.gpu for run in with_gpus(experiment, limit).runs.values()]

    assert [gpus(limit) for limit in (None, 4, 0)] == [[1, 8], [1, 4], [0, 0]]
    eight = with_gpus(experiment, None)
    assert training_request(eight, "none").memory == 8 * training_request(eight, "own").memory


def test_the_first_override_counts_and_every_attempt_gets_as_much_again() -> None:
    needs = estimate.Estimate(memory=5e9, gpu_memory=1e9, minutes=40)
    run, whole = ResourceSpec(minutes=90), ResourceSpec(memory_gb=2.5, minutes=10)
    assert [estimate.overridden(needs, run, whole).runtime(n) for n in (1, 2, 3)] == [
        90,
        180,
        270,
    ]
    assert estimate.overridden(needs, run, whole).mem(2) == "5000MB"
    assert estimate.overridden(needs, run).mem() == "5000MB"
    assert estimate.overridden(needs, ResourceSpec()).runtime() == 40


def test_it_is_light() -> None:
    """The Snakefile imports it, and every job parses the Snakefile."""
    code = "import json, sys, snaketune.plan.estimate; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(ROOT / "workflow/scripts")}, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    loaded = set(json.loads(done.stdout))
    assert not loaded & {"torch", "transformers", "pandas", "pyarrow", "numpy", "snakemake"}
