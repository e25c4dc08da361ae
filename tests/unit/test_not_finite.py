"""Numbers that are none: errors that name the layer where they begin, never empty replies."""

import pytest
import tiny
import torch
from test_inference_decode import ENDS, made
from test_inference_options import some_trees
from test_inference_rewards import make_reward_model, rows_with_ends
from test_training_run import PRESET, train
from torch import nn

from snaketune.inference.decode import Decoder, Prompt
from snaketune.inference.engine import Engine
from snaketune.inference.memory import BatchSize
from snaketune.inference.options import score_trees
from snaketune.inference.pick import Sampler, greedy
from snaketune.inference.plain import row_by_row
from snaketune.inference.rewards import score_rewards
from snaketune.models.finite import not_finite
from snaketune.runtime.errors import UserError

CPU = torch.device("cpu")
PROMPTS = [Prompt(0, [7, 8, 9], 3), Prompt(1, [11, 13, 12, 15], 3)]


@pytest.mark.parametrize("pick", [greedy, Sampler(0.7, 0.9)], ids=["greedy", "sampled"])
@pytest.mark.parametrize("by_row", [True, False])
def test_replies(by_row, pick):
    prompts = [Prompt(p.index, p.tokens, p.max_new, [0], {0: [0.5] * p.max_new}) for p in PROMPTS]
    model = made("qwen2")
    engine = None if by_row else Engine(model)
    model.model.layers[1].mlp.register_forward_hook(
        lambda _, inputs, out: out * (torch.nan if inputs[0].shape[1] > 3 else 1)
    )
    with pytest.raises(UserError, match=r"prompt 2, token 1 of the reply: .*layers.1.mlp;"):
        if engine is None:
            list(row_by_row(model, prompts, pick, ENDS))
        else:
            list(Decoder(engine, prompts[1:], pick, ENDS, BatchSize(2, CPU)).run())


def test_a_step_behind_the_prompt():
    model = made("qwen2")
    engine = Engine(model)
    calls = []

    def at_the_third(_, inputs, out):
        calls.append(0)
        return out * (torch.nan if len(calls) >= 3 else 1)

    model.model.layers[0].mlp.down_proj.register_forward_hook(at_the_third)
    with pytest.raises(UserError, match=r"prompt 1, token 3 of .*layers.0.mlp.down_proj"):
        list(Decoder(engine, PROMPTS[:1], greedy, [], BatchSize(1, CPU)).run())


def test_logits_of_tokens_that_are_not_in_use_may_be_minus_infinity():
    """As models mask the padding of their vocabulary."""
    model = made("qwen2")
    model.lm_head.register_forward_hook(
        lambda _, __, out: torch.cat([out[..., :-5], out[..., -5:] - torch.inf], -1)
    )
    assert len(list(row_by_row(model, PROMPTS, greedy, ENDS))) == 2


@pytest.mark.parametrize("driven", [True, False])
def test_options(driven):
    model = made("qwen2")
    engine = Engine(model) if driven else None
    with torch.no_grad():
        model.model.layers[1].self_attn.o_proj.weight[0, 0] = torch.inf
    message = r"question \d+: .*layers.1.self_attn.o_proj, whose weights are not finite"
    with pytest.raises(UserError, match=message):
        list(score_trees(model, engine, some_trees(4)))


def test_rewards():
    model = make_reward_model()
    with torch.no_grad():
        model.score.weight[0, 0] = torch.nan
    with pytest.raises(UserError, match="first in score, whose weights are not finite"):
        list(score_rewards(model, rows_with_ends(), 2))


@pytest.mark.parametrize("method", ["lora", "full"])
def test_training(tmp_path, method):
    files = tmp_path / "files"
    model = tiny.make_model()
    with torch.no_grad():
        model.model.layers[1].mlp.up_proj.weight.fill_(3e38)
    model.save_pretrained(files / "model")
    tiny.write_rows(files / "train.parquet", tiny.make_rows(8))
    tiny.write_rows(files / "dev.parquet", [])
    preset = {k: v for k, v in PRESET.items() if method == "lora" or k != "lora"}
    with pytest.raises(UserError, match=r"loss nan.* first in .*layers.1.mlp.up_proj"):
        train(files, tmp_path / "run", preset | {"method": method, "eval_per_epoch": 0})


def test_the_first_layer_is_named_and_no_hook_is_left():
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2))
    with torch.no_grad():
        model[2].bias[0] = torch.nan
    said = not_finite(model, lambda: model(torch.ones(1, 2)))
    assert said == "first in 2, whose weights are not finite"
    assert not any(module._forward_hooks for module in model.modules())
    assert not_finite(model[:2], lambda: model[:2](torch.ones(1, 2))) == "in no layer alone"
