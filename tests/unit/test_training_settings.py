"""What makes a training another one, what it chooses by itself, and what it tells on the way."""

import re
import sys
from pathlib import Path

import pytest
import tiny
import torch
from test_training_run import PRESET, train
from transformers import Lfm2Config, Lfm2ForCausalLM

sys.path.insert(0, str(Path(__file__).parents[1] / "families"))

from families import make_model

from snaketune.config.model import ModelSpec, Preset
from snaketune.models import folder
from snaketune.runtime.errors import UserError
from snaketune.runtime.job import Progress
from snaketune.training import assemble, run
from snaketune.training.assemble import TrainingPlan
from snaketune.training.batches import BatchLayout, padded_batch
from snaketune.training.loss import SummedLoss
from snaketune.training.saving import TrainingState

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def identity(model="org/model", **preset):
    return run._identity(TrainingPlan(ModelSpec(id=model), Preset(**preset), 1), ["a", "b"])


def test_another_commit_device_or_dtype_is_another_training(monkeypatch):
    """All that a plan leaves open: the hub's newest commit, the GPU that is there, its dtypes."""
    found = []
    for commit in ("0123abc", "4567def"):
        monkeypatch.setattr(folder, "model_folder", lambda _, c=commit: Path("snapshots") / c)
        for device, has_bfloat16 in [(CPU, False), (CUDA, False), (CUDA, True)]:
            monkeypatch.setattr(run, "pick_device", lambda d=device: d)
            monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda b=has_bfloat16, **_: b)
            found.append(identity())
            assert identity() == found[-1]
    assert len({str(one) for one in found}) == 6


def test_the_content_of_a_folder_counts_and_its_place_does_not(tmp_path):
    found = []
    for name, seed in (("a", 0.1), ("b", 0.1), ("c", 0.2)):
        tiny.save_model(tmp_path / name, initializer_range=seed)
        found.append(identity(str(tmp_path / name))["model"])
    assert found[0] == found[1] != found[2]


@pytest.mark.parametrize(
    ("device", "dtype", "generation", "attention", "batching", "kind"),
    [
        (CPU, torch.float32, None, "sdpa", "auto", "grouped"),
        (CPU, torch.bfloat16, None, "sdpa", "auto", "grouped"),
        (CUDA, torch.float32, (9, 0), "sdpa", "auto", "grouped"),
        (CUDA, torch.bfloat16, (9, 0), "sdpa", "auto", "packed"),
        (CUDA, torch.float16, (8, 0), "sdpa", "auto", "packed"),
        (CUDA, torch.float16, (7, 5), "sdpa", "auto", "grouped"),
        (CUDA, torch.bfloat16, (9, 0), "sdpa", "grouped", "grouped"),
        (CUDA, torch.float32, (9, 0), None, "auto", "grouped"),
        (CUDA, torch.float32, (9, 0), "flash_attention_2", "auto", "packed"),
        (CUDA, torch.float32, (9, 0), "kernels-community/flash-attn3", "auto", "packed"),
        (CUDA, torch.bfloat16, (9, 0), "flash_attention_2", "grouped", "grouped"),
        (CPU, torch.float32, None, "sdpa", "packed", "packed"),
    ],
)
def test_rows_are_packed_where_attention_needs_no_mask_for_it(
    monkeypatch, device, dtype, generation, attention, batching, kind
):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: generation)
    model = tiny.make_model()
    model.config._attn_implementation_internal = attention
    layout = assemble.batch_layout(
        Preset(batching=batching), TrainingState(budget=64), model, device, dtype
    )
    assert layout.kind == kind


def test_rows_are_not_packed_where_layers_read_over_their_ends(tmp_path):
    torch.manual_seed(1)
    shape = {"num_hidden_layers": 2, "layer_types": ["conv", "full_attention"]}
    config = Lfm2Config(
        vocab_size=tiny.VOCABULARY, hidden_size=32, intermediate_size=64, num_attention_heads=2,
        num_key_value_heads=2, pad_token_id=2, eos_token_id=2, bos_token_id=None,
        initializer_range=0.2, **shape,
    )  # fmt: skip
    Lfm2ForCausalLM(config).save_pretrained(tmp_path / "model")
    tiny.write_rows(tmp_path / "train.parquet", tiny.make_rows(6))
    tiny.write_rows(tmp_path / "dev.parquet", [])
    with pytest.raises(UserError, match="in a Lfm2ForCausalLM packed rows reach into each other"):
        train(tmp_path, tmp_path / "packed", PRESET | {"epochs": 1, "batching": "packed"})
    layout, loss = (
        BatchLayout("packed", 64, 0),
        SummedLoss(tiny.make_model(), padded_batch(tiny.make_rows(1))),
    )
    assemble.group_unless_apart(layout, Preset(batching="packed"), loss, tiny.make_rows(1)[0])
    assert layout.kind == "packed"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("family", ["Falcon-H1", "Bamba", "Qwen3-Next", "Mamba 2"])
def test_states_that_reach_over_a_row_s_end_are_noticed_in_16_bits_too(family, dtype):
    model = make_model(family, vocab_size=tiny.VOCABULARY).to(dtype)
    probe = max(tiny.make_rows(6), key=lambda row: len(row.input_ids))
    loss = SummedLoss(model, padded_batch([probe]))
    assert not loss.packs(probe) and not loss.keeps_apart(probe)


def test_progress_shows_loss_rate_and_the_time_left(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(Progress.__init__, "__defaults__", (0.0, 0))
    tiny.save_model(tmp_path / "model")
    tiny.write_rows(tmp_path / "train.parquet", tiny.make_rows(22))
    tiny.write_rows(tmp_path / "dev.parquet", [])
    train(tmp_path, tmp_path / "run", PRESET | {"epochs": 1})
    lines = [line for line in capsys.readouterr().err.splitlines() if " steps, " in line]
    form = r"(\d)/6 steps, [\d.]+ steps/s, \d:\d\d:\d\d left, loss \d\.\d{4}, [\d,]+ tokens/s"
    found = [re.fullmatch(form, line) for line in lines]
    assert [match and match[1] for match in found] == list("123456")


def test_the_time_left_follows_from_the_steps_of_this_attempt():
    progress = Progress(110, "steps", done=10)
    progress._start = 0.0
    progress.done = 30
    assert progress.line(40.0, "loss 0.5") == ("30/110 steps, 0.5 steps/s, 0:02:40 left, loss 0.5")
