"""Data-parallel training: two processes on the CPU."""

import json

import pandas as pd
import pytest
import tiny
import torch
from safetensors.torch import load_file
from test_training_run import PLAIN, published

from snaketune.config.model import ModelSpec
from snaketune.config.preset import Preset
from snaketune.errors import UserError
from snaketune.training.launch import launch, launch_processes
from snaketune.training.run import Plan


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("parallel")
    tiny.save_model(folder / "model", initializer_range=0.2)
    # 21 rows in batches of 4: the last batch of an epoch leaves one process without a row.
    tiny.write_rows(folder / "train.parquet", tiny.make_labelled(21))
    tiny.write_rows(folder / "dev.parquet", tiny.make_labelled(7))
    return folder


def job(files, folder, preset):
    plan = Plan(ModelSpec(id=str(files / "model")), Preset.model_validate(preset), 1, 2)
    rows = (files / "train.parquet", files / "dev.parquet")
    return plan, *rows, published(folder, 2), folder / "work", 2


def test_two_processes_learn_what_one_does(files, tmp_path):
    torch.set_num_threads(1)
    preset = PLAIN | {"best": "accuracy"}
    one, two = job(files, tmp_path / "one", preset), job(files, tmp_path / "two", preset)
    launch(*one)
    launch_processes(2, *two)
    logs = [pd.read_parquet(plan[3].log) for plan in (one, two)]
    exact = ["step", "epoch", "learning_rate", "tokens", "trained_tokens", "dev_accuracy"]
    assert 0 < logs[0]["dev_accuracy"].max() < 1
    pd.testing.assert_frame_equal(logs[0][exact], logs[1][exact])
    close = ["loss", "dev_loss", "grad_norm"]
    pd.testing.assert_frame_equal(logs[0][close], logs[1][close], rtol=1e-3)
    weights = [load_file(plan[3].weights) for plan in (one, two)]
    for name in weights[0]:
        torch.testing.assert_close(weights[0][name], weights[1][name], rtol=1e-2, atol=2e-4)
    meta = json.loads(two[3].meta.read_text())
    assert (meta["processes"], meta["effective_batch"]) == (2, 4)
    alone = json.loads(one[3].meta.read_text())
    assert [meta[k] for k in ("best_step", "best_value")] == [
        alone[k] for k in ("best_step", "best_value")
    ]
    assert not two[4].exists()


def test_a_fault_in_a_process_is_told_and_ends_the_training(files, tmp_path, capsys):
    preset = PLAIN | {"lora": {"targets": ["no_such_layer"]}}
    with pytest.raises(UserError, match="2 training processes ended with"):
        launch_processes(2, *job(files, tmp_path, preset))
    assert "error: preset: lora.targets: found ['no_such_layer']" in capsys.readouterr().err
