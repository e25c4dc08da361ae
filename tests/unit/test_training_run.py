"""Whole trainings of a tiny model: exact, repeatable, resumable, and clear about faults."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import tiny
import torch
from safetensors.torch import load_file
from transformers.models.qwen2.modeling_qwen2 import Qwen2MLP

from snaketune.config.model import ModelSpec, Preset
from snaketune.runtime.errors import UserError
from snaketune.runtime.workfolder import remove_set_aside
from snaketune.training import assemble, loop, saving
from snaketune.training import step as one_step
from snaketune.training.assemble import TrainingPlan, snapshot_steps
from snaketune.training.batches import TokenRow
from snaketune.training.run import TrainingOutputs, run_training

TIMES = ["seconds", "tokens_per_second"]
PRESET = {
    "method": "lora",
    "batch_size": 4,
    "epochs": 2,
    "learning_rate": 5e-3,
    "lora": {"r": 4, "dropout": 0.1},
    "eval_per_epoch": 2,
}
PLAIN = PRESET | {"lora": {"r": 4}}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("training")
    tiny.save_model(folder / "model")
    tiny.write_rows(folder / "train.parquet", tiny.make_rows(22))
    tiny.write_rows(folder / "dev.parquet", tiny.make_rows(6, seed=1))
    tiny.write_rows(folder / "none.parquet", [])
    return folder


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def published(folder, snapshots=0, full=False, keeps=False):
    weights, config = saving.MODEL_FILES if full else saving.ADAPTER_FILES
    parts = [folder / "snapshots" / f"{k}of{snapshots}" for k in range(1, snapshots + 1)]
    return TrainingOutputs(
        folder / "final" / weights,
        folder / "final" / config,
        [part / weights for part in parts],
        [part / config for part in parts],
        [folder / "kept"] if keeps else [],
        folder / "log.parquet",
        folder / "meta.json",
    )


def train(files, folder, preset=PRESET, rows="train.parquet", snapshots=0, **options):
    plan = TrainingPlan(
        ModelSpec(id=str(files / "model")), Preset.model_validate(preset), 1, snapshots
    )
    out = published(folder, snapshots, preset["method"] == "full", "keep" in preset)
    dev = options.pop("dev", "dev.parquet")
    run_training(plan, files / rows, files / dev, out, folder / "work", 1, **options)
    return out


def log_of(out):
    return pd.read_parquet(out.log).drop(columns=TIMES)


def weights_of(out):
    return load_file(out.weights)


def assert_same_training(one, other):
    for a, b in zip(
        [one.weights, *one.snapshot_weights], [other.weights, *other.snapshot_weights], strict=True
    ):
        assert a.read_bytes() == b.read_bytes()
    pd.testing.assert_frame_equal(log_of(one), log_of(other), check_exact=True)


def assert_close_training(one, other, **tolerance):
    found, expected = weights_of(one), weights_of(other)
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], **tolerance)


@pytest.fixture(scope="module")
def whole(files, tmp_path_factory):
    """An uninterrupted training with snapshots."""
    torch.set_num_threads(1)
    return train(files, tmp_path_factory.mktemp("whole"), snapshots=3)


def test_two_trainings_of_one_seed_are_the_same_byte_for_byte(files, tmp_path, whole):
    other = train(files, tmp_path, snapshots=3)
    assert_same_training(whole, other)


def test_a_training_whose_success_was_not_noted_is_published_again(files, tmp_path, capsys, whole):
    """Snakemake takes the outputs away before the next attempt."""
    out = train(files, tmp_path, snapshots=3)
    for file in (out.weights, out.config, out.log, out.meta, *out.snapshot_weights):
        file.unlink()
    again = train(files, tmp_path, snapshots=3)
    assert "going on from step 12" in capsys.readouterr().out
    assert_same_training(whole, again)
    remove_set_aside(tmp_path)
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize("method", ["lora", "qlora", "full"])
@pytest.mark.parametrize("optimizer", ["adamw", "adamw_8bit", "paged_adamw_8bit"])
def test_every_method_and_optimiser_learns(files, tmp_path, monkeypatch, method, optimizer):
    """Of rank 64 every A and B has 4096 numbers at least: so many are held in 8 bits."""
    held, real = set(), one_step._update

    def noted(job, rate):
        norm = real(job, rate)
        pairs = [(p, s) for p, s in job.optimizer.state.items() if p.numel() >= 4096]
        held.update(s.get("state1", s.get("exp_avg")).dtype for _, s in pairs)
        return norm

    monkeypatch.setattr(one_step, "_update", noted)
    preset = {k: v for k, v in PRESET.items() if k != "lora"}
    preset |= {"lora": {"r": 64}} if method != "full" else {}
    preset |= {"method": method, "optimizer": optimizer, "epochs": 4, "schedule": "constant"}
    log = log_of(train(files, tmp_path, preset))
    losses = log["loss"].dropna()
    assert losses.iloc[-3:].mean() < losses.iloc[:3].mean() - 0.05
    assert held == {torch.float32 if optimizer == "adamw" else torch.uint8}


def test_log_and_meta_say_what_was_done(files, tmp_path):
    out = train(files, tmp_path, snapshots=2)
    log, meta = pd.read_parquet(out.log), json.loads(out.meta.read_text())
    steps = log[log["loss"].notna()]
    assert list(steps["step"]) == list(range(1, 13))
    assert list(log[log["dev_loss"].notna()]["step"]) == [3, 6, 9, 12]
    rows = tiny.make_rows(22)
    assert steps["tokens"].sum() == 2 * sum(len(row.input_ids) for row in rows) == meta["tokens"]
    assert meta["trained_tokens"] == 2 * sum(row.trained_tokens for row in rows)
    assert meta["steps"] == 12 and meta["effective_batch"] == 4 and meta["epochs"] == 2
    assert meta["parameters_trained"] == sum(w.numel() for w in weights_of(out).values())
    assert meta["peak_memory_bytes"] > 10**7
    assert meta["versions"].keys() == {"torch", "transformers", "peft", "bitsandbytes"}
    assert list(steps["learning_rate"]) == sorted(steps["learning_rate"], reverse=True)


def test_the_adapter_is_pefts_own_and_loads_there(files, tmp_path):
    from peft import PeftModel

    out = train(files, tmp_path)
    model = PeftModel.from_pretrained(tiny.make_model(), str(out.weights.parent))
    loaded = model.get_submodule("base_model.model.model.layers.0.mlp.up_proj")
    assert loaded.lora_B["default"].weight.any()
    assert json.loads(out.config.read_text())["base_model_name_or_path"] == str(files / "model")


def test_a_whole_model_is_saved_in_one_file_that_loads(files, tmp_path):
    preset = {"method": "full", "batch_size": 8, "max_steps": 2}
    out = train(files, tmp_path, preset, snapshots=1)
    model = type(tiny.make_model()).from_pretrained(out.weights.parent)
    assert not torch.equal(model.lm_head.weight, tiny.make_model().lm_head.weight)


def test_micro_batches_change_nothing_but_rounding(files, tmp_path, monkeypatch):
    """A window of 8 rows in one batch, in many, packed, row by row, and as 8 accumulated rows;
    the last window of an epoch (22 rows) is a partial one."""
    one = train(files, tmp_path / "one", PLAIN | {"batch_size": 8})
    accumulated = train(files, tmp_path / "acc", PLAIN | {"batch_size": 1, "accumulation": 8})
    assert_same_training(one, accumulated)
    packs = train(files, tmp_path / "packed", PLAIN | {"batch_size": 8, "batching": "packed"})
    assert json.loads(packs.meta.read_text())["batching"] == "packed"
    assert json.loads(one.meta.read_text())["batching"] == "grouped"
    assert_close_training(packs, one, rtol=1e-3, atol=2e-5)
    monkeypatch.setattr(assemble, "token_budget", lambda *_: 1)
    single = train(files, tmp_path / "single", PLAIN | {"batch_size": 8})
    assert json.loads(single.meta.read_text())["micro_batch_tokens"] == 1
    assert_close_training(single, one, rtol=1e-3, atol=2e-5)


def test_loss_and_step_equal_a_plain_loop_over_the_same_rows(files, tmp_path):
    """The reference: logits of one row at a time, one division by the window's tokens, AdamW."""
    from test_training_loss import plain_loss

    preset = {"method": "full", "batch_size": 8, "epochs": 1, "schedule": "constant"}
    preset |= {"learning_rate": 1e-3, "max_grad_norm": 1e9}
    out = train(files, tmp_path, preset)
    model, rows = tiny.make_model(), tiny.make_rows(22)
    order = assemble.Order(22, 8, 1, 1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0)
    losses = []
    for step in range(3):
        window = [rows[i] for i in order.window(step)]
        loss = sum(plain_loss(model, r) for r in window) / sum(r.trained_tokens for r in window)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert list(log_of(out)["loss"].dropna()) == pytest.approx(losses, rel=1e-5)
    for name, weight in weights_of(out).items():
        torch.testing.assert_close(weight, model.state_dict()[name], rtol=1e-3, atol=5e-5)


