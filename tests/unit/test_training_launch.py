"""Data-parallel training: two processes on the CPU."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import psutil
import pytest
import tiny
import torch
from safetensors.torch import load_file
from test_training_run import PLAIN, assert_same_training, published

from snaketune.config.model import ModelSpec, Preset
from snaketune.runtime.errors import UserError
from snaketune.training import launch as launching
from snaketune.training import run
from snaketune.training.assemble import TrainingPlan
from snaketune.training.launch import launch_processes, launch_training
from snaketune.training.tracking import Tracking


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("parallel")
    tiny.save_model(folder / "model", initializer_range=0.2)
    # 21 rows in batches of 4: the last batch of an epoch leaves one process without a row.
    tiny.write_rows(folder / "train.parquet", tiny.make_labelled(21))
    tiny.write_rows(folder / "dev.parquet", tiny.make_labelled(7))
    return folder


def job(files, folder, preset):
    plan = TrainingPlan(ModelSpec(id=str(files / "model")), Preset.model_validate(preset), 1, 2)
    rows = (files / "train.parquet", files / "dev.parquet")
    return plan, *rows, published(folder, 2), folder / "work", 2


def test_two_processes_learn_what_one_does(files, tmp_path):
    torch.set_num_threads(1)
    preset = PLAIN | {"best": "accuracy"}
    one, two = job(files, tmp_path / "one", preset), job(files, tmp_path / "two", preset)
    launch_training(*one, gpus=1)
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
    assert list(two[4].glob("*/published")), "set aside"


def test_a_fault_in_a_process_is_told_and_ends_the_training(files, tmp_path, capsys):
    preset = PLAIN | {"lora": {"targets": ["no_such_layer"]}}
    with pytest.raises(UserError, match="2 training processes ended with"):
        launch_processes(2, *job(files, tmp_path, preset))
    assert "error: preset: lora.targets: found ['no_such_layer']" in capsys.readouterr().err


def test_a_fault_in_the_leading_process_ends_the_one_that_waits_for_it(files, tmp_path, capsys):
    """Its tracker cannot begin; the other one is in its first step by then."""
    plan = job(files, tmp_path, PLAIN)
    tmp_path.joinpath("tensorboard").touch()
    with pytest.raises(UserError, match="2 training processes ended with"):
        launch_processes(2, *plan, tracking=Tracking(["tensorboard"]))
    said = capsys.readouterr().err
    assert said.count("error: report_to: tensorboard could not begin") == 1
    assert "Traceback" not in said


TRAINS = """
import sys
from pathlib import Path
sys.path[:0] = {paths!r}
import test_training_launch as tests
tests.launch_processes(2, *tests.job(Path(sys.argv[1]), Path(sys.argv[2]), tests.CHOOSING))
"""
CHOOSING = PLAIN | {"best": "accuracy"}
"""With a checkpoint after every third of the 12 steps."""


def test_after_a_kill_no_process_trains_on_and_the_next_attempt_ends_as_if_there_was_none(
    files, tmp_path, capfd
):
    """SIGKILL of the job's own process, which has no time to end what it started."""
    whole, killed = (job(files, tmp_path / name, CHOOSING) for name in ("whole", "killed"))
    launch_processes(2, *whole)
    scripts = Path(__file__).parents[2] / "workflow" / "scripts"
    paths = [str(Path(__file__).parent), str(scripts)]
    command = [sys.executable, "-c", TRAINS.format(paths=paths), str(files), str(killed[4].parent)]
    child = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 180
    while not list(killed[4].glob("*/checkpoint.pt")):
        assert time.monotonic() < until and child.poll() is None
        time.sleep(0.001)
    below = psutil.Process(child.pid).children(recursive=True)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    assert len(below) >= 3, "expected the launcher and two processes"
    _, alive = psutil.wait_procs(below, timeout=10)
    assert not alive
    assert not killed[3].weights.exists()
    capfd.readouterr()
    launch_processes(2, *killed)
    assert "going on from step" in capfd.readouterr().err
    assert_same_training(killed[3], whole[3])
    assert list(killed[4].glob("*/published")), "set aside"


@pytest.mark.parametrize(("granted", "there", "used"), [(2, 4, 2), (4, 2, 2), (1, 4, 1), (0, 4, 1)])
def test_a_training_takes_the_gpus_that_it_was_granted(
    files, tmp_path, monkeypatch, granted, there, used
):
    taken = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: there)
    monkeypatch.setattr(launching, "launch_processes", lambda number, *_: taken.append(number))
    monkeypatch.setattr(run, "run_training", lambda *_, **__: taken.append(1))
    launch_training(*job(files, tmp_path, PLAIN), gpus=granted)
    assert taken == [used]


def test_warned_processes_have_time_to_save(files, tmp_path, monkeypatch):
    """torchrun's own limits are half a minute after a warning, and ten minutes of waiting."""
    from torch.distributed.run import get_args_parser

    commands = []

    def popen(command, **_):
        commands.append(command)
        raise KeyboardInterrupt

    monkeypatch.setattr(launching.subprocess, "Popen", popen)
    with pytest.raises(KeyboardInterrupt):
        launch_processes(2, *job(files, tmp_path, PLAIN))
    (command,) = commands
    options = get_args_parser().parse_args(command[3:])
    assert options.shutdown_timeout >= 600
    assert options.nproc_per_node == "2"
