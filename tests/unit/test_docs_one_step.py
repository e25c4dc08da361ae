"""The plain training in docs/one_step.py gives the losses of the workflow's own."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import tiny
import torch
import yaml

from snaketune.config.model import ModelSpec, Preset
from snaketune.runtime.content import sign
from snaketune.training.run import TrainingOutputs, TrainingPlan, run_training

FILE = Path(__file__).parents[2] / "docs" / "one_step.py"
# Relative: sums in another order, in float32 on a CPU. The head of the file says what the demo has.
ROUNDING = 1e-5
PRESETS = {
    "lora": {"method": "lora", "lora": {"r": 4, "alpha": 8}, "weight_decay": 0.1},
    "qlora": {"method": "qlora", "lora": {"r": 4, "targets": ["q_proj", "down_proj"]}},
    "full": {"method": "full", "weight_decay": 0.1},
    "linear": {"method": "lora", "lora": {"r": 4, "rslora": True}, "schedule": "linear"},
}


@pytest.fixture(scope="module")
def one_step():
    spec = importlib.util.spec_from_file_location("one_step", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def trained(folder: Path, changes: dict) -> Path:
    """Results as the workflow leaves them, of a run `tried` over more than an epoch."""
    torch.set_num_threads(1)
    preset = {"epochs": 1.6, "batch_size": 3, "accumulation": 2, "learning_rate": 5e-3}
    preset = Preset.model_validate(preset | {"warmup_ratio": 0.2} | changes)
    model = ModelSpec(id=str(tiny.save_model(folder / "model")))
    rows = tiny.write_rows(folder / "tokens" / "key" / "train.parquet", tiny.make_rows(22))
    dev = tiny.write_rows(folder / "tokens" / "key" / "dev.parquet", [])
    run = folder / "train" / "tried"
    out = TrainingOutputs(
        weights=run / "final" / "adapter_model.safetensors",
        config=run / "final" / "adapter_config.json",
        snapshot_weights=[],
        snapshot_configs=[],
        kept=[],
        log=run / "train_log.parquet",
        meta=run / "train_meta.json",
    )
    if changes["method"] == "full":
        final = {"weights": "model.safetensors", "config": "config.json"}
        out = TrainingOutputs(**vars(out) | {k: run / "final" / v for k, v in final.items()})
    run_training(TrainingPlan(model, preset, 3), rows, dev, out, folder / "work", 1)
    sign(out.meta, {}, preset=preset.identity(), seed=3)
    config = {"models": {"tiny": model.model_dump(mode="json")}}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return folder


def logged(results: Path) -> list[float]:
    return pd.read_parquet(results / "train" / "tried" / "train_log.parquet")["loss"].tolist()


@pytest.mark.parametrize("changes", PRESETS.values(), ids=PRESETS)
def test_every_step_has_the_loss_of_the_workflow(one_step, tmp_path, changes):
    results = trained(tmp_path, changes)
    found = [loss for _, loss in one_step.train(results, "tried", None)]
    assert found == pytest.approx(logged(results), rel=ROUNDING)
    # Something was learned, or the comparison says little.
    assert len(found) == 7 and abs(found[-1] - found[0]) > 100 * ROUNDING


def test_it_prints_both_losses(tmp_path):
    results = trained(tmp_path, PRESETS["lora"])
    command = [sys.executable, FILE, results, "tried", "--steps", "2"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    head, *lines = done.stdout.splitlines()
    assert head.split() == ["step", "here", "workflow", "relative", "difference"]
    assert [line.split()[0] for line in lines] == ["1", "2"]
    for line, loss in zip(lines, logged(results), strict=False):
        _, here, workflow, off = line.split()
        assert float(workflow) == pytest.approx(loss, abs=1e-6)
        assert float(here) == pytest.approx(loss, rel=ROUNDING) and float(off) < ROUNDING


def test_it_is_short_and_plain():
    text = FILE.read_text()
    assert len(text.splitlines()) <= 200
    assert not [line for line in text.splitlines() if "import snaketune" in line]
    assert not [line for line in text.splitlines() if line.startswith("from snaketune")]


def test_rows_of_another_run_are_not_taken(one_step, tmp_path):
    results = trained(tmp_path, PRESETS["lora"])
    meta = results / "train" / "tried" / "train_meta.json"
    meta.write_text(json.dumps(json.loads(meta.read_text()) | {"train_sha256": "0"}))
    with pytest.raises(SystemExit, match=r"no tokens/\*/train.parquet"):
        one_step.read_run(results, "tried")
