"""16-bit computation, float16's loss scaler, and gradients that are held no longer than used."""

import json
import sys
from pathlib import Path

import pytest
import tiny
import torch
from test_training_run import PLAIN, Stopped, log_of, stop_after, train, weights_of

sys.path.insert(0, str(Path(__file__).parents[1] / "families"))

from families import save_model

from snaketune.runtime.errors import UserError
from snaketune.training import loop, saving
from snaketune.training import step as one_step

FULL = {"method": "full", "batch_size": 4, "epochs": 2, "learning_rate": 1e-3}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("precision")
    tiny.save_model(folder / "model")
    tiny.write_rows(folder / "train.parquet", tiny.make_rows(22))
    tiny.write_rows(folder / "dev.parquet", tiny.make_rows(6, seed=1))
    return folder


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def meta_of(out):
    return json.loads(out.meta.read_text())


def spoil(monkeypatch, steps, value, names="lora_B"):
    """Gives the gradients of `names` the value, in the steps (counted from 0), before unscaling."""
    real = one_step._gradients

    def gradients(job, step, rows, trained):
        found = real(job, step, rows, trained)
        for name, parameter in job.model.named_parameters():
            if parameter.requires_grad and names in name and step in steps:
                parameter.grad.fill_(value)
        return found

    monkeypatch.setattr(one_step, "_gradients", gradients)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("preset", [FULL, PLAIN], ids=["full", "lora"])
def test_16_bits_learn_what_32_do(files, tmp_path, preset, dtype):
    expected = log_of(train(files, tmp_path / "float32", preset))
    out = train(files, tmp_path / dtype, preset | {"dtype": dtype})
    assert meta_of(out)["dtype"] == dtype
    assert meta_of(out)["steps_left_out"] == 0
    assert list(log_of(out)["loss"].dropna()) == pytest.approx(
        list(expected["loss"].dropna()), rel=5e-3
    )
    # A whole model is published in the computation's dtype, an adapter in float32.
    published = getattr(torch, dtype) if preset is FULL else torch.float32
    assert {weight.dtype for weight in weights_of(out).values()} == {published}


def test_whole_weights_are_held_in_32_bits_where_small_updates_last(files, tmp_path):
    """A rate so small that no weight of 16 bits would move by a step."""
    preset = FULL | {"dtype": "bfloat16", "learning_rate": 1e-5, "schedule": "constant"}
    out = train(files, tmp_path, preset | {"epochs": 40, "batch_size": 22, "eval_per_epoch": 0})
    losses = log_of(out)["loss"].dropna()
    assert losses.iloc[-1] < losses.iloc[0] - 0.01


def test_gradients_that_overflow_leave_a_step_out_and_halve_the_scale(
    files, tmp_path, monkeypatch, capsys
):
    spoil(monkeypatch, {0, 1, 4}, float("inf"))
    scales = []
    real = saving._write

    def write(folder, content):
        real(folder, content)
        scales.append(content["state"]["scaler"]["scale"])

    monkeypatch.setattr(saving, "_write", write)
    out = train(files, tmp_path, PLAIN | {"dtype": "float16"}, save_every=0)
    assert meta_of(out)["steps_left_out"] == 3
    assert [scale / 2**16 for scale in scales[:6]] == [0.5, 0.25, 0.25, 0.25, 0.125, 0.125]
    said = capsys.readouterr().err
    assert [f"step {n}: gradients overflow float16" in said for n in (1, 2, 3, 5)] == [
        True, True, False, True,
    ]  # fmt: skip


@pytest.mark.parametrize(("steps", "last"), [(40, 17), (5, 5)])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_gradients_that_are_never_numbers_end_the_training(
    files, tmp_path, monkeypatch, steps, last, value
):
    """When no scale helps, or when it would end with nothing learned."""
    spoil(monkeypatch, range(steps), value)
    preset = PLAIN | {"dtype": "float16", "epochs": 20, "max_steps": steps}
    with pytest.raises(UserError, match=rf"step {last}: loss .*steps left out: {last}.*row-\d"):
        train(files, tmp_path, preset)
    assert not (tmp_path / "final").exists()


def test_steps_left_out_are_counted_over_a_stop(files, tmp_path, monkeypatch):
    spoil(monkeypatch, {0, 1, 4}, float("inf"))
    preset = PLAIN | {"dtype": "float16"}
    whole = train(files, tmp_path / "whole", preset)
    with monkeypatch.context() as patch:
        stop_after(patch, 2)
        with pytest.raises(Stopped):
            train(files, tmp_path / "resumed", preset, save_every=0)
    resumed = train(files, tmp_path / "resumed", preset)
    assert resumed.weights.read_bytes() == whole.weights.read_bytes()
    assert meta_of(resumed)["steps_left_out"] == 3


@pytest.mark.parametrize(("dtype", "step"), [("float32", 1), ("float16", 2)])
def test_a_layer_that_did_not_move_is_named_after_the_first_step_taken(
    files, tmp_path, monkeypatch, dtype, step
):
    """In float16 the first step is left out here: nothing has moved then, which is no fault."""
    if dtype == "float16":
        spoil(monkeypatch, {0}, float("inf"))
    spoil(monkeypatch, range(12), 0.0, "layers.1.mlp.up_proj.lora_B")
    message = r"1 adapter weights have not moved, first .*layers\.1\.mlp\.up_proj\.lora_B"
    with pytest.raises(UserError, match=message):
        train(files, tmp_path, PLAIN | {"dtype": dtype, "eval_per_epoch": 0}, save_every=0)
    kept = list(tmp_path.glob("work/*/checkpoint.pt"))
    assert [torch.load(f)["state"]["step"] for f in kept] == [1] * (step - 1)


def test_one_lane_holds_one_set_of_gradients_and_none_between_steps(files, tmp_path, monkeypatch):
    def apart(*_, **__):
        raise AssertionError("a second set of gradients")

    held = []
    real = loop.take_step

    def take(job, step):
        row = real(job, step)
        held.extend(p.grad for p in job.parameters)
        return row

    monkeypatch.setattr(loop, "take_step", take)
    monkeypatch.setattr(torch.autograd, "grad", apart)
    train(files, tmp_path, PLAIN)
    assert held and not any(gradient is not None for gradient in held)


@pytest.mark.parametrize("family", ["Mamba", "Falcon-H1"])
def test_state_space_layers_learn_in_16_bits(family, tmp_path):
    """Some of their layers' weights are read without a call, beside float32 adapters."""
    save_model(family, tmp_path / "model")
    tiny.write_rows(tmp_path / "train.parquet", tiny.make_rows(8))
    tiny.write_rows(tmp_path / "dev.parquet", [])
    asked = {"method": "lora", "batch_size": 4, "epochs": 2, "learning_rate": 5e-3}
    expected, found = (
        log_of(train(tmp_path, tmp_path / dtype, asked | {"dtype": dtype}))["loss"].dropna()
        for dtype in ("float32", "bfloat16")
    )
    assert list(found) == pytest.approx(list(expected), rel=2e-2)
