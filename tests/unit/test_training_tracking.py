"""Trackers: TensorBoard's own files, and stand-ins for the services; every point once."""

import json
import os
import re
import shutil
import sys
from pathlib import Path

import pytest
import tiny
import torch
from test_training_run import PRESET, Stopped, log_of, published, stop_after, train

from snaketune.config.model import ModelSpec, Preset
from snaketune.runtime.errors import UserError
from snaketune.training import loop, saving
from snaketune.training import step as one_step
from snaketune.training.assemble import TrainingPlan
from snaketune.training.launch import launch_training
from snaketune.training.run import run_training
from snaketune.training.tracking import Tracking, open_trackers

STAND_IN = """
import json, pathlib
file = pathlib.Path({file!r})
def write(**what):
    with file.open("a") as stream:
        stream.write(json.dumps(what) + "\\n")
class Run:
    def log(self, values, step):
        {log}
        write(step=step, values=values)
    def finish(self, exit_code=None):
        write(finished=exit_code)
def init(**settings):
    {init}
    write(settings=settings)
    return Run()
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tracking")
    tiny.save_model(folder / "model")
    tiny.write_rows(folder / "train.parquet", tiny.make_rows(22))
    tiny.write_rows(folder / "dev.parquet", tiny.make_labelled(6))
    return folder


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """Makes an importable `wandb` or `trackio`; returns a function that reads what it was told."""
    monkeypatch.syspath_prepend(str(tmp_path / "modules"))

    def make(name, log="pass", init="pass"):
        sys.modules.pop(name, None)
        folder, told = tmp_path / "modules", tmp_path / f"{name}.jsonl"
        folder.mkdir(exist_ok=True)
        (folder / f"{name}.py").write_text(STAND_IN.format(file=str(told), log=log, init=init))
        return lambda: [json.loads(line) for line in told.read_text().splitlines()]

    yield make
    for name in ("wandb", "trackio"):
        sys.modules.pop(name, None)


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def tracked(files, folder, *names, **options):
    tracking = Tracking(names, "project", "medium")
    return train(files, folder, PRESET, tracking=tracking, **options)


def expected_points(out):
    """(name, step) → value, from the training log."""
    points = {}
    for row in log_of(out).to_dict("records"):
        for name in ("loss", "learning_rate", "grad_norm", "dev_loss", "dev_accuracy"):
            if row[name] == row[name]:
                shown = f"dev/{name[4:]}" if name.startswith("dev") else f"train/{name}"
                points[shown, row["step"]] = row[name]
    return points


def told_points(told):
    """All points that a stand-in was told, with repeats."""
    return [
        ((name, entry["step"]), value)
        for entry in told
        if "step" in entry
        for name, value in entry["values"].items()
        if not name.endswith(("tokens_per_second", "epoch"))
    ]


def stopped_and_resumed(files, folder, monkeypatch, *names):
    """Killed after step 8, with the last checkpoint after step 5: steps 6 to 7 come twice."""
    real, saved = saving.save_checkpoint, []

    def until_5(folder, state, *rest):
        if state.step <= 5:
            saved.append(state.step)
            real(folder, state, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(saving, "save_checkpoint", until_5)
        stop_after(patch, 8)
        with pytest.raises(Stopped):
            tracked(files, folder, *names, save_every=0)
    assert saved[-1] == 5
    return tracked(files, folder, *names)


def test_tensorboard_has_every_point_once_after_a_resume(files, tmp_path, monkeypatch):
    pytest.importorskip("tensorboard", reason="envs/requirements-dev.txt is not installed")
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    out = stopped_and_resumed(files, tmp_path, monkeypatch, "tensorboard")
    found = [
        ((value.tag, event.step), value.tensor.float_val[0])
        for file in sorted((tmp_path / "tensorboard").iterdir())
        for event in EventFileLoader(str(file)).Load()
        for value in event.summary.value
        if not value.tag.endswith(("tokens_per_second", "epoch"))
    ]
    expected = expected_points(out)
    assert len(expected) == 12 * 3 + 4 * 2
    assert len(found) == len(expected)
    assert dict(found) == pytest.approx(expected, rel=1e-5, abs=1e-7)


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_a_service_is_told_every_point_once_after_a_resume(
    files, tmp_path, monkeypatch, stand_in, name
):
    told = stand_in(name)
    out = stopped_and_resumed(files, tmp_path, monkeypatch, name)
    points, expected = told_points(told()), expected_points(out)
    assert len(points) == len(expected) == 44
    assert dict(points) == expected
    first, second = (entry["settings"] for entry in told() if "settings" in entry)
    assert first == second, "a resumed training goes on with the run that it began"
    assert (first["project"], first["resume"]) == ("project", "allow")
    assert first["name"].startswith("medium")
    assert first["config"]["learning_rate"] == PRESET["learning_rate"]
    assert told()[-1] in ({"finished": 0}, {"finished": None})


def test_a_tracker_that_is_added_after_a_kill_gets_the_whole_curve(
    files, tmp_path, monkeypatch, stand_in
):
    told = stand_in("wandb")
    with monkeypatch.context() as patch:
        stop_after(patch, 8)
        with pytest.raises(Stopped):
            tracked(files, tmp_path, save_every=0)
    out = tracked(files, tmp_path, "wandb")
    assert dict(told_points(told())) == expected_points(out)


def test_another_training_is_another_run(files, tmp_path, stand_in):
    told = stand_in("wandb")
    tracked(files, tmp_path / "one", "wandb")
    tracked(files, tmp_path / "two", "wandb")
    keys = {entry["settings"]["id"] for entry in told() if "settings" in entry}
    assert len(keys) == 2


def test_trackers_change_no_result(files, tmp_path, stand_in):
    stand_in("wandb")
    plain, told = train(files, tmp_path / "plain"), tracked(files, tmp_path / "told", "wandb")
    assert plain.weights.read_bytes() == told.weights.read_bytes()
    assert plain.config.read_bytes() == told.config.read_bytes()


def test_a_tracker_may_come_or_go_amid_a_training(files, tmp_path, monkeypatch, stand_in):
    """It is no part of what the checkpoint is for."""
    stand_in("trackio")
    with monkeypatch.context() as patch:
        stop_after(patch, 8)
        with pytest.raises(Stopped):
            tracked(files, tmp_path, "trackio", save_every=0)
    steps, real = [], loop.take_step
    monkeypatch.setattr(loop, "take_step", lambda job, n: (steps.append(n), real(job, n))[1])
    train(files, tmp_path)
    assert steps[0] == 7


def test_a_missing_package_is_named_before_anything_begins(files, tmp_path, monkeypatch):
    monkeypatch.setattr("snaketune.training.tracking.find_spec", lambda name: None)
    plan = TrainingPlan(ModelSpec(id="no/such-model"), Preset.model_validate(PRESET), 1)
    with pytest.raises(UserError, match=r"found wandb, trackio, which is not.*pip instal"):
        launch_training(
            plan,
            files / "train.parquet",
            files / "dev.parquet",
            published(tmp_path),
            tmp_path / "work",
            1,
            1,
            Tracking(["wandb", "trackio"]),
        )
    assert not any(tmp_path.iterdir())


def test_a_service_that_cannot_begin_is_said_without_its_key(
    files, tmp_path, monkeypatch, capsys, stand_in
):
    monkeypatch.setenv("WANDB_API_KEY", "s3cr3t-key-of-the-user")
    stand_in("wandb", init='raise ValueError("bad key s3cr3t-key-of-the-user")')
    with pytest.raises(UserError, match=r"wandb could not begin \(ValueError: bad key \*\*\*\)"):
        tracked(files, tmp_path, "wandb")
    printed = capsys.readouterr()
    assert "s3cr3t" not in printed.out + printed.err


def test_a_service_that_fails_on_the_way_is_left_and_said_so(
    files, tmp_path, monkeypatch, capsys, stand_in
):
    monkeypatch.setenv("HF_TOKEN", "hf_verysecret")
    stand_in("trackio", log='if step == 3: raise OSError("no route with hf_verysecret")')
    out = tracked(files, tmp_path, "trackio")
    assert len(log_of(out)["loss"].dropna()) == 12
    printed = capsys.readouterr().err
    assert "trackio: OSError: no route with ***; going on without it" in printed
    assert "hf_verysecret" not in printed


def test_a_failed_training_is_told_as_failed(files, tmp_path, monkeypatch, stand_in):
    told = stand_in("wandb")
    monkeypatch.setattr(one_step, "_update", lambda job, rate: 1.0)
    with pytest.raises(UserError, match="have not moved"):
        tracked(files, tmp_path, "wandb")
    assert told()[-1] == {"finished": 1}


def test_no_token_is_in_what_a_tracker_is_told_or_in_the_work_folder(
    files, tmp_path, monkeypatch, stand_in
):
    monkeypatch.setenv("WANDB_API_KEY", "s3cr3t-key-of-the-user")
    told = stand_in("wandb")
    with monkeypatch.context() as patch:
        stop_after(patch, 8)
        with pytest.raises(Stopped):
            tracked(files, tmp_path, "wandb", save_every=0)
    kept = [file for file in Path(tmp_path).rglob("*.json") if file.is_file()]
    assert any(file.name == "tracked.json" for file in kept)
    assert "s3cr3t" not in json.dumps(told()) + "".join(file.read_text() for file in kept)


HOSTILE = "=1+1\x1b]0;x\x07\u202e<script>alert(1)</script>"


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_nothing_of_rows_or_places_leaves_the_machine(files, tmp_path, monkeypatch, stand_in, name):
    """Numbers under fixed names and the preset, whatever the data says and wherever it lies."""
    told = stand_in(name)
    for variable in ("WANDB_DISABLE_GIT", "WANDB_DISABLE_CODE", "WANDB_CONSOLE"):
        monkeypatch.delenv(variable, raising=False)
    folder = tmp_path / "of a patient" / HOSTILE.replace("/", "")
    folder.mkdir(parents=True)
    for file in files.iterdir():
        place = folder / file.name
        shutil.copytree(file, place) if file.is_dir() else shutil.copy(file, place)
    (folder / "model").rename(folder / HOSTILE.replace("/", ""))
    real = loop.take_step
    hostile = {"text": HOSTILE, HOSTILE: 1.0, "dev_losses": json.dumps({HOSTILE: 1.0})}
    monkeypatch.setattr(loop, "take_step", lambda *a: real(*a) | hostile)
    model = ModelSpec(id=str(folder / HOSTILE.replace("/", "")))
    out = published(tmp_path / "out")
    plan = TrainingPlan(model, Preset.model_validate(PRESET), 1)
    tracking = Tracking([name], "project", "medium")
    run_training(plan, folder / "train.parquet", folder / "dev.parquet", out, tmp_path / "work",
                 1, tracking=tracking)  # fmt: skip
    (settings,) = (entry["settings"] for entry in told() if "settings" in entry)
    sent = {key for entry in told() if "step" in entry for key in entry["values"]}
    assert len(sent) == 7 and all(re.fullmatch(r"(train|dev)/[a-z_]+", key) for key in sent)
    numbers = [v for entry in told() if "step" in entry for v in entry["values"].values()]
    assert numbers and all(isinstance(number, int | float) for number in numbers)
    words = json.dumps({k: v for k, v in settings.items() if k != "dir"}, ensure_ascii=False)
    assert "of a patient" not in words and "⟨U+001B⟩" in words
    assert not re.search(r"\\u00|[\x00-\x1f\x7f-\x9f\u202e]", words)
    if name == "wandb":
        assert os.environ["WANDB_DISABLE_GIT"] == os.environ["WANDB_DISABLE_CODE"] == "true"


def test_tensorboard_has_numbers_under_fixed_names_alone(tmp_path):
    pytest.importorskip("tensorboard", reason="envs/requirements-dev.txt is not installed")
    row = {"step": 1, "loss": 0.5, "text": HOSTILE, HOSTILE: 1.0}
    tracking = Tracking(["tensorboard"], "project", "medium")
    with open_trackers(tracking, {"model": HOSTILE}, tmp_path, tmp_path / "work", []) as trackers:
        trackers.log(row)
    written = b"".join(file.read_bytes() for file in (tmp_path / "tensorboard").iterdir())
    assert b"train/loss" in written and b"script" not in written and b"\x1b]0" not in written