def test_an_adapter_learns_what_peft_and_a_plain_loop_learn(files, tmp_path):
    """The reference for what the layers hold between steps: PEFT's own layers, plain AdamW."""
    from peft import LoraConfig, get_peft_model
    from test_training_loss import plain_loss

    preset = PLAIN | {"batch_size": 8, "schedule": "constant", "max_grad_norm": 1e9}
    out = train(files, tmp_path, preset)
    config = LoraConfig(task_type="CAUSAL_LM", r=4, lora_alpha=32, target_modules="all-linear")
    base = type(tiny.make_model()).from_pretrained(files / "model")
    torch.manual_seed(1)
    model, rows = get_peft_model(base, config), tiny.make_rows(22)
    order, losses = assemble.Order(22, 8, 2, 1), []
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=5e-3, weight_decay=0)
    for step in range(6):
        window = [rows[i] for i in order.window(step)]
        loss = sum(plain_loss(model, r) for r in window) / sum(r.trained_tokens for r in window)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert list(log_of(out)["loss"].dropna()) == pytest.approx(losses, rel=1e-4)


def test_the_dev_loss_does_not_depend_on_the_batches(files, tmp_path, monkeypatch):
    preset = PLAIN | {"max_steps": 1}
    one = log_of(train(files, tmp_path / "one", preset))["dev_loss"].dropna()
    monkeypatch.setattr(assemble, "token_budget", lambda *_: 1)
    other = log_of(train(files, tmp_path / "other", preset))["dev_loss"].dropna()
    assert len(one) == 1
    assert list(one) == pytest.approx(list(other), rel=1e-5)


