"""What a training writes: whole files, whole models, and a word where the disk is full."""

import json
import resource
import signal
from contextlib import contextmanager

import pytest
import tiny
import torch
from peft import LoraConfig, get_peft_model
from safetensors import safe_open
from test_training_run import PLAIN, PRESET, Stopped, assert_same_training, stop_after, train
from transformers import AutoModelForCausalLM

from snaketune.runtime.errors import UserError
from snaketune.training import loop, run, saving
from snaketune.training.saving import atomic


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    tiny.save_model(folder / "model")
    tiny.save_model(folder / "tied" / "model", tie_word_embeddings=True)
    for place in (folder, folder / "tied"):
        tiny.write_rows(place / "train.parquet", tiny.make_rows(22))
        tiny.write_rows(place / "dev.parquet", tiny.make_rows(6, seed=1))
    return folder


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@contextmanager
def small_disk(size):
    """No file can grow beyond `size` bytes: writing more fails as on a full disk."""
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)


@pytest.fixture(scope="module")
def expected(files, tmp_path_factory):
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("expected")
    return {best: train(files, folder / best, CHOOSING | {"best": best}, snapshots=2)
            for best in ("none", "loss")}  # fmt: skip


CHOOSING = PLAIN | {"epochs": 1}


@pytest.mark.parametrize(
    ("module", "place", "best", "named"),
    [
        (saving, "save_weights", "none", "snapshots/1of2"),
        (saving, "save_weights", "loss", "candidates/3"),
        (saving, "_write", "none", "checkpoint.pt"),
        (run, "_final", "none", "final"),
        (run, "_copy_weights", "none", "final/adapter_model.safetensors"),
        (run, "_write_log", "none", "log.parquet"),
        (run, "resource_usage", "none", "meta.json"),
    ],
)
def test_a_full_disk_is_told_wherever_it_fills_and_the_training_goes_on(
    files, tmp_path, monkeypatch, expected, module, place, best, named
):
    """The disk is full from the first call of `place` on; then there is room again."""
    real = getattr(module, place)
    preset, folder = CHOOSING | {"best": best}, tmp_path / "run"

    def full(*arguments):
        if place == "save_weights" and not str(arguments[1]).endswith(named):
            return real(*arguments)
        resource.setrlimit(resource.RLIMIT_FSIZE, (500, resource.RLIM_INFINITY))
        return real(*arguments)

    with monkeypatch.context() as patch, small_disk(resource.RLIM_INFINITY):
        patch.setattr(module, place, full)
        with pytest.raises(UserError, match=rf"{named}: could not be written \(File too large\)"):
            train(files, folder, preset, snapshots=2)
    assert not [path for path in folder.rglob("*") if path.name.startswith(".")]
    assert_same_training(train(files, folder, preset, snapshots=2), expected[best])


def test_safetensors_numbers_and_torch_s_own_errors_are_understood(tmp_path):
    for number in (28, 122, 27):
        with pytest.raises(UserError, match="expected room"), atomic(tmp_path / "a") as new:
            new.mkdir()
            raise RuntimeError(f"Error while serializing: I/O error: no (os error {number})")
        assert not list(tmp_path.iterdir())
    with pytest.raises(RuntimeError, match="os error 5"), atomic(tmp_path / "a"):
        raise RuntimeError("I/O error (os error 5)")


def test_a_folder_takes_the_place_of_an_older_one(tmp_path):
    for content in ("one", "two"):
        with atomic(tmp_path / "deep" / "folder") as new:
            new.mkdir()
            (new / content).touch()
    assert [path.name for path in (tmp_path / "deep" / "folder").iterdir()] == ["two"]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_tied_weights_are_written_once_and_load_tied(files, tmp_path, dtype):
    preset = {"method": "full", "batch_size": 8, "max_steps": 2, "dtype": dtype}
    out = train(files / "tied", tmp_path, preset)
    with safe_open(out.weights, "pt") as found:
        assert "lm_head.weight" not in found.keys()  # noqa: SIM118
        assert found.get_tensor("model.embed_tokens.weight").dtype == getattr(torch, dtype)
    model = AutoModelForCausalLM.from_pretrained(out.weights.parent)
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert not torch.equal(model.lm_head.weight, tiny.make_model().lm_head.weight)


def test_a_whole_model_s_config_is_the_base_s_but_for_the_dtype(files, tmp_path):
    preset = {"method": "full", "batch_size": 8, "max_steps": 1, "dtype": "bfloat16"}
    out = train(files, tmp_path, preset)
    base = json.loads((files / "model" / "config.json").read_text())
    assert base["use_cache"] is True
    assert json.loads(out.config.read_text()) == base | {"dtype": "bfloat16"}


@pytest.mark.parametrize("optimizer", ["adamw", "adamw_8bit", "paged_adamw_8bit"])
def test_an_optimiser_that_the_device_lacks_is_named_before_the_training(
    files, tmp_path, monkeypatch, optimizer
):
    """As bitsandbytes does without its library: everything can be made, and no step be taken."""
    import bitsandbytes

    def lacking(self, *_):
        raise RuntimeError("\nNative code is missing: cadam_8bit_blockwise\nfind it elsewhere")

    kinds = bitsandbytes.optim
    for kind in (torch.optim.AdamW, kinds.AdamW8bit, kinds.PagedAdamW8bit):
        monkeypatch.setattr(kind, "step", lacking)
    message = rf"optimizer: found {optimizer}, .* this machine's cpu \(Native code is missing"
    with pytest.raises(UserError, match=message):
        train(files, tmp_path, PRESET | {"optimizer": optimizer})


def test_a_paged_optimiser_is_paged_again_after_a_stop(files, tmp_path, monkeypatch):
    """On a GPU, what `get_state_buffer` gives is paged memory; here it is only asked for."""
    import bitsandbytes

    asked = []
    real = bitsandbytes.optim.optimizer.Optimizer8bit.get_state_buffer

    def buffer(self, parameter, dtype=torch.float32):
        found = real(self, parameter, dtype)
        asked.append(found.data_ptr())
        return found

    preset = PRESET | {"optimizer": "paged_adamw_8bit", "lora": {"r": 64}, "epochs": 1}
    with monkeypatch.context() as patch:
        stop_after(patch, 3)
        with pytest.raises(Stopped):
            train(files, tmp_path, preset, save_every=0)
    monkeypatch.setattr(bitsandbytes.optim.optimizer.Optimizer8bit, "get_state_buffer", buffer)
    held = []
    take = loop.take_step

    def noted(job, step):
        states = job.optimizer.state.values()
        held.append({s[name].data_ptr() for s in states for name in ("state1", "state2")})
        return take(job, step)

    monkeypatch.setattr(loop, "take_step", noted)
    train(files, tmp_path, preset)
    assert len(held[0]) == 2 * 28
    assert held[0] <= set(asked)


def test_an_adapters_config_has_one_order(tmp_path):
    """PEFT keeps the layers' names as a set, whose order is another in each process."""
    names = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    adapted = get_peft_model(tiny.make_model(), LoraConfig(r=2, target_modules=names))
    saving.save_weights(adapted, tmp_path / "saved", torch.float32)
    written = json.loads((tmp_path / "saved/adapter_config.json").read_text())
    assert written["target_modules"] == sorted(names)
    assert LoraConfig.from_pretrained(tmp_path / "saved").target_modules == set(names)
