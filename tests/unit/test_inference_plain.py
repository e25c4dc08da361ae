"""Models that the engine can't drive are served a row at a time, with what they have."""

import pytest
import torch
from test_inference_decode import ENDS, NEW, made, plain, shape, some_prompts
from test_inference_options import alone, some_trees
from transformers import (
    DeepseekV3Config,
    DeepseekV3ForCausalLM,
    MambaConfig,
    MambaForCausalLM,
)

from snaketune.inference.decode import Prompt
from snaketune.inference.engine import Engine
from snaketune.inference.options import Tree, score_trees
from snaketune.inference.padded import PaddedModel, start_engine
from snaketune.inference.pick import greedy
from snaketune.inference.plain import PlainModel, row_by_row

DEEPSEEK = {
    "q_lora_rank": 16,
    "kv_lora_rank": 16,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 12,
    "first_k_dense_replace": 2,
    "num_key_value_heads": 4,
}
MODELS = {
    "heads of two sizes": lambda: DeepseekV3ForCausalLM(DeepseekV3Config(**shape(**DEEPSEEK))),
    "a state for a cache": lambda: MambaForCausalLM(
        MambaConfig(
            vocab_size=200, hidden_size=48, num_hidden_layers=2, state_size=8, pad_token_id=0
        )
    ),
}


@pytest.fixture(params=MODELS)
def model(request):
    torch.manual_seed(1)
    return MODELS[request.param]().eval()


def test_it_falls_back_and_says_why(model, capsys):
    assert isinstance(start_engine(model), PaddedModel)
    assert "this model goes in padded batches, without a shared prefix" in capsys.readouterr().err


def test_a_state_is_a_cache_under_another_name():
    """Without it each token would read all that came before again."""
    model = MODELS["a state for a cache"]().eval()
    plain_model = PlainModel(model)
    assert plain_model.has_cache and plain_model.width == 1


def test_a_lack_of_memory_is_no_reason_to_fall_back(monkeypatch):
    def too_much(*args, **more):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Engine, "prefill", too_much)
    with pytest.raises(torch.OutOfMemoryError):
        start_engine(made("qwen2"))


def test_replies_equal_plain_ones(model):
    prompts = some_prompts(0, 4)
    asked = [Prompt(i, prompt, NEW) for i, prompt in enumerate(prompts)]
    found = {r.index: r.tokens for r in row_by_row(model, asked, greedy, ENDS)}
    assert [found[i] for i in range(4)] == plain(model, prompts)


def test_options_score_as_alone(model):
    trees = some_trees(4)
    for found in score_trees(model, None, trees):
        assert found.sums == pytest.approx(alone(model, trees[found.index]), abs=1e-4)


@pytest.mark.parametrize("driven", [True, False], ids=["engine", "row by row"])
def test_options_whose_tokens_differ_from_the_first_on(driven):
    model, tree = made("qwen2"), Tree([], [[20, 30], [21, 31, 32]], [1, 1])
    expected = alone(model, tree)
    (found,) = score_trees(model, Engine(model) if driven else None, [tree])
    assert found.sums == pytest.approx(expected, abs=1e-4) and found.tokens == [1, 2]


def test_only_the_last_logits_are_computed(monkeypatch):
    model, widths = made("qwen2"), []
    head = model.lm_head.forward
    monkeypatch.setattr(model.lm_head, "forward", lambda x: widths.append(x.shape[1]) or head(x))
    list(row_by_row(model, [Prompt(0, [5] * 30, 3)], greedy, ENDS))
    list(score_trees(model, None, [Tree([5] * 30, [[6, 7]], [0])]))
    # Four in the check of the model before either; the prompts have thirty tokens.
    assert max(widths) == 4 and max(width for width in widths if width != 4) == 2