def test_no_dev_rows_and_evaluation_off_take_no_dev_loss(files, tmp_path):
    assert log_of(train(files, tmp_path / "a", dev="none.parquet"))["dev_loss"].isna().all()
    off = PRESET | {"eval_per_epoch": 0}
    assert log_of(train(files, tmp_path / "b", off))["dev_loss"].isna().all()


def count_layer_calls(monkeypatch):
    """Calls of decoder layers so far, those that recompute activations included, as a list. (A
    layer's MLP is counted: transformers looks for its own `forward` at the layer itself.)"""
    calls, real = [], Qwen2MLP.forward
    monkeypatch.setattr(Qwen2MLP, "forward", lambda *a, **k: (calls.append(1), real(*a, **k))[1])
    return calls


def test_gradient_checkpointing_recomputes_and_gives_the_same_adapter(files, tmp_path, monkeypatch):
    calls = count_layer_calls(monkeypatch)
    preset = PRESET | {"eval_per_epoch": 0}
    plain = train(files, tmp_path / "plain", preset)
    once = len(calls)
    calls.clear()
    other = train(files, tmp_path / "other", preset | {"gradient_checkpointing": True})
    # Probing the model, with two calls of its two layers, takes no gradient.
    assert len(calls) - 4 == 2 * (once - 4)
    assert not json.loads(plain.meta.read_text())["gradient_checkpointing"]
    assert json.loads(other.meta.read_text())["gradient_checkpointing"]
    assert_close_training(other, plain, rtol=1e-3, atol=1e-5)


