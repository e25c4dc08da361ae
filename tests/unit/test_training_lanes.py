"""Lanes: the same step, computed side by side."""

import json

import pandas as pd
import pytest
import tiny
import torch
from safetensors.torch import load_file
from test_training_loss import gemma
from test_training_run import PLAIN, PRESET, published

from snaketune.config.model import ModelSpec, Preset
from snaketune.training.assemble import TrainingPlan
from snaketune.training.parallel import Lanes, count_lanes
from snaketune.training.run import run_training

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lanes")
    tiny.save_model(folder / "model")
    # 21 rows in batches of 4: the last batch of an epoch leaves all lanes but one without a row.
    tiny.write_rows(folder / "train.parquet", tiny.make_rows(21))
    tiny.write_rows(folder / "dev.parquet", tiny.make_rows(5, seed=1))
    return folder


def train(files, folder, preset, threads):
    plan = TrainingPlan(ModelSpec(id=str(files / "model")), Preset.model_validate(preset), 1)
    rows, out = (files / "train.parquet", files / "dev.parquet"), published(folder)
    before = torch.get_num_threads()
    run_training(plan, *rows, out, folder / "work", threads)
    assert torch.get_num_threads() == threads
    torch.set_num_threads(before)
    return out, json.loads(out.meta.read_text())["lanes"]


def test_two_lanes_learn_what_one_does_and_repeat_themselves(files, tmp_path):
    (one, lanes), (two, others), (again, _) = (
        train(files, tmp_path / name, PLAIN, threads)
        for name, threads in [("one", 1), ("two", 2), ("again", 2)]
    )
    assert (lanes, others) == (1, 2)
    assert two.weights.read_bytes() == again.weights.read_bytes()
    logs = [pd.read_parquet(out.log)[["loss", "dev_loss", "grad_norm"]] for out in (one, two)]
    pd.testing.assert_frame_equal(*logs, rtol=1e-3)
    expected, found = load_file(one.weights), load_file(two.weights)
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-2, atol=2e-4)


def test_dropout_keeps_to_one_lane(files, tmp_path):
    assert train(files, tmp_path, PRESET | {"max_steps": 1}, 2)[1] == 1


def test_lanes_are_few_and_only_where_they_are_exact():
    frozen = tiny.make_model().requires_grad_(False)
    assert count_lanes(frozen, 16, CPU, True) == 4
    assert count_lanes(frozen, 3, CPU, True) == 3
    assert count_lanes(frozen, 16, CPU, False) == 1
    assert count_lanes(frozen, 16, torch.device("cuda"), True) == 1
    assert count_lanes(tiny.make_model(), 16, CPU, True) == 1
    dropping = tiny.make_model(attention_dropout=0.1).requires_grad_(False)
    assert count_lanes(dropping, 16, CPU, True) == 1
    assert count_lanes(gemma().requires_grad_(False), 2, CPU, True) == 2


def test_a_fault_in_a_lane_comes_out():
    def work(lane):
        if lane == 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return torch.tensor(lane)

    lanes = Lanes(2, 2)
    with pytest.raises(torch.OutOfMemoryError):
        lanes.run(work)
    assert lanes.run(torch.tensor) == [torch.tensor(0), torch.tensor(1)]