def test_where_single_rows_are_too_much_activations_are_recomputed(files, tmp_path, monkeypatch):
    """A device without room for a row's activations, but for a row that keeps none."""
    real = assemble.SummedLoss.__call__

    def small_device(self, batch):
        keeps = torch.is_grad_enabled() and not self.model.is_gradient_checkpointing
        if keeps and batch.input_ids.numel() > 15:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GB")
        return real(self, batch)

    preset = PLAIN | {"eval_per_epoch": 0}
    expected = train(files, tmp_path / "roomy", preset)
    monkeypatch.setattr(assemble.SummedLoss, "__call__", small_device)
    out = train(files, tmp_path / "tight", preset)
    meta = json.loads(out.meta.read_text())
    assert meta["gradient_checkpointing"] and meta["steps"] == 12
    assert_close_training(out, expected, rtol=1e-3, atol=2e-5)
    with pytest.raises(UserError, match="lower the preset's max_length"):
        train(files, tmp_path / "off", preset | {"gradient_checkpointing": False})


def test_snapshots_lie_at_equal_distances_and_the_last_is_the_end(whole):
    assert snapshot_steps(12, 3) == {4: ["1of3"], 8: ["2of3"], 12: ["3of3"]}
    assert snapshot_steps(2, 3) == {1: ["1of3"], 2: ["2of3", "3of3"]}
    contents = [path.read_bytes() for path in whole.snapshot_weights]
    assert len(set(contents)) == 3
    assert contents[-1] == whole.weights.read_bytes()


class Stopped(BaseException):
    """Stands for whatever ends a process."""


def stop_after(monkeypatch, step):
    """Ends the next training after `step` steps, with a checkpoint of one step less."""
    real = loop.take_step

    def take(job, number):
        row = real(job, number)
        if number + 1 == step:
            raise Stopped
        return row

    monkeypatch.setattr(loop, "take_step", take)


@pytest.mark.parametrize("step", [1, 5, 8, 12])
def test_a_training_that_was_stopped_goes_on_as_if_nothing_had_happened(
    files, tmp_path, monkeypatch, whole, step
):
    with monkeypatch.context() as patch:
        stop_after(patch, step)
        with pytest.raises(Stopped):
            train(files, tmp_path / "resumed", snapshots=3, save_every=0)
    steps = count_steps(monkeypatch)
    resumed = train(files, tmp_path / "resumed", snapshots=3)
    assert len(steps) == 12 - (step - 1)
    assert_same_training(resumed, whole)


def count_steps(monkeypatch):
    real, steps = loop.take_step, []
    monkeypatch.setattr(loop, "take_step", lambda job, n: (steps.append(n), real(job, n))[1])
    return steps


@pytest.mark.parametrize("optimizer", ["adamw_8bit", "paged_adamw_8bit"])
def test_optimisers_in_8_bits_are_resumed_exactly(files, tmp_path, monkeypatch, optimizer):
    preset = PRESET | {"optimizer": optimizer, "lora": {"r": 64}, "epochs": 1}
    whole = train(files, tmp_path / "whole", preset)
    with monkeypatch.context() as patch:
        stop_after(patch, 4)
        with pytest.raises(Stopped):
            train(files, tmp_path / "resumed", preset, save_every=0)
    assert_same_training(train(files, tmp_path / "resumed", preset), whole)


def test_a_checkpoint_of_other_settings_is_not_picked_up(files, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        stop_after(patch, 5)
        with pytest.raises(Stopped):
            train(files, tmp_path, save_every=0)
    steps = count_steps(monkeypatch)
    train(files, tmp_path, PRESET | {"learning_rate": 1e-3})
    assert steps[0] == 0


KILLED = """
import sys
from pathlib import Path
sys.path[:0] = {paths!r}
import test_training_run as tests
files, folder = Path(sys.argv[1]), Path(sys.argv[2])
tests.torch.set_num_threads(1)
real = tests.loop.take_step
def slow(*arguments):
    tests.time.sleep(0.1)
    return real(*arguments)
tests.loop.take_step = slow
tests.train(files, folder, tests.BEST, snapshots=3, save_every=0)
"""
BEST = PRESET | {"best": "loss", "keep": 2}


@pytest.mark.parametrize(
    "place", ["checkpoint.pt", "snapshots/1of3", "candidates/9", "candidates/12"]
)
def test_sigkill_and_the_same_command_give_the_same_files(files, tmp_path, capsys, place):
    """Killed as soon as there is a file or folder of the name: after the first step, between the
    weights of a step and its checkpoint, and at the end."""
    whole = train(files, tmp_path / "whole", BEST, snapshots=3)
    folder = tmp_path / "killed"
    root = Path(__file__).parents[2]
    paths = [str(Path(__file__).parent), str(root / "workflow" / "scripts")]
    command = [sys.executable, "-c", KILLED.format(paths=paths), str(files), str(folder)]
    child = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 120
    while not list(folder.glob(f"work/*/{place}")) and time.monotonic() < until:
        time.sleep(0.0005)
    os.kill(child.pid, signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    kept = torch.load(next(folder.glob("work/*/checkpoint.pt")))["state"]["step"]
    assert not (folder / "log.parquet").exists()
    capsys.readouterr()
    assert_same_training(train(files, folder, BEST, snapshots=3), whole)
    assert f"going on from step {kept}" in capsys.readouterr().out


@pytest.mark.parametrize("scoring", [False, True], ids=["in a step", "scoring dev"])
def test_memory_that_runs_out_halves_the_micro_batches_and_changes_nothing_else(
    scoring, files, tmp_path, monkeypatch
):
    real = assemble.SummedLoss.__call__

    def small_device(self, batch):
        if torch.is_grad_enabled() is not scoring and batch.input_ids.numel() > 80:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GB")
        return real(self, batch)

    expected = train(files, tmp_path / "roomy", PLAIN)
    monkeypatch.setattr(assemble, "token_budget", lambda *_: 512)
    monkeypatch.setattr(assemble.SummedLoss, "__call__", small_device)
    out = train(files, tmp_path / "tight", PLAIN)
    assert json.loads(out.meta.read_text())["micro_batch_tokens"] == 64
    assert_close_training(out, expected, rtol=1e-3, atol=2e-5)


TIGHT = """
import resource, sys
from pathlib import Path
sys.path[:0] = {paths!r}
import test_training_run as tests
from snaketune.training import assemble, run
prepare = run.prepare
def limited(*arguments):
    made = prepare(*arguments)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + 10**7
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    return made
run.prepare, assemble.token_budget = limited, lambda *_: 1 << 15
tests.torch.set_num_threads(1)
tests.train(Path(sys.argv[1]), Path(sys.argv[2]), {preset!r})
"""


def test_a_process_without_memory_left_takes_the_same_steps_in_smaller_parts(tmp_path):
    """The allocator fails for real: once the model is there, 10 MB are left to the process."""
    shape = {"hidden_size": 256, "intermediate_size": 512}
    tiny.save_model(tmp_path / "model", **shape)
    tiny.write_rows(tmp_path / "train.parquet", tiny.make_rows(64, longest=200))
    tiny.write_rows(tmp_path / "dev.parquet", tiny.make_rows(6, seed=1))
    preset = PLAIN | {"batch_size": 32, "epochs": 1}
    roomy = train(tmp_path, tmp_path / "roomy", preset)
    root = Path(__file__).parents[2]
    paths = [str(Path(__file__).parent), str(root / "workflow" / "scripts")]
    command = [sys.executable, "-c", TIGHT.format(paths=paths, preset=preset)]
    done = subprocess.run(
        [*command, str(tmp_path), str(tmp_path / "tight")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "out of memory: going on with micro-batches of" in done.stdout
    tight = published(tmp_path / "tight")
    metas = [json.loads(out.meta.read_text()) for out in (roomy, tight)]
    assert metas[1]["micro_batch_tokens"] < 1 << 15
    assert metas[0]["effective_batch"] == metas[1]["effective_batch"] == 32
    assert metas[0]["steps"] == metas[1]["steps"] == 2
    assert_close_training(tight, roomy, rtol=1e-3, atol=2e-5)


def test_a_row_that_fits_no_device_is_said_to(files, tmp_path, monkeypatch):
    def no_room(self, batch):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GB")

    monkeypatch.setattr(assemble.SummedLoss, "__call__", no_room)
    with pytest.raises(UserError, match="lower the preset's max_length"):
        train(files, tmp_path)


def test_a_loss_that_is_not_finite_stops_with_step_and_rows(files, tmp_path, monkeypatch):
    real = assemble.SummedLoss.__call__
    bad = tiny.make_rows(22)[7]

    def poisoned(self, batch):
        hit = any(
            (batch.input_ids[i, : bad.inputs].numpy() == bad.input_ids[: bad.inputs]).all()
            for i in range(len(batch.input_ids))
            if batch.input_ids.shape[1] >= bad.inputs
        )
        return real(self, batch) * (float("nan") if hit else 1)

    monkeypatch.setattr(assemble.SummedLoss, "__call__", poisoned)
    with pytest.raises(UserError, match=r"step \d+: loss nan.*row-7") as caught:
        train(files, tmp_path, PRESET | {"eval_per_epoch": 0}, save_every=0)
    kept = torch.load(next(tmp_path.glob("work/*/checkpoint.pt")), weights_only=True)
    step = int(str(caught.value).split()[1].rstrip(":"))
    assert kept["state"]["step"] == step - 1
    assert all(torch.isfinite(weight).all() for weight in kept["weights"].values())


def test_layers_that_take_no_part_are_named_after_the_first_step(files, tmp_path, monkeypatch):
    monkeypatch.setattr(one_step, "_update", lambda job, rate: 1.0)
    with pytest.raises(UserError, match=r"14 adapter weights have not moved, first .*lora_B"):
        train(files, tmp_path)


def test_a_full_disk_is_said_and_the_last_checkpoint_kept(files, tmp_path, monkeypatch):
    import resource

    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        stop_after(patch, 3)
        with pytest.raises(Stopped):
            train(files, folder, save_every=0)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(UserError, match="could not be written"):
            train(files, folder, save_every=0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert torch.load(next(folder.glob("work/*/checkpoint.pt")))["state"]["step"] == 2
    train(files, folder)


def test_no_rows_are_refused(files, tmp_path):
    with pytest.raises(UserError, match="no training rows"):
        train(files, tmp_path, rows="none.parquet")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda row: row.labels.fill(-100), "row row-3: found no token that carries loss"),
        (lambda row: row.labels[1:].fill(-100), "row row-3: found no token that carries loss"),
        (lambda row: row.input_ids[1:2].fill(tiny.VOCABULARY), "row row-3: found token 97, but"),
    ],
)
@pytest.mark.parametrize("split", ["train", "dev"])
def test_rows_that_teach_nothing_or_are_of_another_tokenizer_are_named(
    files, tmp_path, change, message, split
):
    rows = [TokenRow(r.id, r.input_ids.copy(), r.labels.copy()) for r in tiny.make_rows(6)]
    rows[3].labels[0] = rows[3].input_ids[0]
    change(rows[3])
    bad = tiny.write_rows(tmp_path / "bad.parquet", rows)
    options = {"rows": bad} if split == "train" else {"dev": bad}
    with pytest.raises(UserError, match=message):
        train(files, tmp_path, **options)


def test_the_end_of_turn_is_learned(files, tmp_path):
    """Every row ends with token 2, which is the padding token too: it is soon expected there."""
    rows = [
        TokenRow(r.id, r.input_ids.copy(), r.labels.copy()) for r in tiny.make_rows(64, longest=12)
    ]
    for row in rows:
        row.input_ids[-2:] = row.labels[-2:] = (5, 2)
    tiny.write_rows(tmp_path / "train.parquet", rows)
    preset = {"method": "full", "batch_size": 8, "epochs": 4, "learning_rate": 5e-3}
    plan = TrainingPlan(ModelSpec(id=str(files / "model")), Preset.model_validate(preset), 1)
    out = published(tmp_path, full=True)
    run_training(plan, tmp_path / "train.parquet", files / "none.parquet", out, tmp_path / "work")
    model = type(tiny.make_model()).from_pretrained(out.weights.parent).eval()
    ids = torch.tensor(rows[0].input_ids)[None]
    assert model(ids[:, :-1]).logits[0, -1].argmax() == 2
